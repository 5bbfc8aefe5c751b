"""GPT-2's forward pass over a preallocated cache: prompts in chunks, then one token of all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch user expects
from torch import Tensor

from . import cache, linear
from .rows import Candidates, Chunk, Draws, ModelInfo, Row, Segment
from .sampling import Sampler, candidates
from .weights import LayerWeights, Pair, Weights

#: 2z of GELU's tanh form: GELU_LINEAR * (x + GELU_CUBIC * x^3), Hendrycks and Gimpel 2016.
GELU_LINEAR = 2 * math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715

#: Attention of new queries over one layer's cache: (layer, query) gives what each query sees.
Attention = Callable[[int, Tensor], Tensor]


class Layer:
    """One block: the products, the norms, and nothing that depends on the batch."""

    def __init__(self, weights: LayerWeights, precision: str, device: str) -> None:
        def pack(pair: Pair) -> linear.Linear:
            return linear.pack(*pair, precision, device)

        self.norm1 = weights.norm1
        self.norm2 = weights.norm2
        self.attention_in = pack(weights.attention_in)
        self.attention_out = pack(weights.attention_out)
        self.mlp_in = pack(weights.mlp_in)
        self.mlp_out = pack(weights.mlp_out)


@dataclass(eq=False)
class DecodeBatch:
    """What of a decode step stays the same while the same rows run."""

    rows: Sequence[Row]
    runs: list[cache.Run]
    #: Number of the vector at position 0, for each (row, head).
    index: Tensor
    #: Position of each row's last token; kept here so that no step builds it anew.
    positions: Tensor


class GPT2:
    """The model as the engine sees it (`rows.Model`)."""

    def __init__(self, weights: Weights, info: ModelInfo) -> None:
        self.info = info
        self._shape = weights.shape
        self._device = info.device
        on_cpu = info.device == "cpu"
        self._dtype = torch.float32 if on_cpu else getattr(torch, info.precision)

        def place(tensor: Tensor) -> Tensor:
            return tensor.to(info.device, self._dtype)

        def place_pair(pair: Pair) -> Pair:
            return place(pair[0]), place(pair[1])

        self._tokens, self._positions = place(weights.tokens), place(weights.positions)
        self._layers = [Layer(each, info.precision, info.device) for each in weights.layers]
        for layer in self._layers:
            layer.norm1, layer.norm2 = place_pair(layer.norm1), place_pair(layer.norm2)
        self._norm = place_pair(weights.norm)
        self._head = linear.pack(weights.head, None, info.precision, info.device)
        self._sampler = Sampler(weights.shape.vocab_size, info.eos_token_ids, info.device)

    def reserve(self, tokens: int) -> None:
        shape = self._shape
        self._cache = cache.Cache(tokens, shape.layers, shape.heads, shape.head_width, self._tokens)
        self._batch: DecodeBatch | None = None

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        self._cache.copy(source, target, tokens)

    def sample(self, logits: Tensor, rows: Sequence[Row]) -> Draws:
        return self._sampler.sample(logits, rows)

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row]) -> Tensor:
        """Feed every row's last token; logits (rows, vocabulary) in float32.

        The batch is set up again only when `rows` is another list.
        """
        batch = self._batch
        if batch is None or batch.rows is not rows:
            batch = self._batch = self._set_up(rows)
        tokens = torch.tensor([row.last_token for row in rows], device=self._device)
        batch.positions.copy_(torch.tensor([row.position for row in rows]))
        attend = DecodeAttention(self._cache, batch, rows)
        hidden = self._forward(tokens, batch.positions, batch.index, attend)
        return self._logits(hidden)

    def _set_up(self, rows: Sequence[Row]) -> DecodeBatch:
        index = self._cache.index([row.place for row in rows])
        positions = torch.empty(len(rows), dtype=torch.long, device=self._device)
        return DecodeBatch(rows, cache.runs(rows), index, positions)

    @torch.inference_mode()
    def prefill(self, chunks: Sequence[Chunk]) -> list[list[Candidates]]:
        """Compute the chunks' keys and values, all in one pass."""
        return [
            self._candidates(chunk, part) if chunk.wants_logits else []
            for chunk, part in zip(chunks, self._prefilled(chunks), strict=True)
        ]

    @torch.inference_mode()
    def losses(self, chunks: Sequence[Chunk], first: int) -> Tensor:
        """Compute adjacent chunks of one prompt; nats of each token after position `first`.

        One chunk's logits at a time: memory is bounded by its length.
        """
        found = []
        for chunk, part in zip(chunks, self._prefilled(chunks), strict=True):
            start = max(chunk.start, first)
            if start < chunk.stop:
                ids = chunk.prompt.ids[start + 1 : chunk.stop + 1]
                following = torch.tensor(ids, device=self._device)
                logits = self._logits(part[start - chunk.start :])
                found.append(F.cross_entropy(logits, following, reduction="none"))
        return torch.cat(found)

    def _prefilled(self, chunks: Sequence[Chunk]) -> Sequence[Tensor]:
        """Every chunk's last hidden states."""
        ids = [chunk.prompt.ids[chunk.start : chunk.stop] for chunk in chunks]
        tokens = torch.tensor([token for part in ids for token in part], device=self._device)
        positions = torch.cat([torch.arange(c.start, c.stop) for c in chunks]).to(self._device)
        index = self._cache.index([chunk.segment for chunk in chunks])
        lengths = [len(part) for part in ids]
        index = index.repeat_interleave(torch.tensor(lengths, device=self._device), 0)
        hidden = self._forward(tokens, positions, index, PrefillAttention(self._cache, chunks))
        return torch.split(hidden, lengths)

    def _candidates(self, chunk: Chunk, hidden: Tensor) -> list[Candidates]:
        """Those of the tokens that follow the chunk's; memory is bounded by the chunk's length."""
        logs = self._logits(hidden).log_softmax(-1)
        following = chunk.prompt.ids[chunk.start + 1 : chunk.stop + 1]
        most = chunk.prompt.job.request.parameters.prompt_logprobs or 0
        chosen = torch.tensor(following, device=self._device)
        return candidates(logs, chosen, [most] * len(following))

    def _forward(
        self, tokens: Tensor, positions: Tensor, index: Tensor, attend: Attention
    ) -> Tensor:
        """The last hidden states; writes keys and values where `index` and positions say."""
        shape = self._shape
        hidden = self._tokens[tokens] + self._positions[positions]
        places = (index + positions[:, None]).flatten()
        for number, layer in enumerate(self._layers):
            parts = layer.attention_in(self._normed(hidden, layer.norm1))
            query, key, value = parts.view(len(tokens), 3, shape.heads, -1).unbind(1)
            self._cache.keys[number].index_copy_(0, places, key.flatten(0, 1))
            self._cache.values[number].index_copy_(0, places, value.flatten(0, 1))
            hidden = hidden + layer.attention_out(attend(number, query))
            inner = layer.mlp_in(self._normed(hidden, layer.norm2))
            hidden = hidden + layer.mlp_out(gelu(inner, shape.activation))
        return hidden

    def _normed(self, hidden: Tensor, norm: Pair) -> Tensor:
        return F.layer_norm(hidden, (self._shape.width,), *norm, self._shape.epsilon)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._head(self._normed(hidden, self._norm)).float()


