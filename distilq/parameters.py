"""How to generate: the parameters of a request, validated here and nowhere else.

Names and meanings are those of `transformers.GenerationConfig` and, where it has none, OpenAI's.
"""

from __future__ import annotations

import random
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self

MAX_NEW_TOKENS = 1_024
DEFAULT_NEW_TOKENS = 50
MAX_SEQUENCES = 64
MAX_STOPS = 16

#: A seed drawn for the client stays below 2^53, so that JavaScript reads it back unchanged.
DRAWN_SEED_BITS = 53


class Wire(BaseModel):
    """What comes from a client: unknown fields and loose types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def replaced(self, **changes: Any) -> Self:
        """The same with other values, which are not validated.

        What `model_copy` does, in a third of its time; a batch does it 20,000 times.
        """
        other = object.__new__(type(self))
        other.__setstate__(
            {
                "__dict__": {**self.__dict__, **changes},
                "__pydantic_fields_set__": self.__pydantic_fields_set__ | changes.keys(),
                "__pydantic_extra__": None,
                "__pydantic_private__": None,
            }
        )
        return other


def conflict(field: str, message: str) -> PydanticCustomError:
    """An error that involves several fields, to be shown at `field`."""
    return PydanticCustomError("conflict", message, {"field": field})


def _integral(value: Any) -> Any:
    """JSON knows no integers: 20.0 is one too, as JSON Schema has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=64)]
#: A token id as the key of a JSON object.
TokenKey = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,8})$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class Parameters(Wire):
    """What every request may say of its generation; every one of these works."""

    max_new_tokens: Integer | None = Field(
        None, ge=0, le=MAX_NEW_TOKENS, description="tokens to add; 50 when max_length is absent too"
    )
    min_new_tokens: Integer | None = Field(
        None, ge=0, le=MAX_NEW_TOKENS, description="no end of text before this many new tokens"
    )
    max_length: Integer | None = Field(
        None, ge=1, le=1_048_576, description="prompt and new tokens; max_new_tokens goes before it"
    )
    min_length: Integer | None = Field(
        None, ge=0, le=1_048_576, description="no end of text before prompt and new tokens reach it"
    )
    do_sample: bool = Field(True, description="false: always the likeliest token")
    temperature: float = Field(1.0, gt=0, le=100)
    top_k: Integer = Field(50, ge=0, le=1_000_000, description="0: all tokens")
    top_p: float = Field(1.0, gt=0, le=1)
    typical_p: float = Field(1.0, gt=0, le=1, description="1: off (Meister et al. 2022)")
    min_p: float = Field(0.0, ge=0, le=1, description="0: off (Nguyen et al. 2024)")
    repetition_penalty: float = Field(
        1.0, gt=0, le=100, description="1: off; over prompt and new tokens (Keskar et al. 2019)"
    )
    no_repeat_ngram_size: Integer = Field(0, ge=0, le=1024, description="0: off")
    num_return_sequences: Integer = Field(1, ge=1, le=MAX_SEQUENCES, description="texts per input")
    best_of: Integer | None = Field(
        None,
        ge=1,
        le=MAX_SEQUENCES,
        description="texts drawn per input; the likeliest per token are returned",
    )
    stop: tuple[StopString, ...] = Field(
        (), max_length=MAX_STOPS, description="generation ends before the first of these strings"
    )
    seed: Integer | None = Field(None, ge=0, lt=2**64, description="drawn and reported when absent")
    return_full_text: bool = Field(True, description="put the prompt in front of the new text")
    truncation: bool = Field(
        False, description="keep the end of a prompt that is too long instead of refusing it"
    )
    truncate_prompt_tokens: Integer | None = Field(
        None, ge=1, le=1_048_576, description="keep so many tokens of a prompt: the last ones"
    )
    logprobs: Integer | None = Field(
        None, ge=0, le=20, description="log-probability of each new token and of the N likeliest"
    )
    prompt_logprobs: Integer | None = Field(
        None, ge=0, le=20, description="the same for the prompt"
    )
    logit_bias: dict[TokenKey, Bias] = Field(
        default_factory=dict,
        max_length=1024,
        description="token id to a bias in -100..100",
        json_schema_extra={"additionalProperties": False},  # pydantic says it of no pattern
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="OpenAI's; over new tokens")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="OpenAI's; over new tokens")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.do_sample and self.sequences_drawn > 1:
            raise conflict("do_sample", "must be true for more than one sequence per input")
        if self.best_of is not None and self.best_of < self.num_return_sequences:
            raise conflict("best_of", "must be at least num_return_sequences")
        if _exceeds(self.min_new_tokens, self._most_new_tokens):
            raise conflict(
                "min_new_tokens", f"must be at most max_new_tokens ({self._most_new_tokens})"
            )
        if _exceeds(self.min_length, self.max_length):
            raise conflict("min_length", "must be at most max_length")
        return self

    @property
    def sequences_drawn(self) -> int:
        """Rows per input: `best_of` where given, else `num_return_sequences`."""
        return max(self.best_of or 1, self.num_return_sequences)

    @property
    def _most_new_tokens(self) -> int | None:
        """`max_new_tokens` as it will be resolved; None where max_length says it."""
        if self.max_new_tokens is None and self.max_length is None:
            return DEFAULT_NEW_TOKENS
        return self.max_new_tokens

    @property
    def new_tokens_at_most(self) -> int:
        """Upper bound of the new tokens of one row, before the prompt's length is known."""
        if self._most_new_tokens is not None:
            return self._most_new_tokens
        return min(self.max_length or MAX_NEW_TOKENS, MAX_NEW_TOKENS)

    def resolved(self) -> Parameters:
        """The same with every default that the engine would choose written down, the seed included.

        The seed is drawn here, once, so that every attempt of a job gives the same text.
        """
        changes: dict[str, Any] = {"max_new_tokens": self._most_new_tokens}
        if self.seed is None:
            # No secret: the job shows it.
            changes["seed"] = random.getrandbits(DRAWN_SEED_BITS)  # nosec B311
        return self.replaced(**changes)


def _exceeds(low: int | None, high: int | None) -> bool:
    return low is not None and high is not None and low > high
