"""From a request to rows: tokens, lengths, and what can never fit."""

from __future__ import annotations

from collections.abc import Iterable

from distilq.errors import EmptyPrompt, InvalidToken, JobTooLarge, PromptTooLong
from distilq.parameters import DEFAULT_NEW_TOKENS, Parameters

from .rows import ActiveJob, ModelInfo, Prompt, Row, Tokenizer

#: Entries that the log-probabilities of one job may have: 6 MB of its result, 100 MB while it runs.
MOST_LOGPROBS = 100_000


def plan_next(job: ActiveJob, tokenizer: Tokenizer, info: ModelInfo, capacity: int) -> None:
    """Fill in the job's next prompt and its rows; with the last one the job is `planned`.

    Raises:
        InvalidToken, EmptyPrompt, PromptTooLong, JobTooLarge: the job can never run.
    """
    parameters = job.request.parameters
    index = len(job.prompts)
    if index == 0:
        _check_tokens("logit_bias", map(int, parameters.logit_bias), info)
    prompt = _prompt(job, index, job.request.prompts[index], tokenizer, info)
    if prompt.tokens > capacity:
        raise JobTooLarge(
            f"input {index} needs {prompt.tokens} tokens of cache with its new tokens, "
            f"this worker has {capacity}",
            tokens=prompt.tokens,
            limit=capacity,
            input=index,
        )
    for sequence in range(parameters.sequences_drawn):
        prompt.waiting.append(Row(prompt, sequence, parameters, parameters.seed or 0))
    job.prompts.append(prompt)
    job.rows.extend(prompt.waiting)
    _check_logprobs(job)
    job.planned = len(job.prompts) == len(job.request.prompts)


def _check_logprobs(job: ActiveJob) -> None:
    asked = job.request.parameters
    entries = 0
    for prompt in job.prompts:
        if asked.prompt_logprobs is not None:
            entries += asked.num_return_sequences * len(prompt.ids) * (1 + asked.prompt_logprobs)
        if asked.logprobs is not None:
            entries += asked.sequences_drawn * prompt.new_tokens * (1 + asked.logprobs)
    if entries > MOST_LOGPROBS:
        raise JobTooLarge(
            f"the log-probabilities asked for are {entries} or more; at most {MOST_LOGPROBS} are"
            " given per job: ask for fewer, or split the inputs",
            logprobs=entries,
            limit=MOST_LOGPROBS,
        )


def _prompt(
    job: ActiveJob, index: int, given: str | tuple[int, ...], tokenizer: Tokenizer, info: ModelInfo
) -> Prompt:
    if isinstance(given, str):
        ids = tokenizer.encode(given)
    else:
        _check_tokens(f"input {index}", given, info)
        ids = list(given)
    if not ids:
        ids = [_start(index, info)]
    parameters = job.request.parameters
    if parameters.truncate_prompt_tokens is not None:
        ids = ids[-parameters.truncate_prompt_tokens :]
    longest = _longest_prompt(parameters, info.n_positions)
    if len(ids) > longest:
        if not parameters.truncation or longest < 1:
            raise _too_long(index, len(ids), max(longest, 0), parameters, info)
        ids = ids[-longest:]
    prompt = Prompt(job, index, given, ids, _new_tokens(parameters, len(ids), info))
    if job.request.parameters.prompt_logprobs is not None:
        prompt.logprobs = []
    return prompt


def _start(index: int, info: ModelInfo) -> int:
    if info.bos_token_id is None:
        raise EmptyPrompt(f"input {index} is empty", input=index)
    return info.bos_token_id


def _too_long(
    index: int, tokens: int, longest: int, parameters: Parameters, info: ModelInfo
) -> PromptTooLong:
    room = f"{info.n_positions} positions with the new tokens"
    if _by_length(parameters) and (parameters.max_length or 0) <= info.n_positions:
        room = f"max_length {parameters.max_length} with a new token"
    return PromptTooLong(
        f"input {index} has {tokens} tokens; at most {longest} fit into {room}",
        prompt_tokens=tokens,
        limit=longest,
        input=index,
    )


def _by_length(parameters: Parameters) -> bool:
    """Whether max_length says how long a text becomes."""
    return parameters.max_new_tokens is None and parameters.max_length is not None


def _longest_prompt(parameters: Parameters, n_positions: int) -> int:
    if _by_length(parameters):
        return min(parameters.max_length or 0, n_positions) - 1
    return n_positions - _asked(parameters)


def _new_tokens(parameters: Parameters, prompt_tokens: int, info: ModelInfo) -> int:
    if _by_length(parameters):
        return min(parameters.max_length or 0, info.n_positions) - prompt_tokens
    return _asked(parameters)


def _asked(parameters: Parameters) -> int:
    asked = parameters.max_new_tokens
    return DEFAULT_NEW_TOKENS if asked is None else asked


def _check_tokens(where: str, ids: Iterable[int], info: ModelInfo) -> None:
    for token in ids:
        if token >= info.vocab_size:
            raise InvalidToken(
                f"{where} has token {token}, the vocabulary ends at {info.vocab_size - 1}",
                token=token,
                vocab_size=info.vocab_size,
            )
