"""A completion of OpenAI's as the body of a POST /v1/jobs, as `POST /v1/completions` means it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distilq.errors import InvalidParameters, ModelNotFound

#: DistilGPT2 has two names (see api/openai/models.py).
ALIASES = {"distilgpt2": "distilbert/distilgpt2", "distilbert/distilgpt2": "distilgpt2"}
#: Fields that a job has under a name of its own, and those that it has under the same.
RENAMED = {"max_tokens": "max_new_tokens", "n": "num_return_sequences", "echo": "return_full_text"}
SAME = frozenset(
    {"best_of", "seed", "logprobs", "logit_bias", "presence_penalty", "frequency_penalty"}
    | {"temperature", "top_p", "stop"}
)
#: Fields that make no difference here.
IDLE = frozenset({"model", "prompt", "user", "stream", "stream_options"})
DEFAULTS = {"max_new_tokens": 16, "top_k": 0, "return_full_text": False}


def job_of_completion(body: Mapping[str, Any], models: frozenset[str]) -> Mapping[str, Any]:
    """The job; the service checks its values.

    Raises:
        InvalidParameters: the body has a field that a completion has not, or not here.
        ModelNotFound: it asks for a model that is none of `models`.
    """
    given = {name: value for name, value in body.items() if value is not None}
    if unknown := sorted(given.keys() - RENAMED.keys() - SAME - IDLE):
        errors = [{"pointer": f"#/body/{name}", "detail": "is not offered"} for name in unknown]
        raise InvalidParameters(errors=[{"code": "invalid", **error} for error in errors])
    model = given.get("model")
    if not isinstance(model, str) or not {model, ALIASES.get(model)} & models:
        raise ModelNotFound(f"{model!r} is not served; `distilq top` shows what is")
    parameters = {name: given[name] for name in SAME & given.keys()}
    parameters |= {RENAMED[name]: given[name] for name in RENAMED.keys() & given.keys()}
    return {"inputs": given.get("prompt", ""), "parameters": DEFAULTS | _adapted(parameters)}


def _adapted(parameters: dict[str, Any]) -> dict[str, Any]:
    """What has the same name and another meaning."""
    if isinstance(parameters.get("stop"), str):
        parameters["stop"] = [parameters["stop"]]
    if isinstance(parameters.get("seed"), int):
        parameters["seed"] %= 2**64
    if parameters.get("return_full_text") and "logprobs" in parameters:
        parameters["prompt_logprobs"] = parameters["logprobs"]
    if 0 in (parameters.get("temperature"), parameters.get("top_p")):  # greedy: one text for all
        for name in ("temperature", "top_p", "num_return_sequences", "best_of"):
            parameters.pop(name, None)
        parameters["do_sample"] = False
    return parameters
