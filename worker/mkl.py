"""MKL's product with packed weights: float32, and float16 weights with float32 arithmetic.

MKL's usual product sums in another order for 1 row than for 32. With weights packed beforehand it
does not: the packing decides where sums are cut. That is checked for every matrix, as no
documentation promises it. For 64 rows it takes four fifths of FBGEMM's time; for a few, whose time
goes into reading weights, FBGEMM takes less, as its weights are half as large.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import fbgemm
from .fbgemm import Linear

#: Rows that the packing is tuned for.
PACKED_FOR = 64
#: Numbers of rows whose sums must agree with those of PACKED_FOR.
CHECKED = (1, 2, 3, 5, 8, 13, 17, 33)

#: Below this many rows FBGEMM is faster.
FEW = 16
#: Inputs after which MKL begins another sum (seen with AVX-512; a mismatch is found by the check).
CUT = 384
MOST_PARTS = 2
FEWEST_OUTPUTS = 1024


def available() -> bool:
    return torch._C.has_mkl and hasattr(torch.ops.mkl, "_mkl_linear")


def pack(weight: Tensor) -> Linear | None:
    """The product with `weight` (outputs, inputs); None where its rows depend on their number."""
    if not available():
        return None
    many = _packed(weight)
    sample = _sample(weight)
    expected = many(sample)
    if not all(torch.equal(many(sample[:count]), expected[:count]) for count in CHECKED):
        return None
    return many


def pack_halves(weight: Tensor) -> Linear | None:
    """The same for weights that are float16's, by FBGEMM for a few rows.

    None also where the two do not sum alike, or where FBGEMM alone is as good: for matrices with
    few outputs or many inputs.
    """
    outputs, inputs = weight.shape
    if outputs < FEWEST_OUTPUTS or inputs > MOST_PARTS * CUT:
        return None
    many = pack(weight)
    if many is None:
        return None
    few = _in_parts(weight)
    if not torch.equal(few(_sample(weight)), many(_sample(weight))):
        return None
    return lambda rows: few(rows) if len(rows) < FEW else many(rows)


def _sample(weight: Tensor) -> Tensor:
    return torch.randn(PACKED_FOR, weight.shape[1], generator=torch.Generator().manual_seed(0))


def _packed(weight: Tensor) -> Linear:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), PACKED_FOR)
    # Of the plain weights only the shape is read, as the number of rows is always the one told.
    shape = torch.empty(()).expand(weight.shape)
    return lambda rows: torch.ops.mkl._mkl_linear(rows, packed, shape, None, len(rows))


def _in_parts(weight: Tensor) -> Linear:
    """FBGEMM's product of float16 weights, its sums cut where MKL cuts them."""
    first, *others = [fbgemm.float16(part) for part in torch.split(weight, CUT, 1)]

    def product(rows: Tensor) -> Tensor:
        part, *rest = torch.split(rows, CUT, 1)
        out = first(part)
        for other, each in zip(others, rest, strict=True):
            out.add_(other(each))
        return out

    return product
