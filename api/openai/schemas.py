"""What OpenAI's routes take and answer, as its reference has it, and what it means for a job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator
from typing_extensions import Self

from distilq.jobs import MAX_INPUTS, MAX_ROWS, Prompt, TokenIds
from distilq.parameters import (
    MAX_NEW_TOKENS,
    Bias,
    Integer,
    Parameters,
    StopString,
    TokenKey,
    Wire,
    conflict,
)

#: OpenAI's default of max_tokens.
DEFAULT_MAX_TOKENS = 16


def _prompt_form(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    first = value[0] if isinstance(value, (list, tuple)) and value else ""
    if isinstance(first, (list, tuple)):
        return "token_lists"
    return "texts" if isinstance(first, str) else "tokens"


Prompts = Annotated[
    Annotated[Prompt, Tag("text")]
    | Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_INPUTS), Tag("texts")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[
        tuple[TokenIds, ...], Field(min_length=1, max_length=MAX_INPUTS), Tag("token_lists")
    ],
    Discriminator(_prompt_form),
]


def _stop_form(value: Any) -> str:
    return "text" if isinstance(value, str) else "texts"


Stops = Annotated[
    Annotated[StopString, Tag("text")]
    | Annotated[tuple[StopString, ...], Field(max_length=4), Tag("texts")],
    Discriminator(_stop_form),
]


class StreamOptions(Wire):
    include_usage: bool | None = Field(None, description="a last chunk with the usage")
    include_obfuscation: Literal[False] | None = Field(
        None, description="padding of the chunks is not offered"
    )


class CompletionRequest(Wire):
    """The body of POST /v1/completions; null is as good as left out, but for `model`."""

    model: str = Field(min_length=1, max_length=512)
    prompt: Prompts | None = Field(
        None, description="a text, texts, token ids, or lists of token ids"
    )
    suffix: None = Field(None, description="inserting text before a suffix is not offered")
    max_tokens: Integer | None = Field(None, ge=0, le=MAX_NEW_TOKENS, description="16 when absent")
    temperature: float | None = Field(
        None, ge=0, le=2, description="1 when absent; 0: the likeliest token"
    )
    top_p: float | None = Field(
        None, ge=0, le=1, description="1 when absent; 0: the likeliest token"
    )
    n: Integer | None = Field(None, ge=1, le=64, description="choices per prompt")
    best_of: Integer | None = Field(
        None, ge=1, le=64, description="texts drawn per prompt; the n likeliest are returned"
    )
    stop: Stops | None = Field(
        None, description="a string, or up to 4: the text ends before the first of them"
    )
    logprobs: Integer | None = Field(
        None, ge=0, le=5, description="log-probabilities, and those of the N likeliest tokens"
    )
    echo: bool | None = Field(None, description="put the prompt in front of the text")
    seed: Integer | None = Field(None, ge=-(2**63), lt=2**64)
    logit_bias: dict[TokenKey, Bias] | None = Field(
        None,
        max_length=1024,
        description="token id to a bias in -100..100",
        json_schema_extra={"additionalProperties": False},  # pydantic says it of no pattern
    )
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    user: str | None = Field(None, description="whom you ask for; not looked at")
    stream: bool | None = Field(None, description="answer with chunks as server-sent events")
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        drawn = "best_of" if self.best_of else "n"
        if self.drawn < self.choices:
            raise conflict("best_of", "must be at least n")
        if len(self.prompts) * self.drawn > MAX_ROWS:
            rows = len(self.prompts) * self.drawn
            raise conflict(drawn, f"prompts times {drawn} is {rows}, at most {MAX_ROWS}")
        if self.stream and self.drawn > self.choices:
            raise conflict("best_of", "which texts are the best is known only at the end")
        if self.stream_options is not None and not self.stream:
            raise conflict("stream_options", "is only for requests with stream")
        return self

    @property
    def prompts(self) -> tuple[str, ...] | tuple[tuple[int, ...], ...]:
        """The prompts in their one internal form; an empty text where none is given."""
        given = self.prompt or ""
        if isinstance(given, str):
            return (given,)
        return (given,) if isinstance(given[0], int) else given

    @property
    def choices(self) -> int:
        """Per prompt."""
        return self.n or 1

    @property
    def drawn(self) -> int:
        """Texts per prompt of which the choices are the best."""
        return self.best_of or self.choices

    @property
    def greedy(self) -> bool:
        """Every choice is the same then: one row is drawn for all."""
        return self.temperature == 0 or self.top_p == 0

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else self.stop or ()

    @property
    def parameters(self) -> Parameters:
        """How a job has to generate for this."""
        return Parameters(
            max_new_tokens=DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens,
            do_sample=not self.greedy,
            temperature=1.0 if self.greedy or self.temperature is None else self.temperature,
            top_k=0,
            top_p=1.0 if self.greedy or self.top_p is None else self.top_p,
            num_return_sequences=1 if self.greedy else self.choices,
            best_of=None if self.greedy or self.drawn == self.choices else self.drawn,
            stop=self.stops,
            seed=None if self.seed is None else self.seed % 2**64,
            return_full_text=bool(self.echo),
            logprobs=self.logprobs,
            prompt_logprobs=self.logprobs if self.echo else None,
            logit_bias=self.logit_bias or {},
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
        )


class ChoiceLogprobs(BaseModel):
    """One entry per token in each list."""

    text_offset: list[int] = Field(description="where the token begins in the choice's text")
    token_logprobs: list[float | None] = Field(description="null for a prompt's first token")
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None] = Field(
        description="the likeliest tokens and the token itself; null for a prompt's first token"
    )


class Choice(BaseModel):
    text: str
    index: int
    logprobs: ChoiceLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = Field(
        None, description="null in a chunk after which there are more of this choice"
    )


class CompletionUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The choices: those of the first prompt, then those of the second, and so on."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage


class ModelObject(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="when the oldest of its workers was started; 0: it has none")
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]


class ErrorObject(BaseModel):
    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="the field that is at fault")
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorObject
