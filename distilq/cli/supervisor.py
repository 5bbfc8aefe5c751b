"""Keeps programs running: starts them, relays their logs, restarts what dies, stops them in order.

Everything that starts a process runs in the main thread: the kernel ties a child's life to the
thread that started it (see tied.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from typing_extensions import Self

from distilq.cli.console import Console
from distilq.cli.errors import CannotRun

TICK_S = 0.1
#: A program that ends by itself this soon has failed to start; three such in a row are the end.
STARTED_AFTER_S = 60.0
MAX_FAILED_STARTS = 3
#: EX_CONFIG of sysexits.h: the program has said what is wrong, and it is not going to change.
HOPELESS = 78
BACKOFF_S, MAX_BACKOFF_S = 0.25, 10.0
TIED = Path(__file__).with_name("tied.py")


class Interrupted(Exception):
    """Ctrl-C, SIGTERM or a closed terminal."""


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    #: Seconds from SIGTERM to SIGKILL.
    stop_s: float
    #: Whether a line of its log is worth showing.
    worth_showing: Callable[[str], bool] = field(default=bool)
    pass_fds: Sequence[int] = ()


def tied(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` for as long as this process lives."""
    return [sys.executable, "-I", "-S", str(TIED), str(os.getpid()), *command]


class Child:
    """One program and the process that runs it now."""

    def __init__(self, program: Program, console: Console) -> None:
        self.program = program
        self._console = console
        self._failed_starts = self._short_lives = 0
        self._again_at: float | None = None
        self._start()

    def _start(self) -> None:
        program = self.program
        self._again_at = None
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            tied(program.command),
            env=program.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=program.pass_fds,
            start_new_session=True,  # a group of its own: Ctrl-C reaches `distilq up` alone
        )
        self._last_line = ""
        self._reader = threading.Thread(target=self._relay, args=(self.process,), daemon=True)
        self._reader.start()

    def _relay(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 (it was asked for above)
        with process.stdout as lines:
            while line := lines.readline(65_536):
                text = line.decode(errors="replace").rstrip()
                self._last_line = text or self._last_line
                if self.program.worth_showing(text):
                    self._console.say(text, self.program.name)

    def look_after(self) -> None:
        """Start it again when it has died, after a pause that grows.

        Raises:
            CannotRun: it failed to start too often in a row.
        """
        now = time.monotonic()
        if self._again_at is not None:
            if now >= self._again_at:
                self._start()
        elif (code := self.process.poll()) is not None:
            self.kill()  # what it may have left in its group, holding the port
            pause = self._pause_after(code, now - self._started_at)
            self._console.say(f"{_ending(code)}; starting it again", self.program.name)
            self._again_at = now + pause

    def _pause_after(self, code: int, lived_s: float) -> float:
        short = lived_s < STARTED_AFTER_S
        self._short_lives = self._short_lives + 1 if short else 0
        # A SIGKILL comes from outside and says nothing of whether it can start.
        failed = short and code != -signal.SIGKILL
        if code == HOPELESS:
            self._reader.join(timeout=1.0)
            raise CannotRun(f"{self.program.name}: {self._last_line.removeprefix('distilq: ')}")
        self._failed_starts = self._failed_starts + 1 if failed else 0
        if self._failed_starts >= MAX_FAILED_STARTS:
            times = f"{MAX_FAILED_STARTS} times in a row"
            raise CannotRun(f"{self.program.name} failed {times} to start ({_ending(code)})")
        return float(min(MAX_BACKOFF_S, BACKOFF_S * 2**self._short_lives))

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """SIGKILL to whatever is left of its process group."""
        # Nobody there; macOS says EPERM when only zombies are.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """The running programs, in stages; on leaving, the last stage stops first."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._stages: list[list[Child]] = []
        self._handlers: dict[signal.Signals, Any] = {}
        self._asked = 0

    def __enter__(self) -> Self:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup
                self._handlers[signum] = signal.signal(signum, self._ask)
        return self

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self._asked += 1

    def start(self, *programs: Program) -> None:
        """A new stage: it is stopped before those that were started before it."""
        stage: list[Child] = []
        self._stages.append(stage)
        for program in programs:
            stage.append(Child(program, self.console))  # noqa: PERF401 (each is stopped if a later one fails)

    def tick(self) -> None:
        """Sleep a little, restart what died. Raises Interrupted once the user wants an end."""
        time.sleep(TICK_S)
        if self._asked:
            raise Interrupted
        for stage in self._stages:
            for child in stage:
                child.look_after()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stages:
            self.console.say("stopping; running jobs are finished first (Ctrl-C again hurries)")
        for stage in reversed(self._stages):
            self._stop(stage)
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _stop(self, stage: list[Child]) -> None:
        for child in stage:
            child.terminate()
        end = time.monotonic() + max((child.program.stop_s for child in stage), default=0)
        while any(child.process.poll() is None for child in stage) and time.monotonic() < end:
            if self._asked > 1:  # the second Ctrl-C
                end = min(end, time.monotonic() + 1.0)
            time.sleep(TICK_S)
        for child in stage:
            child.kill()
            child.process.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    return f"was ended by {signal.Signals(-code).name}"
