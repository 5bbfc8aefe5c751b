"""The tokens of jobs that stream, on their way from the engine to Redis.

A character is never split and no stop string shows, not in part either: text is held back until it
is known to be part of the final one. All that a sequence was given, joined, is its new text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from distilq.events import Token

from .outcomes import new_text
from .rows import Emitted, Row, Tokenizer

#: How an unfinished character reads; what ends with one may be about to become another.
UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Text:
    """One sequence's new text, token by token."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        #: Tokens that have been decoded, kept because some tokenizers read a token by the one
        #: before it; and how they read alone.
        self._before: list[int] = []
        self._read = ""
        #: Tokens that end amid a character.
        self._open: list[int] = []
        #: What may be the beginning of a stop string.
        self._held = ""
        self._given = 0

    def add(self, token: int) -> str:
        """What can be given now that this token is there."""
        self._open.append(token)
        text = self._tokenizer.decode([*self._before, *self._open])
        if text.endswith(UNFINISHED):
            return ""
        found = self._held + text[len(self._read) :]
        self._before, self._open = self._open, []
        self._read = self._tokenizer.decode(self._before)
        if not self._stops:
            return self._give(found)
        keep = max(_overlap(found, stop) for stop in self._stops)
        self._held = found[len(found) - keep :]
        return self._give(found[: len(found) - keep])

    def end(self, text: str) -> str:
        """The rest of the sequence's whole new text."""
        return self._give(text[self._given :])

    def _give(self, text: str) -> str:
        self._given += len(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters are the first of the stop string."""
    return next((n for n in range(min(len(stop), len(text)), 0, -1) if text.endswith(stop[:n])), 0)


@dataclass
class _Job:
    texts: dict[Row, Text] = field(default_factory=dict)
    tokens: int = 0


class Streams:
    """What has been given of each job that streams, by the key of its claim."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._jobs: dict[str, _Job] = {}

    def entries(self, emitted: Iterable[Emitted]) -> list[tuple[str, int, list[Token]]]:
        """Per job its key, the number of its last token, and the tokens."""
        found: dict[str, list[Token]] = {}
        for each in emitted:
            key = each.row.prompt.job.key
            job = self._jobs.setdefault(key, _Job())
            job.tokens += 1
            found.setdefault(key, []).append(self._token(job, each))
        return [(key, self._jobs[key].tokens, tokens) for key, tokens in found.items()]

    def forget(self, key: str) -> None:
        """The job has ended."""
        self._jobs.pop(key, None)

    def _token(self, job: _Job, each: Emitted) -> Token:
        row = each.row
        text = job.texts.get(row)
        if text is None:
            text = job.texts[row] = Text(self._tokenizer, row.parameters.stop)
        given = text.end(new_text(row, self._tokenizer)) if each.last else text.add(each.id)
        return Token(
            input=row.prompt.index,
            sequence=row.sequence,
            index=each.index,
            id=each.id,
            text=given,
            finish_reason=row.finish_reason if each.last else None,
            stop=row.stop if each.last else None,
            logprob=None if each.logprob is None else each.logprob.model_dump(),
        )
