"""GELU, by operations that round alike in whole vectors and in what is left at their ends.

torch's own does not: its last elements, and so some row's, would depend on the number of rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Hendrycks and Gimpel 2016: x/2 * (1 + tanh(LINEAR * (x + CUBIC * x^3))).
LINEAR = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def gelu(inner: Tensor, activation: str) -> Tensor:
    """GELU of `inner`, which is overwritten, exact for the activation "gelu", else by tanh."""
    if activation == "gelu":
        return torch.erf(inner * math.sqrt(0.5)).add_(1).mul_(0.5).mul_(inner)
    linear = inner.new_full((), LINEAR)
    curve = torch.addcmul(linear, inner, inner, value=LINEAR * CUBIC).mul_(inner).tanh_()
    return torch.addcmul(inner, inner, curve, out=inner).mul_(0.5)
