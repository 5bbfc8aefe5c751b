"""GPT-2's forward pass over a preallocated cache: prompts in chunks, then one token of all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch user expects
from torch import Tensor

from . import cache, linear
from .activation import gelu
from .attention import Attention, DecodeAttention, PrefillAttention
from .fixed import FixedAttention
from .graphs import Graphs, Recorder, Work
from .rows import Candidates, Chunk, Draws, ModelInfo, Row, Segment
from .sampling import Sampler, candidates
from .transfer import send
from .weights import LayerWeights, Pair, Weights


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
    """What of a step stays the same while the same rows run."""

    rows: Sequence[Row]
    runs: list[cache.Run]
    #: Number of the vector at position 0, for each (row, head).
    index: Tensor


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
        self._graphs: Graphs | None = None  # theirs is the memory of the cache that was
        self._cache = cache.Cache(tokens, shape.layers, shape.heads, shape.head_width, self._tokens)
        self._batch: DecodeBatch | None = None
        if self._device != "cpu":
            self._graphs = self.graphs(Recorder())

    def graphs(self, record: Callable[[Work], Work]) -> Graphs:
        """Steps of fixed shapes over the cache; on a CPU nothing can record them but a test."""
        return Graphs(
            self._fixed_step,
            record,
            spare=self._cache.spare,
            n_positions=self._shape.n_positions,
            vocab_size=self._shape.vocab_size,
            device=self._device,
        )

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        self._cache.copy(source, target, tokens)

    def sample(self, logits: Tensor, rows: Sequence[Row]) -> Draws:
        return self._sampler.sample(logits, rows)

    @torch.inference_mode()
    def forward(
        self, rows: Sequence[Row], chunks: Sequence[Chunk]
    ) -> tuple[Tensor, list[list[Candidates]]]:
        """Feed every row's last token and the chunks' tokens: in one pass, or on CUDA in two.

        Returns the rows' logits (rows, vocabulary) in float32, which are overwritten by the next
        step, and each chunk's candidates. The batch is set up again only when `rows` is another
        list.
        """
        logits = self._graphs.logits(rows) if self._graphs and rows else None
        if logits is None:
            decoded, *prefilled = self._pass(rows, chunks)
            logits = self._logits(decoded)
        else:
            prefilled = list(self._pass([], chunks)[1:]) if chunks else []
        return logits, [
            self._candidates(chunk, hidden) if chunk.wants_logits else []
            for chunk, hidden in zip(chunks, prefilled, strict=True)
        ]

    @torch.inference_mode()
    def losses(self, chunks: Sequence[Chunk], first: int) -> Tensor:
        """Compute adjacent chunks of one prompt; nats of each token after position `first`.

        One chunk's logits at a time: memory is bounded by its length.
        """
        found = []
        for chunk, hidden in zip(chunks, self._pass([], chunks)[1:], strict=True):
            start = max(chunk.start, first)
            if start < chunk.stop:
                ids = chunk.prompt.ids[start + 1 : chunk.stop + 1]
                following = torch.tensor(ids, device=self._device)
                logits = self._logits(hidden[start - chunk.start :])
                found.append(F.cross_entropy(logits, following, reduction="none"))
        return torch.cat(found)

    def _pass(self, rows: Sequence[Row], chunks: Sequence[Chunk]) -> Sequence[Tensor]:
        """The last hidden states of the rows, and of each chunk."""
        ids = [row.last_token for row in rows]
        places = [row.position for row in rows]
        for chunk in chunks:
            ids += chunk.prompt.ids[chunk.start : chunk.stop]
            places += range(chunk.start, chunk.stop)
        positions = send(torch.tensor(places), self._device)
        batch = self._decode_batch(rows)
        sizes = [len(rows), *(chunk.stop - chunk.start for chunk in chunks)]
        index = [batch.index]
        index += [self._cache.index([c.segment]).expand(c.stop - c.start, -1) for c in chunks]
        parts: list[Attention] = [
            DecodeAttention(self._cache, batch.runs, positions[: len(rows)], rows),
            *(PrefillAttention(self._cache, chunk) for chunk in chunks),
        ]
        where = (torch.cat(index) + positions[:, None]).flatten()
        tokens = send(torch.tensor(ids), self._device)
        hidden = self._hidden(tokens, positions, where, sizes, parts)
        return torch.split(hidden, sizes)

    def _fixed_step(self, inputs: Tensor, length: int) -> Tensor:
        """Logits of rows packed as fixed.py says, each of `length` tokens at most."""
        ids, positions, offsets, sizes = inputs.unbind(1)
        starts = self._cache.starts(offsets, sizes)
        attention = FixedAttention(self._cache, starts, sizes, positions, length)
        where = (starts + positions[:, None]).flatten()
        hidden = self._hidden(ids, positions, where, [len(inputs)], [attention])
        return self._head(self._normed(hidden, self._norm))

    def _decode_batch(self, rows: Sequence[Row]) -> DecodeBatch:
        if self._batch is None or self._batch.rows is not rows:
            index = self._cache.index([row.place for row in rows])
            self._batch = DecodeBatch(rows, cache.runs(rows), index)
        return self._batch

    def _candidates(self, chunk: Chunk, hidden: Tensor) -> list[Candidates]:
        """Those of the tokens that follow the chunk's; memory is bounded by the chunk's length."""
        logs = self._logits(hidden).log_softmax(-1)
        following = chunk.prompt.ids[chunk.start + 1 : chunk.stop + 1]
        most = chunk.prompt.job.request.parameters.prompt_logprobs or 0
        chosen = torch.tensor(following, device=self._device)
        return candidates(logs, chosen, [most] * len(following))

    def _hidden(
        self,
        ids: Tensor,
        positions: Tensor,
        where: Tensor,
        sizes: list[int],
        parts: Sequence[Attention],
    ) -> Tensor:
        """The last hidden states; writes keys and values to the cache's vectors `where`.

        Each part attends for as many of the tokens as its size says.
        """
        shape = self._shape
        hidden = self._tokens[ids].add_(self._positions[positions])
        for number, layer in enumerate(self._layers):
            joined = layer.attention_in(self._normed(hidden, layer.norm1))
            query, key, value = joined.view(len(ids), 3, shape.heads, -1).unbind(1)
            self._cache.keys[number].index_copy_(0, where, key.flatten(0, 1))
            self._cache.values[number].index_copy_(0, where, value.flatten(0, 1))
            seen = query.new_empty(query.shape)
            for attention, asked, out in zip(
                parts, torch.split(query, sizes), torch.split(seen, sizes), strict=True
            ):
                attention(number, asked, out)
            hidden.add_(layer.attention_out(seen.flatten(1)))
            inner = layer.mlp_in(self._normed(hidden, layer.norm2))
            hidden.add_(layer.mlp_out(gelu(inner, shape.activation)))
        return hidden

    def _normed(self, hidden: Tensor, norm: Pair) -> Tensor:
        return F.layer_norm(hidden, (self._shape.width,), *norm, self._shape.epsilon)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._head(self._normed(hidden, self._norm)).float()
