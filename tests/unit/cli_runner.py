"""The `distilq` command over an API in memory, with a worker that has done each job at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from distilq.cli.app import app
from distilq.client import Client
from distilq.events import Token
from distilq.testing import MemoryStore

Play = Callable[[MemoryStore, str], Any]


def finish(store: MemoryStore, job_id: str) -> None:
    store.finish(job_id)


def tell(store: MemoryStore, job_id: str) -> None:
    """The tokens of what `finish` says."""
    job = store.start(job_id)
    texts = range(job.parameters.num_return_sequences)
    for index, text in enumerate([" and", " on"]):
        end = "length" if index else None
        store.emit(job_id, [Token(0, n, index, 7, text, finish_reason=end) for n in texts])
    store.finish(job_id)


class Worked(httpx.BaseTransport):
    """Sends requests on; `play` is done to every job that they submit."""

    def __init__(self, transport: httpx.BaseTransport, store: MemoryStore, play: Play) -> None:
        self._transport, self._store, self._play = transport, store, play
        self.requests: list[httpx.Request] = []
        store.on_wait = self._work

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self._transport.handle_request(request)
        if request.method == "POST" and request.url.path in ("/v1/jobs", "/v1/jobs:batch"):
            answer = json.loads(response.read())
            for job in answer.get("jobs") or [answer]:
                if "id" in job:
                    self._work(job["id"])
        return response

    def _work(self, job_id: str) -> None:
        if not self._store.get(job_id).status.final:
            self._play(self._store, job_id)

    def bodies(self, path: str) -> list[Any]:
        return [json.loads(each.content) for each in self.requests if each.url.path == path]


class Command:
    """Runs `distilq …` against what `transport` reaches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, transport: httpx.BaseTransport) -> None:
        monkeypatch.setattr("distilq.client.Client", partial(Client, transport=transport))

    def __call__(self, *arguments: str, given: str | bytes = b"", **env: str) -> Result:
        return CliRunner().invoke(app, list(arguments), input=given, env=env)
