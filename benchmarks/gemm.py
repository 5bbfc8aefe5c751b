"""The matrix products of one decode step and nothing else: what the engine could reach at most."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from worker import linear, weights

Product = Callable[[Tensor], Tensor]


class Products:
    """Every layer's four products and the head's, on the weights that the engine uses."""

    def __init__(self, model: Any, precision: str) -> None:
        read = weights.read(model)
        pairs = [
            pair
            for layer in read.layers
            for pair in (layer.attention_in, layer.attention_out, layer.mlp_in, layer.mlp_out)
        ]
        self._products = [
            (_product(weight, bias, precision), weight.shape[1])
            for weight, bias in [*pairs, (read.head, None)]
        ]

    @torch.inference_mode()
    def rate(self, rows: int, steps: int) -> float:
        """Rows times steps per second, after one step that is not timed."""
        inputs = {width: torch.randn(rows, width) for _, width in self._products}
        self._step(inputs)
        start = time.perf_counter()
        for _ in range(steps):
            self._step(inputs)
        return rows * steps / (time.perf_counter() - start)

    def _step(self, inputs: dict[int, Tensor]) -> None:
        for product, width in self._products:
            product(inputs[width])


def _product(weight: Tensor, bias: Tensor | None, precision: str) -> Product:
    """The engine's own; of int8, FBGEMM's call alone, without the scaling of the rows."""
    if precision != "int8":
        return linear.pack(weight, bias, precision, "cpu")
    scales = weight.abs().amax(1).clamp(min=1e-12).double() / 127
    zeros = torch.zeros(len(scales), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in worker/linear.py
        quantised = torch.quantize_per_channel(weight.contiguous(), scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(quantised, bias)
    narrow = not torch.cpu.get_capabilities().get("avx512_vnni")
    return lambda rows: torch.ops.quantized.linear_dynamic(rows, packed, reduce_range=narrow)
