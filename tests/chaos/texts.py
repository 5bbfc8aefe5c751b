"""What a job's texts must be."""

from __future__ import annotations

import json
import threading
from typing import Any

Json = dict[str, Any]

#: As the simulated model has them, written a second time on purpose.
LETTERS = "etaoin shrdlu"


def simulated(request: Json, job: Json) -> str | None:
    """The simulated model's letters follow from seed, input, sequence and step."""
    asked, seed = request["parameters"], job["parameters"]["seed"]
    if asked.get("seed", seed) != seed:
        return f"seed {seed} in place of {asked['seed']}"
    expected = [
        [
            prompt + "".join(_letter(seed + 7 * i + 3 * s + k) for k in range(_count(asked)))
            for s in range(asked.get("num_return_sequences", 1))
        ]
        for i, prompt in enumerate(request["inputs"])
    ]
    found = [[text["generated_text"] for text in texts] for texts in job["result"]]
    return None if found == expected else f"{found} in place of {expected}"


def _letter(place: int) -> str:
    return LETTERS[place % len(LETTERS)]


def _count(asked: Json) -> int:
    return int(asked["max_new_tokens"])


class SameEachTime:
    """For a real model: of one request with a seed every job has the same texts."""

    def __init__(self) -> None:
        self._first: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Json, job: Json) -> str | None:
        found = [[text["generated_text"] for text in texts] for texts in job["result"]]
        name = json.dumps([request["inputs"], request["parameters"]], sort_keys=True)
        with self._lock:
            first = self._first.setdefault(name, found)
        return None if first == found else f"{found}, another time {first}"
