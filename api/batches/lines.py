"""The lines of a batch's input file, and what each asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from pydantic_core import from_json

from distilq.batches import Endpoint
from distilq.errors import DistilqError, InvalidParameters
from distilq.jobs import JobRequest
from distilq.parameters import Wire

from ..bodies import parse
from ..openai.errors import body as in_openais_words
from ..openai.models import refuse_others
from ..openai.schemas import CompletionRequest

MAX_CUSTOM_ID = 512
CustomId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CUSTOM_ID)]

BOM = b"\xef\xbb\xbf"


class CompletionLine(Wire):
    custom_id: CustomId
    method: Literal["POST"] = Field(description="must be POST")
    url: Literal["/v1/completions"] = Field(description="must be /v1/completions in this batch")
    body: CompletionRequest


class JobLine(Wire):
    custom_id: CustomId
    method: Literal["POST"] = Field(description="must be POST")
    url: Literal["/v1/jobs"] = Field(description="must be /v1/jobs in this batch")
    body: JobRequest


FORMS: dict[Endpoint, type[CompletionLine] | type[JobLine]] = {
    "/v1/completions": CompletionLine,
    "/v1/jobs": JobLine,
}


@dataclass(frozen=True)
class Line:
    """One line, with its end; `raw` is None where it is too long to be looked at."""

    number: int
    offset: int
    length: int
    raw: bytes | None

    @property
    def blank(self) -> bool:
        return self.raw is not None and not self.raw.strip()


@dataclass(frozen=True)
class Asked:
    """A line that is a request."""

    number: int
    custom_id: str
    body: CompletionRequest | JobRequest


@dataclass(frozen=True)
class Refused:
    """A line that is none, and why."""

    number: int
    custom_id: str | None
    code: str
    message: str
    param: str | None = None


def split(blocks: Iterable[bytes], most: int, number: int = 1, offset: int = 0) -> Iterator[Line]:
    """The lines of a file that comes in blocks; one of more than `most` bytes is never held."""
    held, length = bytearray(), 0
    for block in blocks:
        begin = 0
        while begin < len(block):
            newline = block.find(b"\n", begin)
            end = len(block) if newline < 0 else newline + 1
            length += end - begin
            if length <= most + 1:  # the newline is not counted
                held += block[begin:end]
            begin = end
            if newline >= 0:
                yield _line(number, offset, length, held, most)
                number, offset, length = number + 1, offset + length, 0
                held.clear()
    if length:
        yield _line(number, offset, length, held, most)


def custom_id(raw: bytes) -> str | None:
    """The custom_id of a line, even of one that is no request otherwise."""
    try:
        found: Any = from_json(raw, cache_strings="none")
    except ValueError:
        return None
    known = found.get("custom_id") if isinstance(found, dict) else None
    return known if isinstance(known, str) and 0 < len(known) <= MAX_CUSTOM_ID else None


def read(line: Line, endpoint: Endpoint, *, twice: bool) -> Asked | Refused:
    """What a line asks for; `twice`: a line before it has its custom_id.

    Needs an application context. Raises StoreUnavailable.
    """
    if line.raw is None:
        return Refused(line.number, None, "line_too_long", "is longer than a request may be")
    try:
        found = parse(FORMS[endpoint], line.raw)
        _refuse_what_batches_have_not(found)
        if isinstance(found, CompletionLine):
            refuse_others(found.body.model)
    except DistilqError as error:
        if error.retryable:
            raise
        return _refused(line.number, custom_id(line.raw), error)
    if twice:
        words = "custom_id: a line before has the same"
        return Refused(line.number, found.custom_id, "duplicate_custom_id", words, "custom_id")
    return Asked(line.number, found.custom_id, found.body)


def _line(number: int, offset: int, length: int, held: bytearray, most: int) -> Line:
    content = len(held) if length == len(held) else length
    if held.endswith(b"\n"):
        content -= 1
    raw = bytes(held) if content <= most and length == len(held) else None
    if raw is not None and offset == 0:
        raw = raw.removeprefix(BOM)
    return Line(number, offset, length, raw)


def _refuse_what_batches_have_not(found: CompletionLine | JobLine) -> None:
    # A job of a batch is forgotten once its row is written: nobody could be told of it for long.
    webhook = isinstance(found, JobLine) and found.body.webhook is not None
    for name, given in (("stream", found.body.stream), ("webhook", webhook)):
        if given:
            detail = "is not offered in batches"
            entry = {"pointer": f"#/body/{name}", "code": "not_offered", "detail": detail}
            raise InvalidParameters(errors=[entry])


def _refused(number: int, known: str | None, error: DistilqError) -> Refused:
    words = in_openais_words(error.problem())["error"]
    return Refused(number, known, words["code"] or error.code, words["message"], words["param"])
