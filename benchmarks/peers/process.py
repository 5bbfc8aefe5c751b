"""A peer as the benchmark sees it: a process of its own that generates when asked.

Each has its own environment, threads and memory, so peers can take turns with the engine without
one seeing the other's libraries. Between its turns a peer is stopped by a signal: idle threads of
OpenMP spin for up to 200 ms, and some servers poll (LitServe: a fifth of a core), while another is
timed. So no peer needs settings that would keep it still, and might slow it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class PeerFailed(Exception):
    """A peer did not start, did not answer, or answered something else than asked."""


@dataclass(frozen=True)
class Answer:
    tokens: int
    seconds: float


class Peer:
    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], start_s: float = 300
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            self.about: dict[str, Any] = self._hear(start_s)["ready"]
        except BaseException:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def ask(self, prompts: Sequence[Sequence[int]], new_tokens: int, within: float = 300) -> Answer:
        """Have the prompts continued by exactly `new_tokens` each.

        Raises:
            PeerFailed: it did not, and why.
        """
        asked = {"prompts": [list(prompt) for prompt in prompts], "new_tokens": new_tokens}
        if self._process.stdin is None or self._process.poll() is not None:
            raise PeerFailed(self._last_words())
        self._signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._hear(within)
        self._signal(signal.SIGSTOP)
        if "error" in answer:
            raise PeerFailed(answer["error"])
        if answer["tokens"] != len(prompts) * new_tokens:
            wanted = len(prompts) * new_tokens
            raise PeerFailed(f"{answer['tokens']} tokens came where {wanted} were asked for")
        return Answer(answer["tokens"], answer["seconds"])

    def close(self) -> None:
        """End the process and all that it has started."""
        self._signal(signal.SIGCONT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._errors.close()

    def _hear(self, within: float) -> dict[str, Any]:
        out = self._process.stdout
        if out is None or not select.select([out], [], [], within)[0]:
            raise PeerFailed(f"no answer within {within:g} s")
        line = out.readline()
        if not line:
            self._process.wait(5)
            raise PeerFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.returncode}"

    def _signal(self, number: signal.Signals) -> None:
        """To the peer and to all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
