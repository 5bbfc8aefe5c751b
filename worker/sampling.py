"""One token per row, each by its own parameters.

Rows with the same set of filters are handled together; a filter that a row does not use never
touches it, so a row's token does not depend on what its neighbours ask for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import processors, topk
from .random_numbers import Words, uniforms
from .rows import Candidates, Draws, Row
from .transfer import send

#: Candidates taken for a `top_k` of at most the first number. Fixed widths, so that a row's sums
#: are over the same number of terms whatever top_k its neighbours use; the surplus catches ties.
WIDTHS = ((56, 64), (240, 256), (1000, 1024))


@dataclass(frozen=True)
class Filters:
    """Which filters a row uses; rows that agree form a group."""

    #: Candidates to take, sorted; 0: the whole vocabulary.
    width: int
    top_k: bool
    top_p: bool
    min_p: bool
    typical_p: bool

    @classmethod
    def of(cls, row: Row, vocab_size: int) -> Filters | None:
        """None for greedy rows."""
        asked = row.parameters
        if not asked.do_sample:
            return None
        limited = 0 < asked.top_k < vocab_size
        width = next((width for most, width in WIDTHS if limited and asked.top_k <= most), 0)
        return cls(
            width=min(width, vocab_size),
            top_k=limited,
            top_p=asked.top_p < 1,
            min_p=asked.min_p > 0,
            typical_p=asked.typical_p < 1,
        )


class Group:
    """Rows of one batch that use the same filters."""

    def __init__(self, filters: Filters, numbers: list[int], rows: Sequence[Row], device: str):
        self.filters = filters
        #: The whole batch, as most often, is taken as it is: a copy of all logits takes as long as
        #: a tenth of the step.
        self.whole = len(numbers) == len(rows)
        self.numbers = send(torch.tensor(numbers), device)
        asked = [rows[number].parameters for number in numbers]
        values = [(p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p) for p in asked]
        columns = torch.split(send(torch.tensor(values, dtype=torch.float32), device), 1, dim=1)
        self.temperature, self.top_k, self.top_p, self.min_p, self.typical_p = columns
        self.top_k = self.top_k.long()

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """The drawn tokens of this group's rows."""
        scores, ids = self._candidates(self._own(logits))
        scores = self._filtered(
            processors.temperature(scores - scores.amax(-1, True), self.temperature)
        )
        chosen = processors.pick(scores, self._own(uniform))
        return (chosen if ids is None else ids.gather(-1, chosen)).squeeze(-1)

    def _own(self, batch: Tensor) -> Tensor:
        return batch if self.whole else batch.index_select(0, self.numbers)

    def _candidates(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.filters.width:
            return topk.best(scores, self.filters.width)
        if self.filters.top_k or self.filters.top_p:
            return scores.sort(-1, descending=True)
        return scores, None

    def _filtered(self, scores: Tensor) -> Tensor:
        """`transformers`' filters in its order."""
        if self.filters.top_k:
            scores = processors.keep_top_k(scores, self.top_k)
        if self.filters.top_p:
            scores = processors.keep_top_p(scores, self.top_p)
        if self.filters.min_p:
            scores = processors.keep_min_p(scores, self.min_p)
        if self.filters.typical_p:
            scores = processors.keep_typical(scores, self.typical_p)
        return scores


class Batch:
    """What of a batch stays the same from step to step."""

    def __init__(self, rows: Sequence[Row], vocab_size: int, device: str) -> None:
        self.rows = rows
        members: dict[Filters | None, list[int]] = {}
        for number, row in enumerate(rows):
            members.setdefault(Filters.of(row, vocab_size), []).append(number)
        self.greedy = send(torch.tensor(members.pop(None, []), dtype=torch.long), device)
        self.groups = [
            Group(filters, numbers, rows, device) for filters, numbers in members.items() if filters
        ]
        self.with_logprobs = [n for n, row in enumerate(rows) if row.wants_logprob]
        self.logprob_rows = send(torch.tensor(self.with_logprobs, dtype=torch.long), device)
        self.with_edits = [n for n, row in enumerate(rows) if _has_edits(row)]
        self.seeds = _words(row.seed for row in rows)
        self.inputs = _words(row.prompt.index for row in rows)
        self.sequences = _words(row.sequence for row in rows)

    def uniforms(self) -> Tensor:
        steps = _words(len(row.tokens) for row in self.rows)
        drawn = uniforms(self.seeds, self.inputs, self.sequences, steps)
        return torch.from_numpy(drawn)[:, None]


class Sampler:
    def __init__(
        self, vocab_size: int, eos_token_ids: Collection[int], device: str = "cpu"
    ) -> None:
        self._vocab_size = vocab_size
        self._ends = sorted(eos_token_ids)
        self._device = device
        self._batch = Batch([], vocab_size, device)

    @torch.inference_mode()
    def sample(self, logits: Tensor, rows: Sequence[Row]) -> Draws:
        """Draw one token per row. `logits` (float32) may be overwritten.

        The batch is set up again only when `rows` is another list.
        """
        if rows is not self._batch.rows:
            self._batch = Batch(rows, self._vocab_size, self._device)
        batch = self._batch
        raw = logits[batch.logprob_rows].log_softmax(-1) if batch.with_logprobs else None
        failed: dict[int, Exception] = {}
        for number in batch.with_edits:
            try:
                edit(logits[number], rows[number], self._ends)
            except Exception as error:  # whatever it is, it is this row's and not its neighbours'
                failed[number] = error
        tokens = self._draw(logits, batch)
        draws = Draws(tokens.tolist(), failed=failed)
        if raw is not None:
            chosen = tokens[batch.logprob_rows]
            most = [rows[number].parameters.logprobs or 0 for number in batch.with_logprobs]
            draws.candidates = dict(
                zip(batch.with_logprobs, candidates(raw, chosen, most), strict=True)
            )
        return draws

    def _draw(self, logits: Tensor, batch: Batch) -> Tensor:
        tokens = torch.empty(len(batch.rows), dtype=torch.long, device=logits.device)
        if len(batch.greedy):
            tokens[batch.greedy] = logits.index_select(0, batch.greedy).argmax(-1)
        if batch.groups:
            uniform = send(batch.uniforms(), logits.device)
            for group in batch.groups:
                tokens[group.numbers] = group.draw(logits, uniform)
        return tokens


def candidates(logs: Tensor, chosen: Tensor, most: Sequence[int]) -> list[Candidates]:
    """Log-probability of the chosen tokens, and at each place of as many likeliest as it asks."""
    own = logs.gather(-1, chosen[:, None]).squeeze(-1).tolist()
    values, ids = (found.tolist() for found in logs.topk(min(max(most), logs.shape[-1])))
    return [
        Candidates(logprob, list(zip(ids[n][: most[n]], values[n][: most[n]], strict=True)))
        for n, logprob in enumerate(own)
    ]


def edit(scores: Tensor, row: Row, ends: Sequence[int]) -> None:
    """Apply to one row, in place, what changes single tokens' scores, in `transformers`' order."""
    asked = row.parameters
    if asked.logit_bias:
        _add(scores, {int(token): bias for token, bias in asked.logit_bias.items()})
    if asked.repetition_penalty != 1:
        seen = torch.tensor(list({*row.prompt.ids, *row.tokens}), device=scores.device)
        penalty = torch.tensor(asked.repetition_penalty, device=scores.device)
        processors.repetition_penalty(scores[None], torch.zeros_like(seen), seen, penalty)
        scores.nan_to_num_(posinf=torch.finfo(scores.dtype).max, neginf=-torch.inf)
    if asked.no_repeat_ngram_size:
        ids = row.prompt.ids + row.tokens
        scores[processors.banned_by_ngram(ids, asked.no_repeat_ngram_size)] = -torch.inf
    if ends and not row.may_end:
        scores[ends] = -torch.inf
    if row.tokens and (asked.presence_penalty or asked.frequency_penalty):
        counts = Counter(row.tokens).items()
        _add(scores, {t: -asked.presence_penalty - n * asked.frequency_penalty for t, n in counts})


def _add(scores: Tensor, changes: dict[int, float]) -> None:
    tokens = torch.tensor(list(changes), device=scores.device)
    scores[tokens] += torch.tensor(list(changes.values()), device=scores.device)


def _has_edits(row: Row) -> bool:
    asked = row.parameters
    return bool(
        asked.logit_bias
        or asked.repetition_penalty != 1
        or asked.no_repeat_ngram_size
        or asked.min_new_tokens
        or asked.min_length
        or asked.presence_penalty
        or asked.frequency_penalty
    )


def _words(values: Iterator[int]) -> Words:
    return np.fromiter(values, dtype=np.uint64)
