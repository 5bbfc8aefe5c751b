"""Reading server-sent events as a client does (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx


class Message(NamedTuple):
    event: str
    data: Any
    #: The last id that the client knows, of this event or of one before.
    last_id: str


def messages(response: httpx.Response, last_id: str = "") -> Iterator[Message]:
    event, data = "message", ""
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            data += value
        elif name == "id":
            last_id = value
        elif not line and data:
            yield Message(event, json.loads(data), last_id)
            event, data = "message", ""


def follow(http: httpx.Client, job_id: str, last_id: str = "") -> Iterator[Message]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=90) as response:
        assert response.status_code == 200, response.read()
        yield from messages(response, last_id)


def joined(told: list[Message]) -> list[list[str]]:
    """Per input and sequence the text that was told, from the last restart on."""
    for number, message in enumerate(told):
        if message.event == "status" and message.data.get("restarted"):
            told = told[number:]
            return joined(told[1:])
    texts: dict[tuple[int, int], str] = {}
    for message in told:
        if message.event == "token":
            place = (message.data["input"], message.data["sequence"])
            texts[place] = texts.get(place, "") + message.data["text"]
    inputs = 1 + max((i for i, _ in texts), default=-1)
    return [[texts[i, s] for j, s in sorted(texts) if j == i] for i in range(inputs)]
