"""The log of `distilq up`: every program's lines, prefixed with its name, on standard output."""

from __future__ import annotations

import os
import queue
import sys
import threading
from contextlib import suppress

#: Lines that wait for a slow reader (`| less`, a terminal on hold); what comes beyond is dropped.
MAX_WAITING = 10_000


class Console:
    """Writes from a thread of its own, so that no reader of the log can hold up the service.

    Once the reader is gone (`distilq up | head`) lines are dropped and the service goes on.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = sys.stdout.fileno() if fd is None else fd
        self._lines: queue.Queue[str] = queue.Queue(MAX_WAITING)
        self._done = threading.Event()
        threading.Thread(target=self._write_all, name="console", daemon=True).start()

    def say(self, text: str, who: str | None = None) -> None:
        line = text if who is None else f"{who:<8} | {text}"
        with suppress(queue.Full):
            self._lines.put_nowait(line + "\n")

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, as far as the reader takes it."""
        try:
            self._lines.put("", timeout=timeout_s)
        except queue.Full:
            return
        self._done.wait(timeout_s)

    def _write_all(self) -> None:
        gone = False
        while line := self._lines.get():
            data = line.encode(errors="replace")
            while data and not gone:
                try:
                    data = data[os.write(self._fd, data) :]
                except OSError:
                    gone = True
        self._done.set()
