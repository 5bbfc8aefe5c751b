"""What can be asked for, and the bodies that ask for it; the service validates them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from typing_extensions import TypedDict

#: What to continue: a text, texts, token ids, lists of token ids, or {"input_string": texts}.
Inputs: TypeAlias = (
    str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Sequence[str]]
)
PriorityName: TypeAlias = Literal["interactive", "normal", "bulk"]


class Generation(TypedDict, total=False):
    """How to generate: the fields of `distilq.parameters.Parameters`, which says what they mean."""

    max_new_tokens: int | None
    min_new_tokens: int | None
    max_length: int | None
    min_length: int | None
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    typical_p: float
    min_p: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    num_return_sequences: int
    best_of: int | None
    stop: Sequence[str]
    seed: int | None
    return_full_text: bool
    truncation: bool
    truncate_prompt_tokens: int | None
    logprobs: int | None
    prompt_logprobs: int | None
    logit_bias: Mapping[str, float]
    presence_penalty: float
    frequency_penalty: float


def job_request(inputs: Inputs, parameters: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """The body of POST /v1/jobs. Options that are None are left to the service."""
    given = {name: value for name, value in options.items() if value is not None}
    return {"inputs": inputs, "parameters": dict(parameters), **given}


def check_several(prompts: object) -> None:
    """Raises TypeError: it is one prompt, which would be taken for those of its characters."""
    if isinstance(prompts, (str, bytes, Mapping)):
        raise TypeError(
            f"takes any number of prompts, [prompt] say, not a {type(prompts).__name__}"
        )


def requests_of(
    items: Iterable[Inputs | Mapping[str, Any]], parameters: Mapping[str, Any], **options: Any
) -> list[dict[str, Any]]:
    """The jobs of a batch: of prompts, and of whole requests, whose own fields go before."""
    check_several(items)
    return [request_of(item, parameters, **options) for item in items]


def request_of(
    item: Inputs | Mapping[str, Any], parameters: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """The same of one item."""
    common = job_request("", parameters, **options)
    if not isinstance(item, Mapping) or "inputs" not in item:
        return {**common, "inputs": item}
    request: Mapping[str, Any] = item
    parameters = {**common["parameters"], **request.get("parameters", {})}
    return {**common, **request, "parameters": parameters}


def encoded(body: Any) -> bytes:
    # A lone surrogate goes out as it is: the service says what is wrong with it.
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
