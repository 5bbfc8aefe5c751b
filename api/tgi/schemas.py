"""The shapes of Text Generation Inference, which huggingface_hub's client speaks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator
from typing_extensions import Self

from distilq.jobs import Prompt
from distilq.parameters import (
    MAX_NEW_TOKENS,
    MAX_SEQUENCES,
    MAX_STOPS,
    Integer,
    Parameters,
    StopString,
    Wire,
    conflict,
)

from ..schemas import FieldError

#: TGI's own; ours is another.
DEFAULT_NEW_TOKENS = 100

FinishReason = Literal["length", "eos_token", "stop_sequence"]


class GenerateParameters(Wire):
    """How to generate; null is as good as left out. Greedy unless something asks for sampling."""

    adapter_id: None = Field(None, description="adapters are not offered")
    best_of: Integer | None = Field(
        None, ge=1, le=MAX_SEQUENCES, description="texts drawn; the likeliest per token is returned"
    )
    decoder_input_details: bool | None = Field(
        None, description="log-probabilities of the prompt's tokens, and all other details"
    )
    details: bool | None = Field(None, description="say how it ended, and every token")
    do_sample: bool | None = Field(None, description="draw tokens instead of taking the likeliest")
    frequency_penalty: float | None = Field(None, ge=-2, le=2, description="over new tokens")
    grammar: None = Field(None, description="grammars are not offered")
    max_new_tokens: Integer | None = Field(
        None, ge=1, le=MAX_NEW_TOKENS, description=f"{DEFAULT_NEW_TOKENS} when absent"
    )
    repetition_penalty: float | None = Field(None, gt=0, le=100)
    return_full_text: bool | None = Field(None, description="put the prompt before the new text")
    seed: Integer | None = Field(None, ge=0, lt=2**64)
    stop: tuple[StopString, ...] | None = Field(
        None, max_length=MAX_STOPS, description="the text ends with the first of these strings"
    )
    temperature: float | None = Field(None, gt=0, le=100)
    top_k: Integer | None = Field(None, ge=0, le=1_000_000, description="0: all tokens")
    top_n_tokens: Integer | None = Field(
        None, ge=0, le=20, description="the likeliest tokens at each place, with the details"
    )
    top_p: float | None = Field(None, gt=0, le=1)
    truncate: Integer | None = Field(
        None, ge=1, le=1_048_576, description="tokens kept of the prompt: the last ones"
    )
    typical_p: float | None = Field(None, gt=0, le=1)
    watermark: Literal[False] | None = Field(None, description="watermarks are not offered")

    @model_validator(mode="after")
    def _can_choose(self) -> Self:
        if self.sequences > 1 and not self.sampling:
            raise conflict("best_of", "more than 1 needs do_sample, or a parameter that samples")
        return self

    @property
    def sampling(self) -> bool:
        """TGI's rule: each of these parameters alone turns it on."""
        given = (self.temperature, self.top_k, self.top_p, self.typical_p)
        return bool(self.do_sample) or any(value is not None for value in given)

    @property
    def sequences(self) -> int:
        return self.best_of or 1

    @property
    def detailed(self) -> bool:
        return bool(self.details or self.decoder_input_details)

    def ours(self, *, tokens: bool) -> Parameters:
        """The same in our words; with `tokens` every token is told of."""
        several = self.sequences > 1
        return Parameters(
            max_new_tokens=self.max_new_tokens or DEFAULT_NEW_TOKENS,
            do_sample=self.sampling,
            temperature=self.temperature or 1.0,
            top_k=self.top_k or 0,
            top_p=self.top_p or 1.0,
            typical_p=self.typical_p or 1.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            best_of=self.best_of if several else None,
            num_return_sequences=self.sequences if several and tokens else 1,
            stop=self.stop or (),
            seed=self.seed,
            return_full_text=bool(self.return_full_text),
            truncate_prompt_tokens=self.truncate,
            logprobs=(self.top_n_tokens or 0) if tokens else None,
            prompt_logprobs=0 if self.decoder_input_details else None,
        )


class GenerateRequest(Wire):
    """The body of POST /generate, /generate_stream and /."""

    inputs: Prompt
    parameters: GenerateParameters | None = None
    stream: bool | None = Field(None, description="of POST / and /generate: answer with a stream")

    @property
    def asked(self) -> GenerateParameters:
        return self.parameters or GenerateParameters()


def _none(value: Any) -> bool:
    return value is None


class PrefillToken(BaseModel):
    """A token of the prompt."""

    id: int
    text: str
    logprob: float | None = Field(description="null for the first")


class GeneratedToken(BaseModel):
    id: int
    text: str
    logprob: float
    special: bool = Field(description="it is no text, but ends one")


class TextDetails(BaseModel):
    """How a text came about."""

    finish_reason: FinishReason
    generated_tokens: int
    seed: int
    prefill: list[PrefillToken] = Field(description="empty unless decoder_input_details")
    tokens: list[GeneratedToken]
    top_tokens: list[list[GeneratedToken]] | None = Field(None, exclude_if=_none)


class BestOfSequence(TextDetails):
    """Another of the texts drawn, less likely than the one returned."""

    generated_text: str


class Details(TextDetails):
    best_of_sequences: list[BestOfSequence] | None = Field(None, exclude_if=_none)


class Generation(BaseModel):
    generated_text: str
    details: Details | None = Field(None, exclude_if=_none)


class Generations(RootModel[list[Generation]]):
    """One generation, in a list: what POST / answers."""


class StreamDetails(BaseModel):
    finish_reason: FinishReason
    generated_tokens: int
    seed: int
    input_length: int = Field(description="tokens of the prompt")


class StreamEvent(BaseModel):
    """One token; with the last one the whole text."""

    index: int = Field(description="of this token, from 1")
    token: GeneratedToken
    top_tokens: list[GeneratedToken] | None = Field(None, exclude_if=_none)
    generated_text: str | None = None
    details: StreamDetails | None = None


class TgiInfo(BaseModel):
    """What serves, and its limits, under TGI's names."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str | None
    model_dtype: str | None = Field(description="null while no worker is alive")
    model_device_type: str | None = Field(description="null while no worker is alive")
    model_pipeline_tag: Literal["text-generation"]
    max_concurrent_requests: int = Field(description="requests of an API process that may wait")
    max_best_of: int
    max_stop_sequences: int
    max_input_tokens: int
    max_total_tokens: int
    max_client_batch_size: int
    validation_workers: int = Field(description="workers that are alive: they check the tokens")
    router: Literal["distilq"]
    version: str


class ErrorResponse(BaseModel):
    """TGI's error; `error_type` is there where TGI has a word for it."""

    error: str
    error_type: (
        Literal["validation", "overloaded", "generation", "incomplete_generation", "healthcheck"]
        | None
    ) = Field(None, exclude_if=_none)
    errors: list[FieldError] | None = Field(None, exclude_if=_none)
