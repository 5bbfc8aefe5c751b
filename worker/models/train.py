"""Trains the bundled model: a small GPT-2 with its own tokenizer, from plain text, on a laptop.

    python -m worker.models.train books.txt.xz out --minutes 60

The methods, none of them ours: byte-level BPE (Radford et al. 2019, "Language Models are
Unsupervised Multitask Learners"); Muon, which orthogonalises each matrix's momentum by a
Newton-Schulz iteration (Keller Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
networks"); AdamW (Loshchilov and Hutter 2019); constant, then linearly falling learning rate
(Hägele et al. 2024); positions starting at a random offset, so that short rows train all of them
(after Kiyono et al. 2021, "SHAPE: Shifted Absolute Position Embedding").
"""

from __future__ import annotations

import argparse
import copy
import logging
import lzma
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|endoftext|>"  # parts the documents; begins and ends a text
POSITIONS = 1024
HEAD_WIDTH = 64
TO_ASCII = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}  # quotes
TO_ASCII |= {0x2013: "-", 0x2014: "--", 0x2026: "...", 0xFEFF: ""}  # dashes, ellipsis, BOM
MUON = {"rate": 0.02, "decay": 0.01, "momentum": 0.95}
ADAMW: dict[str, Any] = {"lr": 0.006, "betas": (0.9, 0.95), "weight_decay": 0.0, "fused": True}
SHIFTED_ROWS = 0.6  # this share of the short rows starts at a random position
Tokens: TypeAlias = npt.NDArray[np.uint16]
log = logging.getLogger("distilq.train")


def read_documents(corpus: Path, held_out: int) -> tuple[list[str], list[str]]:
    """Read a text file, compressed by xz or not; the same documents are held out in every run."""
    raw = corpus.read_bytes()
    text = (lzma.decompress(raw) if corpus.suffix == ".xz" else raw).decode()
    documents = text.replace("\r\n", "\n").translate(TO_ASCII).split(END)
    chosen = set(np.random.default_rng(0).choice(len(documents), held_out, replace=False).tolist())
    training = [text for number, text in enumerate(documents) if number not in chosen]
    return training, [documents[number] for number in sorted(chosen)]


def train_tokenizer(documents: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE: it knows all 256 bytes, so no text is out of vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # it has no types
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, model_max_length=POSITIONS
    )


