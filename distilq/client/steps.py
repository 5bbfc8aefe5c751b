"""What a flow may ask for: to send a request, to read on, to wait, to take input, to tell.

What the client does is written once, as generators that yield these steps and are sent what came of
them. `sync.py` and `asynchronous.py` carry the steps out; nothing else differs between the two.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """A request; what comes of it is an `Answer`, or a ConnectionFailed is raised."""

    method: str
    path: str
    body: bytes | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Instead of a body: the fields of a form, and the name and content of its file.
    form: Mapping[str, str] | None = None
    file: tuple[str, bytes] | None = None
    #: Seconds that the server may take on purpose before it answers, or between two pieces of it.
    wait_s: float = 0.0
    #: Seconds of silence that are too many, if fewer than the client's timeout and `wait_s`.
    limit_s: float = float("inf")
    #: Leave the body of a successful answer to `Read`.
    streamed: bool = False


@dataclass(frozen=True)
class Read:
    """The next piece of the last answer's body; empty at its end."""


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Take:
    """A list of the next items of the caller's iterable, shorter only at its end."""

    items: int


@dataclass(frozen=True)
class Tell(Generic[T]):
    """Hand it to the caller. Raises Stopped if the caller wants no more."""

    item: T


@dataclass(frozen=True)
class Answer:
    status: int
    #: With lower-case names.
    headers: Mapping[str, str]
    body: bytes = b""


class Stopped(Exception):
    """The caller has closed the iterator."""


Step: TypeAlias = Send | Read | Wait | Take | Tell[Any]
Flow: TypeAlias = Generator[Step, Any, T]
