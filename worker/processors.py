"""From logits to a token: tensor functions without state, equal to those of `transformers`.

Each takes scores of shape (rows, candidates) and, where a parameter differs by row, a column of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: A temperature below this is greedy to float32 anyway, and would divide by zero.
COLDEST = 1e-7
#: The greatest uniform number in use, so that rounding never points behind the last candidate.
BELOW_ONE = 1 - 1e-12


def repetition_penalty(scores: Tensor, rows: Tensor, tokens: Tensor, penalty: Tensor) -> None:
    """Divide positive scores of tokens seen before, multiply negative ones (Keskar et al. 2019)."""
    seen = scores[rows, tokens]
    scores[rows, tokens] = torch.where(seen < 0, seen * penalty, seen / penalty)


def banned_by_ngram(ids: Sequence[int], size: int) -> list[int]:
    """Tokens that would complete an n-gram which is already in `ids`."""
    if len(ids) + 1 < size:
        return []
    prefix = list(ids[len(ids) - size + 1 :])
    last = len(ids) - size + 1
    return [ids[i + size - 1] for i in range(last) if list(ids[i : i + size - 1]) == prefix]


def temperature(scores: Tensor, value: Tensor) -> Tensor:
    return scores / value.clamp(min=COLDEST)


def keep_top_k(scores: Tensor, k: Tensor) -> Tensor:
    """Keep the k best; `scores` is sorted, best first. Ties with the k-th stay, as upstream."""
    worst = scores.gather(-1, k.clamp(max=scores.shape[-1]) - 1)
    return scores.masked_fill(scores < worst, -torch.inf)


def keep_top_p(scores: Tensor, p: Tensor) -> Tensor:
    """Keep the fewest best tokens whose probability reaches p; `scores` is sorted, best first."""
    rest = scores.softmax(-1).flip(-1).cumsum(-1).flip(-1)
    gone = rest <= 1 - p
    gone[..., 0] = False
    return scores.masked_fill(gone, -torch.inf)


def keep_min_p(scores: Tensor, p: Tensor) -> Tensor:
    """Keep tokens at least p times as likely as the best (Nguyen et al. 2024)."""
    probabilities = scores.softmax(-1)
    best = probabilities.amax(-1, keepdim=True)
    gone = (probabilities < p * best) & (probabilities < best)
    return scores.masked_fill(gone, -torch.inf)


def keep_typical(scores: Tensor, mass: Tensor) -> Tensor:
    """Keep the tokens nearest to the expected information (Meister et al. 2022)."""
    logs = scores.log_softmax(-1)
    probabilities = logs.exp()
    entropy = -(logs * probabilities).nansum(-1, keepdim=True)
    surprise = (-logs - entropy).abs()
    by_surprise, order = surprise.sort(-1)
    reached = probabilities.gather(-1, order).cumsum(-1)
    last = (reached < mass).sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
    return scores.masked_fill(surprise > by_surprise.gather(-1, last), -torch.inf)


def pick(scores: Tensor, uniform: Tensor) -> Tensor:
    """The candidate at which the cumulative probability passes `uniform`, one per row."""
    reached = scores.softmax(-1).cumsum(-1, dtype=torch.float64)
    target = uniform.clamp(max=BELOW_ONE) * reached[..., -1:]
    return torch.searchsorted(reached, target, right=True).clamp(max=scores.shape[-1] - 1)
