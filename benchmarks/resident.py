"""How much of a process was ever in memory."""

from __future__ import annotations

from pathlib import Path

import psutil


def peak(pid: int) -> int:
    """The most bytes that were resident at once (Linux alone tells)."""
    return _status(pid, "VmHWM")


def now(pid: int) -> int:
    return _status(pid, "VmRSS")


def peaks_of_children(pid: int) -> list[int]:
    return [peak(child.pid) for child in psutil.Process(pid).children(recursive=True)]


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"the kernel says no {field} of process {pid}")
