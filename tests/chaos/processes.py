"""Programs that are started again whenever they end, as any supervisor would."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class End:
    """How a program ended: a signal is a negative status."""

    name: str
    status: int


class Program:
    """One program and, one after another, its processes."""

    def __init__(
        self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(env or {})
        self._not_before = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.starts += 1

    def send(self, signum: signal.Signals) -> None:
        """To the program and its children, if it runs."""
        process = self._process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signum)

    def kill(self, down_s: float = 0.0) -> None:
        """No goodbye; it stays away for `down_s`."""
        self._not_before = time.monotonic() + down_s
        self.send(signal.SIGKILL)

    def look(self) -> int | None:
        """Start it again if it has ended and may; with which status it had ended."""
        if self._process is None:
            if time.monotonic() >= self._not_before:
                self.start()
            return None
        status = self._process.poll()
        if status is not None:
            self._process = None
        return status

    def end(self, signum: signal.Signals, within_s: float) -> None:
        self.send(signal.SIGCONT)
        self.send(signum)
        if self._process is None:
            return
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._process.wait()


class Supervisor:
    """Looks after programs from a thread of its own, and notes how they end."""

    def __init__(self) -> None:
        self.programs: list[Program] = []
        self.ends: list[End] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="supervisor")
        self._thread.start()

    def add(self, program: Program) -> Program:
        program.start()
        self.programs.append(program)
        return program

    def stop(self) -> None:
        """End all, the last one that was added first."""
        self._stopping.set()
        self._thread.join()
        for program in reversed(self.programs):
            program.end(signal.SIGTERM, within_s=20)

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            for program in list(self.programs):
                status = program.look()
                if status is not None:
                    self.ends.append(End(program.name, status))
