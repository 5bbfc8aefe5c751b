"""What the engine knows of a job while it holds it: prompts, rows, and where their keys lie."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from distilq.jobs import JobRequest, TokenLogprob
from distilq.parameters import Parameters

FinishReason = Literal["length", "eos_token", "stop_sequence"]


@dataclass(frozen=True)
class ModelInfo:
    """What is served, as `/v1/info` and every job show it."""

    name: str
    source: str
    revision: str | None
    precision: str
    device: str
    n_positions: int
    vocab_size: int
    parameters: int
    bundled: bool
    #: Tokens that end a text; may be several, may be none.
    eos_token_ids: frozenset[int] = frozenset()
    #: What an empty prompt starts from.
    bos_token_id: int | None = None
    #: Same seed, same text, whatever else runs in the batch.
    reproducible: bool = True
    note: str = ""


@dataclass(frozen=True)
class Segment:
    """A stretch of the cache that one row owns: `size` tokens from `offset` on."""

    offset: int
    size: int


@dataclass(eq=False, slots=True)
class Prompt:
    """One input of a job. It is prefilled once; its rows copy what was computed."""

    job: ActiveJob
    index: int
    #: As the client wrote it; `ids` are what of it the model is fed.
    given: str | Ordered[int]
    ids: list[int]
    new_tokens: int
    waiting: deque[Row] = field(default_factory=deque)
    admitted: list[Row] = field(default_factory=list)
    prefilled: int = 0
    logprobs: list[TokenLogprob] | None = None

    @property
    def to_prefill(self) -> int:
        """All but the last token: the row's first decode step computes that one itself."""
        return len(self.ids) - 1

    @property
    def is_prefilled(self) -> bool:
        return self.prefilled == self.to_prefill

    @property
    def tokens(self) -> int:
        """What a row of this prompt may come to occupy."""
        return len(self.ids) + self.new_tokens


@dataclass(eq=False, slots=True)
class Row:
    """One sequence being generated."""

    prompt: Prompt
    sequence: int
    parameters: Parameters
    seed: int
    segment: Segment | None = None
    ready: bool = False
    tokens: list[int] = field(default_factory=list)
    #: How many of `tokens` the model has yet to see again, since the row was paused.
    to_replay: int = 0
    pauses: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    logprob_sum: float = 0.0
    finish_reason: FinishReason | None = None
    stop: str | None = None
    text: str = ""

    @property
    def place(self) -> Segment:
        """The segment of a row that has been admitted."""
        if self.segment is None:
            raise RuntimeError("the row has no place yet")
        return self.segment

    @property
    def seen(self) -> int:
        """How many of its own tokens come before the one that the next step computes."""
        return len(self.tokens) - self.to_replay

    @property
    def last_token(self) -> int:
        """What the next step feeds to the model."""
        return self.tokens[self.seen - 1] if self.seen else self.prompt.ids[-1]

    @property
    def position(self) -> int:
        """Position of `last_token`, and so the number of tokens before it."""
        return len(self.prompt.ids) + self.seen - 1

    @property
    def may_end(self) -> bool:
        """False while `min_new_tokens`, or else `min_length`, forbids the end of text."""
        new, least = len(self.tokens), self.parameters.min_new_tokens
        if least is not None:
            return new >= least
        return len(self.prompt.ids) + new >= (self.parameters.min_length or 0)

    @property
    def wants_logprob(self) -> bool:
        return self.parameters.logprobs is not None or self.parameters.best_of is not None


@dataclass(slots=True)
class Emitted:
    """A new token of a job that streams."""

    row: Row
    id: int
    #: Of this token in its row, from 0.
    index: int
    #: Whether it is the row's last, whose `finish_reason` and `stop` are then known.
    last: bool
    logprob: TokenLogprob | None


@dataclass(eq=False, slots=True)
class ActiveJob:
    """A job between `submit` and its outcome."""

    key: str
    request: JobRequest
    submitted_at: float
    prompts: list[Prompt] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    planned: bool = False
    ended: bool = False
    #: When its first row got a place; the time before is waiting, which timeout_s does not limit.
    admitted_at: float | None = None
    first_token_at: float | None = None
    #: The engine's counters when the job's first row was decoded.
    steps_before: int = 0
    row_steps_before: int = 0
    tokens_done: int = 0
    sequences_done: int = 0

    @property
    def deadline(self) -> float:
        if self.admitted_at is None:
            return math.inf
        return self.admitted_at + self.request.timeout_s


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `stop` of a prompt, to be computed into a segment."""

    prompt: Prompt
    segment: Segment
    start: int
    stop: int

    @property
    def wants_logits(self) -> bool:
        """Not when the prompt is prefilled again, after a pause: they are known."""
        asked = self.prompt.job.request.parameters.prompt_logprobs is not None
        return asked and self.start >= len(self.prompt.logprobs or ())


@dataclass(slots=True)
class Candidates:
    """Log-probability of one token, and the likeliest tokens at its place."""

    logprob: float
    top: list[tuple[int, float]]


@dataclass(slots=True)
class Draws:
    """One token per row; log-probabilities where a row asks for them, by row number."""

    tokens: list[int]
    candidates: dict[int, Candidates] = field(default_factory=dict)
    #: Rows whose token could not be drawn, and why.
    failed: dict[int, Exception] = field(default_factory=dict)


class Model(Protocol):
    """What the engine needs of a model. The real one is in model.py, a fake in tests/unit."""

    info: ModelInfo

    def reserve(self, tokens: int) -> None:
        """Allocate the cache; forgets all that was in it."""

    def forward(
        self, rows: Ordered[Row], chunks: Ordered[Chunk]
    ) -> tuple[Any, list[list[Candidates]]]:
        """Feed each row's last token and the chunks' tokens in one pass.

        Returns the logits after each row's last token, and of each chunk that wants them the
        candidates of its next tokens.
        """

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        """Copy the first tokens' keys and values."""

    def sample(self, logits: Any, rows: Ordered[Row]) -> Draws:
        """One new token per row."""


class Tokenizer(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Ordered[int]) -> str: ...
