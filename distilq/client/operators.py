"""What operators do: look after workers and the dead list; and what a key may do."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel

from distilq.cluster import WorkerState
from distilq.deaths import DeadPage
from distilq.jobs import Job

from .answers import parsed
from .many import PAGE, fetch
from .retries import ask
from .steps import Flow, Send, Tell


class Me(BaseModel):
    """What the key that was sent may do; where keys are off, everybody may everything."""

    id: str | None
    name: str | None
    owner: str
    scopes: tuple[str, ...]
    admin: bool
    keys_required: bool


def me(retries: int) -> Flow[Me]:
    return (yield from fetch(Me, "/v1/me", retries))


def worker(worker_id: str, action: Literal["drain", "resume"], retries: int) -> Flow[WorkerState]:
    request = Send("POST", f"/v1/workers/{quote(worker_id, safe='')}:{action}")
    return parsed(WorkerState, (yield from ask(request, retries)))


def dead(retries: int, *, with_texts: bool) -> Flow[None]:
    """Tells all entries of the dead list, the newest first, page by page."""
    params = {"limit": PAGE} | ({"include": "request"} if with_texts else {})
    while True:
        page = yield from fetch(DeadPage, "/v1/dead", retries, params)
        for entry in page.entries:
            yield Tell(entry)
        if page.next is None:
            return
        params["cursor"] = page.next


def requeue(entry_id: str, retries: int) -> Flow[Job]:
    request = Send("POST", f"{_path(entry_id)}:requeue")
    return parsed(Job, (yield from ask(request, retries)))


def drop(entry_id: str, retries: int) -> Flow[None]:
    yield from ask(Send("DELETE", _path(entry_id)), retries)


def _path(entry_id: str) -> str:
    return f"/v1/dead/{quote(entry_id, safe='')}"
