"""Which precision and device to serve with."""

from __future__ import annotations

import torch

from distilq.settings import Precision

from . import fbgemm
from .names import ModelUnavailable


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def gpus() -> int:
    """How many GPUs this process sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def concrete(asked: Precision, where: str) -> str:
    """The precision that `asked` means on a device.

    `auto` is float16 wherever that is fast: on CUDA, and on a CPU through FBGEMM, whose weights are
    float16 and whose arithmetic is float32, as reproducible as float32 itself.

    Raises:
        ModelUnavailable: the device cannot compute with what was asked for.
    """
    if where == "cpu":
        if asked == "auto":
            return "float16" if fbgemm.available() else "float32"
        if asked in ("float16", "int8") and not fbgemm.available():
            raise ModelUnavailable(f"{asked} on a CPU needs FBGEMM, which this torch lacks here")
        return asked
    if asked == "int8":
        raise ModelUnavailable("int8 is for CPUs; on CUDA use float16, bfloat16 or float32")
    return "float16" if asked == "auto" else asked


def reproducible(precision: str, where: str) -> bool:
    """Whether a row's numbers are the same whatever runs beside it."""
    return where == "cpu"
