"""Clients: they submit, cancel, wait and look, and try again when nobody answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from tests.chaos.ledger import Asked, Ledger

Json = dict[str, Any]
Draw = Callable[[random.Random], Json]

#: Seconds that a client waits for an answer, and between two tries.
PATIENCE_S, RETRY_S = 30.0, 0.2

#: Jobs that one client has under way at most.
UNDER_WAY = 500


def draw_simulated(rng: random.Random) -> Json:
    """A request like those of many users: mostly short, of any priority."""
    parameters: Json = {
        "max_new_tokens": rng.choice([1, 5, 10, 20, 40, 80]),
        "num_return_sequences": rng.choice([1, 1, 1, 2]),
    }
    if rng.random() < 0.7:
        parameters["seed"] = rng.getrandbits(48)
    request: Json = {
        "inputs": [f"chaos {rng.getrandbits(20)} " for _ in range(rng.choice([1, 1, 1, 3]))],
        "parameters": parameters,
        "priority": rng.choice(["interactive", "normal", "normal", "bulk"]),
        "timeout_s": 900,
    }
    if rng.random() < 0.03:
        request["start_within_s"] = rng.choice([2, 10])
    return request


def draw_bundled(rng: random.Random) -> Json:
    """One of few requests, so that most are asked many times."""
    number = rng.randrange(12)
    return {
        "inputs": ["Once upon a time,", "My name is John and I am"][: 1 + number % 2],
        "parameters": {"max_new_tokens": 5 + 5 * (number % 4), "seed": number},
        "priority": rng.choice(["interactive", "normal", "bulk"]),
        "timeout_s": 900,
    }


class Client:
    """One client of the API instances, and what it does until it is stopped."""

    def __init__(self, urls: Sequence[str], ledger: Ledger, rng: random.Random, draw: Draw) -> None:
        self._urls = urls
        self._ledger = ledger
        self._rng = rng
        self._draw = draw
        self._mine: list[str] = []
        self._http = httpx.Client(timeout=PATIENCE_S, trust_env=False)

    def run(self, rate: float, stopped: threading.Event) -> None:
        """Submit `rate` jobs a second on the mean, and look at them in between."""
        due = time.monotonic()
        while not stopped.is_set():
            if time.monotonic() >= due and len(self._mine) < UNDER_WAY:
                due = max(due, time.monotonic() - 5) + self.submit(stopped) / rate
            self._cancel_some()
            self._wait_for_one()
            self.look(self._mine[:200])
            stopped.wait(0.05)

    def close(self) -> None:
        self._http.close()

    def submit(self, stopped: threading.Event) -> int:
        """One job or a batch, until it is accepted; how many it were."""
        many = 1 if self._rng.random() < 0.3 else self._rng.randint(2, 40)
        asked = [Asked(self._draw(self._rng)) for _ in range(many)]
        self.accept(asked, stopped)
        return many

    def accept(self, asked: Sequence[Asked], stopped: threading.Event) -> None:
        while not stopped.is_set():
            if len(asked) == 1:
                answer = self._ask("POST", "/v1/jobs", asked[0].request, ok=(200, 202))
                found = [answer] if answer else None
            else:
                body = {"jobs": [each.request for each in asked]}
                answer = self._ask("POST", "/v1/jobs:batch", body, ok=(202,))
                found = answer["jobs"] if answer else None
            if found is not None:
                for each, job in zip(asked, found, strict=True):
                    self._ledger.accept(job["id"], each)
                    self._mine.append(job["id"])
                return
            stopped.wait(RETRY_S)

    def _cancel_some(self) -> None:
        if self._mine and self._rng.random() < 0.3:
            job_id = self._rng.choice(self._mine)
            asked = self._ledger.asked[job_id]
            if not asked.crashes:
                asked.canceled = True  # before: an answer that is lost may have done it
                self._ask("POST", f"/v1/jobs/{job_id}/cancel", ok=(200, 202, 409))

    def _wait_for_one(self) -> None:
        if self._mine and self._rng.random() < 0.5:
            job_id = self._rng.choice(self._mine)
            job = self._ask("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=1"}, ok=(200,))
            if job and self._ledger.see(job):
                self._mine.remove(job_id)

    def look(self, ids: Sequence[str]) -> None:
        """At many jobs at once; those that are final are looked at no more."""
        answer = self._ask("POST", "/v1/jobs:status", {"ids": list(ids)}, ok=(200,)) if ids else {}
        for job in (answer or {}).get("jobs", []):
            if "error" not in job:
                self._ledger.wrong(f"{job['id']} was accepted, and is {job['status']}")
            elif self._ledger.see(job) and job["id"] in self._mine:
                self._mine.remove(job["id"])

    def _ask(
        self, method: str, path: str, body: Json | None = None, *, ok: tuple[int, ...], **kw: Any
    ) -> Json | None:
        """The answer of one instance or the other; None if there was none, or 503."""
        try:
            url = self._rng.choice(self._urls) + path
            answer = self._http.request(method, url, json=body, **kw)
        except httpx.HTTPError as error:
            self._ledger.count(type(error).__name__)
            return None
        self._ledger.count(str(answer.status_code))
        if answer.status_code in ok:
            found: Json = answer.json()
            return found
        if answer.status_code != 503:
            self._ledger.wrong(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return None


@contextmanager
def load(clients: Sequence[Client], rate: float) -> Iterator[None]:
    """All clients at work, each in a thread of its own."""
    stopped = threading.Event()
    share = rate / len(clients)
    threads = [threading.Thread(target=c.run, args=(share, stopped)) for c in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