class DecodeAttention:
    """One query per row: a product per run of adjacent segments, straight from the cache."""

    def __init__(self, store: cache.Cache, batch: DecodeBatch, rows: Sequence[Row]) -> None:
        self._cache = store
        self._runs = batch.runs
        lengths = [
            _padded(max(r.position for r in rows[run.first : run.last]) + 1, run.segment)
            for run in batch.runs
        ]
        places = torch.arange(max(lengths), device=batch.positions.device)
        hidden = (places > batch.positions[:, None])[:, None]
        self._lengths = lengths
        self._hidden = [
            hidden[run.first : run.last, :, :length]
            for run, length in zip(batch.runs, lengths, strict=True)
        ]

    def __call__(self, layer: int, query: Tensor) -> Tensor:
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        out = torch.empty_like(query)
        for run, length, hidden in zip(self._runs, self._lengths, self._hidden, strict=True):
            rows = run.last - run.first
            key = self._cache.view(keys, run.segment, rows)[:, :length]
            value = self._cache.view(values, run.segment, rows)[:, :length]
            asked = query[run.first : run.last]
            scores = torch.bmm(asked.flatten(0, 1)[:, None], key.transpose(1, 2))
            scores.view(rows, -1, length).masked_fill_(hidden, -torch.inf)
            out[run.first : run.last] = torch.bmm(scores.softmax(-1), value).view(asked.shape)
        return out.flatten(1)


class PrefillAttention:
    """Many queries per prompt: each chunk by itself, of a shape that its own prompt decides."""

    def __init__(self, store: cache.Cache, chunks: Sequence[Chunk]) -> None:
        self._cache = store
        self._chunks = chunks
        self._hidden = [_causal(chunk, store.keys[0].device) for chunk in chunks]

    def __call__(self, layer: int, query: Tensor) -> Tensor:
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        outs = []
        parts = torch.split(query, [chunk.stop - chunk.start for chunk in self._chunks])
        for chunk, part, hidden in zip(self._chunks, parts, self._hidden, strict=True):
            length = hidden.shape[-1]
            key = self._cache.view(keys, chunk.segment)[:, :length]
            value = self._cache.view(values, chunk.segment)[:, :length]
            scores = torch.bmm(part.transpose(0, 1), key.transpose(1, 2))
            scores.masked_fill_(hidden, -torch.inf)
            outs.append(torch.bmm(scores.softmax(-1), value).transpose(0, 1))
        return torch.cat(outs).flatten(1)


def _causal(chunk: Chunk, device: torch.device) -> Tensor:
    places = torch.arange(_padded(chunk.stop, chunk.segment), device=device)
    return places > torch.arange(chunk.start, chunk.stop, device=device)[:, None]


def _padded(tokens: int, segment: Segment) -> int:
    return min(-(-tokens // cache.PADDING) * cache.PADDING, segment.size)


def gelu(inner: Tensor, activation: str) -> Tensor:
    """GELU, by operations that round alike in whole vectors and in what is left at their ends.

    torch's own does not: its last elements, and so some row's, would depend on the number of rows.
    The tanh form is x * sigmoid(2z), since (1 + tanh z) / 2 = sigmoid(2z).
    """
    if activation == "gelu":
        return torch.erf(inner * math.sqrt(0.5)).add_(1).mul_(0.5).mul_(inner)
    power = torch.square(inner).mul_(-GELU_CUBIC * GELU_LINEAR).sub_(GELU_LINEAR).mul_(inner)
    return inner / power.exp_().add_(1)
