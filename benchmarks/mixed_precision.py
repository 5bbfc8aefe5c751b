"""Models between the precisions: int8 with some products in float16, and weights off its grid."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from distilq.settings import Settings
from worker.loading import load_model
from worker.model import GPT2
from worker.names import resolve
from worker.rows import Tokenizer

#: int8 with these products in float16 instead; `head` is the product with the vocabulary.
MIXED = {
    "int8, head float16": ("head",),
    "int8, attention_in float16": ("attention_in",),
    "int8, attention_out float16": ("attention_out",),
    "int8, mlp_out float16": ("mlp_out",),
    "int8, head and attention_in float16": ("head", "attention_in"),
    "int8, layers float16": ("attention_in", "attention_out", "mlp_in", "mlp_out"),
}
#: float32 of weights that float16 has to round, as a model trained in float32 has them.
FINE = "float32, fine weights"


def load(model: str, name: str) -> tuple[GPT2, Tokenizer]:
    """A precision of the engine's, one of `MIXED`, or `FINE`."""
    if name == FINE:
        with tempfile.TemporaryDirectory() as folder:
            refine(Path(resolve(model).source), Path(folder))
            return load(folder, "float32")
    precision: Any = name.partition(",")[0]
    found, tokenizer = load_model(Settings(model=model, precision=precision))
    assert isinstance(found, GPT2)
    if name in MIXED:
        other, _ = load(model, "float16")
        for part in MIXED[name]:
            take(part, found, other)
    return found, tokenizer


def take(part: str, model: GPT2, other: GPT2) -> None:
    """Replace a product of the model by the other's."""
    if part == "head":
        model._head = other._head
        return
    for layer, source in zip(model._layers, other._layers, strict=True):
        setattr(layer, part, getattr(source, part))


def refine(checkpoint: Path, folder: Path) -> None:
    """A copy of a float16 checkpoint, each weight anywhere in what rounds to it in float16.

    A checkpoint in float16 loses nothing by `float16`; this one loses what another would.
    """
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    weights = load_file(checkpoint / "model.safetensors")
    draw = torch.Generator().manual_seed(1)
    moved = {name: off_the_grid(weight, draw) for name, weight in weights.items()}
    for name, weight in moved.items():
        assert torch.equal(weight.half(), weights[name]), name
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})


def off_the_grid(weight: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Less than half a step of float16 away, and at a power of two half of that."""
    fine = weight.float()
    mantissa, exponent = torch.frexp(fine)
    exponent[fine == 0] = -24  # frexp says 0
    step = torch.exp2((exponent - 11).clamp(min=-24).float())  # 11 bits, none below 2^-24
    step = torch.where(mantissa.abs() == 0.5, step / 2, step)  # below it float16 is twice as fine
    return fine + (torch.rand(fine.shape, generator=draw) - 0.5) * step * 0.99
