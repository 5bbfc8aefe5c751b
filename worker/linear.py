"""Matrix products whose rows do not depend on each other, in every precision.

A library's float32 product is not so: MKL and oneDNN sum in another order for 1 row than for 32, so
the same prompt would end in another text beside neighbours. FBGEMM's packed products sum every row
alike, whatever the number of rows. Where there is no FBGEMM, rows go in blocks of a fixed number:
one shape, one order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch user expects
from torch import Tensor

Linear = Callable[[Tensor], Tensor]

BLOCK = 16
#: float32 has 24 significant bits, float16 has 11: the second half holds the next 11.
HALF_SHIFT = 2.0**11
_HALF_MAX = 65504.0


def has_fbgemm() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines


def pack(weight: Tensor, bias: Tensor | None, precision: str, device: str) -> Linear:
    """The product with `weight` (outputs, inputs) plus `bias`, both given in float32."""
    if device != "cpu":
        return _plain(weight, bias, precision, device)
    if precision == "int8":
        return _int8(weight, bias)
    if precision == "float16":
        return _packed(weight, bias)
    if precision == "bfloat16":
        return _blocked(weight.bfloat16(), bias)
    if not has_fbgemm() or weight.abs().max() > _HALF_MAX:
        return _blocked(weight, bias)
    if torch.equal(weight.half().float(), weight):
        return _packed(weight, bias)
    return _packed_pair(weight, bias)


def _packed(weight: Tensor, bias: Tensor | None) -> Linear:
    """Weights in float16, arithmetic in float32."""
    packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
    return lambda rows: torch.ops.quantized.linear_dynamic_fp16(rows, packed)


def _packed_pair(weight: Tensor, bias: Tensor | None) -> Linear:
    """Weights as the sum of two float16.

    That is 22 bits of float32's 24: the difference is below what summation rounds off.
    """
    high = weight.half().float()
    low = (weight - high) * HALF_SHIFT
    product = _packed(torch.cat([high, low], 1), bias)
    return lambda rows: product(torch.cat([rows, rows * (1 / HALF_SHIFT)], 1))


def _blocked(weight: Tensor, bias: Tensor | None) -> Linear:
    bias = None if bias is None else bias.to(weight.dtype)

    def product(rows: Tensor) -> Tensor:
        count = len(rows)
        padded = F.pad(rows.to(weight.dtype), (0, 0, 0, -count % BLOCK))
        blocks = [F.linear(block, weight, bias) for block in torch.split(padded, BLOCK)]
        return torch.cat(blocks)[:count].float()

    return product


def _int8(weight: Tensor, bias: Tensor | None) -> Linear:
    """Weights in int8 by output channel, activations in int8 by row.

    The library takes one scale for all rows. So each row is divided by its greatest magnitude, and
    one row more, of -1 and 1, holds the common scale in place.
    """
    scales = weight.abs().amax(1).clamp(min=1e-12).double() / 127
    zeros = torch.zeros(len(scales), dtype=torch.long)
    with warnings.catch_warnings():
        # torch announces the end of quantised tensors; FBGEMM's packed product takes no other.
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_channel(weight.contiguous(), scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(quantised, None)
    narrow = not _has_vnni()
    ends = torch.zeros(1, weight.shape[1])
    ends[0, 0], ends[0, 1] = -1, 1

    def product(rows: Tensor) -> Tensor:
        greatest = rows.abs().amax(1, keepdim=True).clamp(min=1e-30)
        scaled = torch.cat([rows / greatest, ends])
        out: Tensor = torch.ops.quantized.linear_dynamic(scaled, packed, reduce_range=narrow)
        out = out[:-1] * greatest
        return out if bias is None else out + bias

    return product


def _has_vnni() -> bool:
    """Without VNNI, sums of two 8-bit products saturate in 16 bits: activations then take 7."""
    return bool(torch.cpu.get_capabilities().get("avx512_vnni"))


def _plain(weight: Tensor, bias: Tensor | None, precision: str, device: str) -> Linear:
    dtype = getattr(torch, precision)
    weight = weight.to(device, dtype)
    bias = None if bias is None else bias.to(device, dtype)
    return lambda rows: F.linear(rows, weight, bias)
