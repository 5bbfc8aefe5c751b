"""What a job that streams tells of itself while it runs, and how its tokens lie in Redis.

A job has a Redis stream. An entry holds what a step of the engine gave it; its id is
`FENCE-NUMBER`, the claim's fence and the number of its last token, counted from 1 over all
sequences of the job. So an entry that is written twice is there once, what another attempt writes
comes behind what it supersedes, and the place of a single token can be named: that is what clients
resume from. The last entry says that the job has ended; the record says how.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from distilq.jobs import Job, TokenLogprob

#: Fields of an entry: the tokens as JSON; that there are no more.
TOKENS, END = b"t", b"end"

#: As clients give it back; both numbers fit into Redis' 64 bits.
PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


class Place(NamedTuple):
    """Of a token: the fence of the claim that made it, and its number."""

    fence: int
    number: int

    def __str__(self) -> str:
        return f"{self.fence}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Place | None:
        match = PLACE.fullmatch(text)
        return None if match is None else cls(int(match[1]), int(match[2]))


@dataclass(slots=True)  # not frozen, like Came: that makes one four times as slowly
class Token:
    """A token of one sequence, and the text that can be shown now that it is there.

    The text may be empty: a character is never split, and what may be the beginning of a stop
    string is held back until it is none.
    """

    input: int
    sequence: int
    #: Of this token in its sequence, from 0.
    index: int
    id: int
    text: str
    #: With the sequence's last token: why it is the last, and the stop string that ended it.
    finish_reason: str | None = None
    stop: str | None = None
    #: As `TokenLogprob` dumps it, where log-probabilities are asked for.
    logprob: dict[str, Any] | None = None

    def shown(self) -> dict[str, Any]:
        """As clients see it: without what is None."""
        values = zip(NAMES, _values(self), strict=True)
        return {name: value for name, value in values if value is not None}

    @property
    def likeliest(self) -> TokenLogprob | None:
        return None if self.logprob is None else TokenLogprob.model_validate(self.logprob)


@dataclass(slots=True)
class Came:
    """A token, and from where to go on behind it."""

    place: Place
    token: Token


@dataclass(frozen=True)
class Stands:
    """Where the job stands; `restarted`: another attempt begins with its first token."""

    job: Job
    restarted: bool = False


@dataclass(frozen=True)
class Ended:
    job: Job


Event: TypeAlias = Came | Stands | Ended

#: Takes tokens at once, and says whether it did; see `Jobs.follow`.
AtOnce: TypeAlias = Callable[[list[Event]], bool]


def encoded(tokens: Iterable[Token]) -> str:
    """An entry's tokens; of each the trailing None are left out."""
    return _compact([_trimmed(token) for token in tokens])


def decoded(entry_id: bytes, entry: Mapping[bytes, bytes]) -> list[Came]:
    """The tokens of an entry of a job's stream; none of its last."""
    if TOKENS not in entry:
        return []
    fence, last = map(int, entry_id.split(b"-"))
    tokens = json.loads(entry[TOKENS])
    first = last - len(tokens) + 1
    return [Came(Place(fence, n), Token(*each)) for n, each in enumerate(tokens, start=first)]


#: The fields of a token, in the order in which an entry has them.
NAMES = tuple(each.name for each in fields(Token))
_values = attrgetter(*NAMES)
_compact = json.JSONEncoder(separators=(",", ":")).encode


def _trimmed(token: Token) -> list[Any]:
    values = list(_values(token))
    while values[-1] is None:
        values.pop()
    return values