def tokenize(documents: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> Tokens:
    """Put the documents' ids in one line, each ended by END."""
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(list(documents))
    end = tokenizer.eos_token_id
    return np.concatenate([np.array([*e.ids, end], dtype=np.uint16) for e in encoded])


def new_model(width: int, tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """Make DistilGPT2's architecture, narrower; without dropout, as few passes cannot overfit."""
    heads = width // HEAD_WIDTH
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=width, n_layer=6, n_head=heads
    )
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    return GPT2LMHeadModel(config)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring the singular values of a stack of wide matrices near 1: five steps of a quintic."""
    x: Tensor = matrices.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.float()


class Muon:
    """Nesterov momentum, updates made orthogonal; query, key and value are three matrices."""

    def __init__(self, weights: Sequence[Tensor], width: int) -> None:
        self.weights = weights
        self.momenta = [torch.zeros_like(w) for w in weights]
        self.blocks = [3 if w.shape == (width, 3 * width) else 1 for w in weights]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for weight, momentum, blocks in zip(self.weights, self.momenta, self.blocks, strict=True):
            assert weight.grad is not None  # noqa: S101 - narrows the type; backward has run
            momentum.lerp_(weight.grad, 1 - MUON["momentum"])
            update = weight.grad.lerp(momentum, MUON["momentum"])
            for part, of_weight in zip(
                update.chunk(blocks, 1), weight.chunk(blocks, 1), strict=True
            ):
                by_shape.setdefault(part.shape, []).append((part, of_weight))
        for (fan_in, fan_out), pairs in by_shape.items():
            stack = torch.stack([update for update, _ in pairs])
            wide = fan_in <= fan_out
            stack = orthogonalise(stack) if wide else orthogonalise(stack.mT).mT
            for update, (_, weight) in zip(stack, pairs, strict=True):
                weight *= 1 - rate * MUON["decay"]
                weight -= rate * max(1, fan_out / fan_in) ** 0.5 * update


def optimiser(model: GPT2LMHeadModel) -> Callable[[float], None]:
    """Give the step, at a share of the full rate: Muon on the matrices, AdamW on all the rest."""
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    muon = Muon(matrices, model.config.n_embd)
    is_matrix = {id(p) for p in matrices}
    adamw = torch.optim.AdamW([p for p in model.parameters() if id(p) not in is_matrix], **ADAMW)

    def step(share: float) -> None:
        adamw.param_groups[0]["lr"] = ADAMW["lr"] * share
        adamw.step()
        muon.step(MUON["rate"] * share)
        model.zero_grad()

    return step


def rate_at(progress: float) -> float:
    """Give the share of the full learning rate: up in 2 % of the run, level to 40 %, down to 0."""
    return max(0.0, min(1.0, progress / 0.02 + 0.01, (1 - progress) / 0.6))


def batches(
    tokens: Tokens, length: int, rows: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give `length` + 1 ids a row, and their positions, for ever; no two rows of a pass overlap."""
    if len(tokens) < 2 * length:
        raise ValueError(f"{len(tokens)} tokens are too few to be cut in rows of {length}")
    while True:
        starts = rng.permutation(np.arange(rng.integers(length), len(tokens) - length, length))
        for first in range(0, len(starts), rows):
            cut = starts[first : first + rows, None] + np.arange(length + 1)
            offsets = rng.integers(POSITIONS - length + 1, size=(len(cut), 1))
            offsets *= rng.random(offsets.shape) < SHIFTED_ROWS
            positions = offsets + np.arange(length)
            yield torch.from_numpy(tokens[cut].astype(np.int64)), torch.from_numpy(positions)


def training_loss(model: GPT2LMHeadModel, rows: Tensor, positions: Tensor) -> Tensor:
    """Predict each token but a row's first, in bfloat16 where it serves.

    The logits, by far the largest tensor of a small model, are made 512 tokens at a time: while
    they stay in the cache, a whole step goes a tenth faster (2 cores).
    """
    with torch.autocast(rows.device.type, torch.bfloat16):
        output = model.transformer(rows[:, :-1], position_ids=positions, use_cache=False)
        states = torch.split(torch.flatten(output.last_hidden_state, 0, 1), 512)
        targets = torch.split(rows[:, 1:].flatten(), 512)
        logits = (model.lm_head(part).float() for part in states)
        parts = zip(logits, targets, strict=True)
        losses = [cross_entropy(*part, reduction="sum") for part in parts]
    return torch.stack(losses).sum() / positions.numel()


@torch.inference_mode()
def evaluate(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, tokens: Tokens, limit: int
) -> tuple[float, float]:
    """Give nats per token and bits per byte in up to `limit` evenly spread windows of 1,024."""
    count = max(1, len(tokens) // POSITIONS)
    total, predicted, length = 0.0, 0, 0
    for window in np.linspace(0, count - 1, min(limit, count)).astype(int):
        row = tokens[window * POSITIONS : (window + 1) * POSITIONS].astype(np.int64)
        ids = torch.from_numpy(row).to(model.device)
        logits = model(ids[None, :-1]).logits[0]
        total += cross_entropy(logits, ids[1:], reduction="sum").item()
        predicted += len(row) - 1  # nothing comes before the first token
        length += len(str(tokenizer.decode(row[1:])).encode())
    return total / predicted, total / math.log(2) / length


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """Replace the model in `output` file by file; at every moment it is a whole model."""
    half = copy.deepcopy(model).half()  # type: ignore[no-untyped-call] # a decorator hides its type
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        half.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        for file in Path(scratch).iterdir():
            file.chmod(0o644)  # safetensors makes it private, an installed package must not be
            file.replace(output / file.name)


def train(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    training: Tokens,
    held_out: Tokens,
    options: argparse.Namespace,
) -> None:
    """Train until the minutes or the steps are used up; the learning rate ends at 0."""

    def checkpoint(windows: int) -> None:
        save(model, tokenizer, options.output)
        loss, bits = evaluate(model, tokenizer, held_out, windows)
        perplexity = f"perplexity {math.exp(loss):.2f}, {bits:.4f} bits per byte"
        log.info(f"up to {windows} held-out windows: loss {loss:.4f}, {perplexity}")

    rng = np.random.default_rng(options.seed)
    lengths = (options.length, options.long_length)
    short, long = (batches(training, n, options.batch_tokens // n, rng) for n in lengths)
    optimise = optimiser(model)
    started = saved = time.monotonic()
    step, seen, progress = 0, 0, options.begin
    recent: deque[float] = deque(maxlen=50)
    while progress < 1:
        rows, positions = next(long if progress > 1 - options.long_share else short)
        loss = training_loss(model, rows.to(model.device), positions.to(model.device))
        loss.backward()  # type: ignore[no-untyped-call] # torch has no types for it
        optimise(rate_at(progress))
        recent.append(loss.item())
        step, seen, now = step + 1, seen + positions.numel(), time.monotonic()
        used = step / options.steps if options.steps else (now - started) / 60 / options.minutes
        progress = options.begin + (1 - options.begin) * used
        if step % 50 == 0 or progress >= 1:
            mean = sum(recent) / len(recent)
            log.info(
                f"{now - started:.0f} s, {step} steps, {seen} tokens, training loss {mean:.3f}"
            )
        if now - saved > 60 * options.checkpoint_minutes and progress < 1:
            saved = now
            checkpoint(32)
    checkpoint(len(held_out))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("corpus", type=Path, help=f"a text file, or one compressed by xz; {END} parts documents")
    add("output", type=Path, help="the folder of the model; always holds the last checkpoint")
    add("--init", type=Path, help="go on from the weights and the tokenizer of this folder")
    add("--width", type=int, default=256, help=f"a multiple of {HEAD_WIDTH}")
    add("--vocabulary", type=int, default=8192)
    add("--held-out", type=int, default=6, help="whole documents never trained on")
    add("--minutes", type=float, default=60.0, help="the learning rate falls with the time used")
    add("--begin", type=float, default=0.0, help="go on in this share of the rate's schedule")
    add("--steps", type=int, help="end after so many steps instead")
    add("--checkpoint-minutes", type=float, default=5.0)
    add("--batch-tokens", type=int, default=4096)
    add("--length", type=int, default=256)
    add("--long-length", type=int, default=POSITIONS, help="length of the rows of the last part")
    add("--long-share", type=float, default=0.25, help="size of the last part")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    training, held_out = read_documents(options.corpus, options.held_out)
    if options.init:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.init)  # a folder # nosec B615
        tokenizer.model_max_length = POSITIONS
        model = GPT2LMHeadModel.from_pretrained(  # as above # nosec B615
            options.init, dtype=torch.float32
        )
    else:
        tokenizer = train_tokenizer(training, options.vocabulary)
        model = new_model(options.width, tokenizer)
    for block in model.transformer.h:
        # The same function as gelu_new, in one kernel; a block's type is not known statically.
        block.mlp.act = torch.nn.GELU("tanh")  # type: ignore[union-attr]
    tokens = (tokenize(training, tokenizer), tokenize(held_out, tokenizer))
    log.info("%d tokens to learn from, %d held out", len(tokens[0]), len(tokens[1]))
    train(model.to(options.device), tokenizer, *tokens, options)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main()
