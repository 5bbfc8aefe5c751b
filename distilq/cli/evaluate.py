"""`distilq evaluate`: becomes the worker's program of that name; torch stays out of this one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from distilq.cli import programs
from distilq.cli.errors import CannotRun
from distilq.settings import Settings


def run(
    settings: Settings, text: str, *, stride: int | None, window: int | None, as_json: bool
) -> NoReturn:
    """Hand over to `distilq.worker.evaluate`: standard input, Ctrl-C and exit status are its own.

    Raises:
        CannotRun: there is no such text; found here, as the worker takes seconds to start.
    """
    if text != "-" and not Path(text).exists():
        raise CannotRun(f"--text {text}: no such file")
    command = [sys.executable, "-m", "distilq.worker.evaluate", "--text", text]
    if stride is not None:
        command += ["--stride", str(stride)]
    if window is not None:
        command += ["--window", str(window)]
    if as_json:
        command.append("--json")
    os.execve(command[0], command, programs.environment(settings))  # noqa: S606 (no shell wanted)
