"""The log of `distilq up`: every program's lines, prefixed with its name, on standard output."""

from __future__ import annotations

import json
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

    def __init__(self, fd: int | None = None, *, in_json: bool = False) -> None:
        self._in_json = in_json
        self._fd = sys.stdout.fileno() if fd is None else fd
        self._lines: queue.Queue[str] = queue.Queue(MAX_WAITING)
        self._done = threading.Event()
        threading.Thread(target=self._write_all, name="console", daemon=True).start()

    def say(self, text: str, who: str | None = None) -> None:
        line = _as_json(text, who) if self._in_json else _as_text(text, who)
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


def _as_text(text: str, who: str | None) -> str:
    return text if who is None else f"{who:<8} | {text}"


def _as_json(text: str, who: str | None) -> str:
    """What is an object already stays; the others' lines, Redis' say, are put into one."""
    if text.startswith("{"):
        return text
    return json.dumps({"level": "INFO", "logger": f"distilq.up.{who or 'up'}", "message": text})
