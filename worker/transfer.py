"""Small tensors to the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def pinned(tensor: Tensor, device: torch.device | str) -> Tensor:
    """What can be copied to the device while it computes.

    A copy from pageable memory would first wait for all that the device has been given to do. The
    allocator of pinned memory keeps this tensor's until the copy is done.
    """
    return tensor if str(device) == "cpu" else tensor.pin_memory()


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    return pinned(tensor, device).to(device, non_blocking=True)
