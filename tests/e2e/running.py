"""A real `distilq up`, as a test sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from distilq.cli.ports import free_port

#: Generous: other programs may use the machine too.
UP_S, DOWN_S = 180.0, 60.0

CARD_SAMPLE: dict[str, Any] = {
    "inputs": {"input_string": ["My name is John and I am", "Once upon a time,"]},
    "parameters": {"min_length": 20, "max_length": 30, "num_return_sequences": 2},
}


def up_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "distilq.cli", "up", *options]


def clean_environment(home: Path) -> dict[str, str]:
    """An environment with an empty home and no settings; what needs the network fails at once."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("DISTILQ_")}
    return {**env, "HOME": str(home), "HF_HUB_OFFLINE": "1"}


def shell_environment(home: Path, url: str) -> dict[str, str]:
    """The same for a user's shell: `distilq` is on its PATH, and knows the service."""
    env = clean_environment(home)
    return {**env, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "DISTILQ_URL": url}


@dataclass
class Running:
    """One `distilq up` and the address at which it serves."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return httpx.get(f"{self.url}/readyz", timeout=5).is_success
            except httpx.HTTPError:
                return False

        until(ready, UP_S)
        until(lambda: "distilq serves at" in self.log.read_text(), UP_S)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def descendant(self, *words: str) -> psutil.Process:
        """The first one that has all of `words` in its command line."""
        return next(p for p in self.descendants() if all(w in " ".join(p.cmdline()) for w in words))

    def stop(self, signum: signal.Signals = signal.SIGINT) -> int:
        """Send the signal, as Ctrl-C does; the exit status."""
        self.process.send_signal(signum)
        return self.process.wait(DOWN_S)


def launch(folder: Path, *options: str, **variables: str) -> Running:
    """Start `distilq up` on a free port, with its data and its log under `folder`."""
    port, log = free_port(), folder / "log"
    command = up_command("--port", str(port), "--data-dir", str(folder / "data"), *options)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=clean_environment(folder) | variables, stdout=out, stderr=out
        )
    return Running(process, f"http://127.0.0.1:{port}", log)


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for it."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {timeout_s:.0f} s"
        time.sleep(0.1)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie has only to be collected by its parent."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
