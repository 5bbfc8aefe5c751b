"""Matrix products whose rows do not depend on each other, in every precision.

A library's float32 product is not so: MKL and oneDNN sum in another order for 1 row than for 32, so
the same prompt would end in another text beside neighbours. Products with packed weights, MKL's and
FBGEMM's, sum every row alike, whatever the number of rows. Where there are none, rows go in blocks
of a fixed number: one shape, one order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch user expects
from torch import Tensor

from . import fbgemm, mkl
from .fbgemm import Linear as Linear  # part of what this module offers

BLOCK = 16


def pack(weight: Tensor, bias: Tensor | None, precision: str, device: str) -> Linear:
    """The product with `weight` (outputs, inputs) plus `bias`, both given in float32.

    On a CPU, float16 is the precision of the weights: the arithmetic is float32.
    """
    if device != "cpu":
        return _plain(weight, bias, precision, device)
    if precision == "int8":
        return _plus(bias, fbgemm.int8(weight))
    if precision == "bfloat16":
        return _blocked(weight.bfloat16(), bias)
    if precision == "float16":
        weight = weight.half().float()
    return _plus(bias, _float32(weight))


def _float32(weight: Tensor) -> Linear:
    fits = fbgemm.available() and bool(weight.abs().max() <= fbgemm.HALF_MAX)
    if fits and torch.equal(weight.half().float(), weight):
        return mkl.pack_halves(weight) or fbgemm.float16(weight)
    if product := mkl.pack(weight):
        return product
    return fbgemm.float16_pair(weight) if fits else _blocked(weight, None)


def _plus(bias: Tensor | None, product: Linear) -> Linear:
    return product if bias is None else lambda rows: product(rows).add_(bias)


def _blocked(weight: Tensor, bias: Tensor | None) -> Linear:
    bias = None if bias is None else bias.to(weight.dtype)

    def product(rows: Tensor) -> Tensor:
        count = len(rows)
        padded = F.pad(rows.to(weight.dtype), (0, 0, 0, -count % BLOCK))
        blocks = [F.linear(block, weight, bias) for block in torch.split(padded, BLOCK)]
        return torch.cat(blocks)[:count].float()

    return product


def _plain(weight: Tensor, bias: Tensor | None, precision: str, device: str) -> Linear:
    dtype = getattr(torch, precision)
    weight = weight.to(device, dtype)
    bias = None if bias is None else bias.to(device, dtype)
    return lambda rows: F.linear(rows, weight, bias)
