"""FBGEMM's packed products: weights in float16 or int8, every row summed alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""(rows, inputs) to (rows, outputs), in float32."""

#: float32 has 24 significant bits, float16 has 11: the second half holds the next 11.
HALF_SHIFT = 2.0**11
HALF_MAX = 65504.0


def available() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines


def float16(weight: Tensor) -> Linear:
    """Weights in float16, arithmetic in float32: one sum, in the order of the inputs."""
    packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), None)
    return lambda rows: torch.ops.quantized.linear_dynamic_fp16(rows, packed)


def float16_pair(weight: Tensor) -> Linear:
    """Weights as the sum of two float16.

    That is 22 bits of float32's 24: the difference is below what summation rounds off.
    """
    high = weight.half().float()
    low = (weight - high) * HALF_SHIFT
    product = float16(torch.cat([high, low], 1))
    return lambda rows: product(torch.cat([rows, rows * (1 / HALF_SHIFT)], 1))


def int8(weight: Tensor) -> Linear:
    """Weights in int8 by output channel, activations in int8 by row.

    The library takes one scale for all rows. So each row is divided by its greatest magnitude
    before, and multiplied by it after: what is quantised always fills -1 to 1.
    """
    scales = weight.abs().amax(1).clamp(min=1e-12).double() / 127
    zeros = torch.zeros(len(scales), dtype=torch.long)
    with warnings.catch_warnings():
        # torch announces the end of quantised tensors; FBGEMM's packed product takes no other.
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_channel(weight.contiguous(), scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(quantised, None)
    quantised_product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    most = 127 if _has_vnni() else 63

    def product(rows: Tensor) -> Tensor:
        greatest = rows.abs().amax(1, keepdim=True).clamp_(min=1e-30)
        out: Tensor = quantised_product(rows / greatest, 1 / most, most + 1, packed)
        return out.mul_(greatest)

    return product


def _has_vnni() -> bool:
    """Without VNNI, sums of two 8-bit products saturate in 16 bits: activations then take 7."""
    return bool(torch.cpu.get_capabilities().get("avx512_vnni"))
