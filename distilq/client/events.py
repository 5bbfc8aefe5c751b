"""A job as it happens: its server-sent events, across connections that break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel

from distilq.errors import DistilqError
from distilq.jobs import Job, JobStatus, TokenLogprob

from .answers import check, of_problem
from .errors import ConnectionFailed, UnexpectedAnswer
from .jobs import path
from .results import Result
from .retries import Backoff
from .steps import Answer, Flow, Read, Send, Tell, Wait

#: Seconds of silence after which the connection is lost: the service breaks silence after 15.
SILENCE_S = 30.0


class StatusEvent(BaseModel):
    """Where the job stands. `restarted`: all tokens told before are void, and come anew."""

    type: Literal["status"] = "status"
    status: JobStatus
    attempt: int = 0
    #: While it is queued: how many jobs are served before, plus one; seconds until it starts.
    position: int | None = None
    eta_s: float | None = None
    restarted: bool = False


class TokenEvent(BaseModel):
    """A token. Its text may be empty; those of a sequence, joined, are its new text."""

    type: Literal["token"] = "token"
    input: int
    sequence: int
    #: In its sequence, from 0.
    index: int
    id: int
    text: str
    #: With the sequence's last token.
    finish_reason: str | None = None
    stop: str | None = None
    logprob: TokenLogprob | None = None


class DoneEvent(BaseModel):
    """The job has succeeded."""

    type: Literal["done"] = "done"
    job: Job

    @property
    def result(self) -> Result:
        return Result(self.job)


Event: TypeAlias = StatusEvent | TokenEvent | DoneEvent


class Message(NamedTuple):
    event: str
    data: str
    #: The last id that has come, with this message or before.
    last_id: str


class Parser:
    """Bytes -> messages (WHATWG HTML, 9.2), in pieces of any size."""

    def __init__(self, last_id: str) -> None:
        self._last_id = last_id
        self._rest = b""
        self._event, self._data = "", ""
        #: Comments that have come: the service sends them where there is nothing else to send.
        self.comments = 0

    def feed(self, piece: bytes) -> Iterator[Message]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if message := self._line(line.removesuffix(b"\r").decode(errors="replace")):
                yield message

    def _line(self, line: str) -> Message | None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line.startswith(":"):
            self.comments += 1
        elif name == "event":
            self._event = value
        elif name == "data":
            self._data += value
        elif name == "id":
            self._last_id = value
        elif not line and self._data:
            message = Message(self._event, self._data, self._last_id)
            self._event, self._data = "", ""
            return message
        return None


class Following:
    """One who follows a job: what has come, and how often in a row nothing new did."""

    def __init__(self, job_id: str, retries: int) -> None:
        self._job_id = job_id
        self._backoff = Backoff(retries)
        self._parser: Parser | None = None
        self._last_id = ""
        self._standing: StatusEvent | None = None

    def events(self) -> Flow[None]:
        """Tells events until the job has ended.

        Raises:
            DistilqError: the job ended without its text; or one connection more than `retries` in
                a row was lost, or refused, without anything new.
        """
        while True:
            for message in (yield from self._messages()):
                event = self._heard(message)
                if event is not None:
                    self._backoff.reset()
                    yield Tell(event)
                if isinstance(event, DoneEvent):
                    return

    def _messages(self) -> Flow[list[Message]]:
        """Those of the next piece, from behind the last event that came, by whatever connection."""
        while True:
            try:
                if self._parser is None:
                    self._parser = yield from self._connected()
                piece: bytes = yield Read()
                if not piece:
                    raise ConnectionFailed("the stream broke off")
                messages = list(self._parser.feed(piece))
                if self._parser.comments:
                    self._backoff.reset()
                return messages
            except DistilqError as error:
                self._parser = None
                pause_s = self._backoff.after(error)
            yield Wait(pause_s)

    def _connected(self) -> Flow[Parser]:
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        where = path(self._job_id, "/events")
        request = Send("GET", where, headers=headers, wait_s=SILENCE_S, streamed=True)
        answer: Answer = yield request
        check(answer)
        return Parser(self._last_id)

    def _heard(self, message: Message) -> Event | None:
        """The event, if it says anything new; raises the error that ends the job."""
        event = _event(message)
        self._last_id = message.last_id
        if isinstance(event, StatusEvent):
            if event == self._standing and not event.restarted:
                return None
            self._standing = event
        return event


def _event(message: Message) -> Event | None:
    try:
        if message.event == "error":
            raise of_problem(json.loads(message.data))
        if message.event == "done":
            return DoneEvent(job=Job.model_validate_json(message.data, extra="ignore"))
        if message.event == "token":
            return TokenEvent.model_validate_json(message.data)
        if message.event == "status":
            return StatusEvent.model_validate_json(message.data)
    except ValueError as error:
        raise UnexpectedAnswer(f"the event {message.data[:80]!r}") from error
    return None  # a newer service may tell of more
