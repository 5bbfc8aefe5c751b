"""The peer's end of the pipe: requests come in on stdin, answers go out on stdout, a line each.

Runs in the peers' environments too, so it imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

#: Of <sys/prctl.h>.
PR_SET_PDEATHSIG = 1
#: (prompts, new tokens for each) gives how many tokens were generated.
Generate = Callable[[list[list[int]], int], int]


def end_with_parent() -> None:
    """Die when the process that started this one does, even while stopped; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Channel:
    """Claims stdout before any library is imported: what libraries print goes to stderr."""

    def __init__(self) -> None:
        end_with_parent()
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def serve(self, generate: Generate, about: dict[str, Any]) -> None:
        """Say that the model is there, and answer until stdin ends."""
        self._say({"ready": about})
        for line in sys.stdin:
            asked = json.loads(line)
            start = time.perf_counter()
            try:
                tokens = generate(asked["prompts"], asked["new_tokens"])
            except Exception as error:
                self._say({"error": f"{type(error).__name__}: {error}"})
            else:
                self._say({"tokens": tokens, "seconds": time.perf_counter() - start})

    def _say(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()
