"""Checkpoints that are not whole: each is refused in one line that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from distilq.settings import Settings
from worker.loading import load_engine
from worker.names import BUNDLED, ModelUnavailable

Change = Callable[[dict[str, torch.Tensor]], Any]
LAYER = "transformer.h.1.attn.c_attn.weight"


def saved(folder: Path, change: Change, **config: Any) -> Path:
    """A small GPT-2 with the bundled tokenizer, its weights changed before they are written."""
    AutoTokenizer.from_pretrained(BUNDLED).save_pretrained(folder)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 32, "vocab_size": 8192, "n_positions": 128}
    GPT2LMHeadModel(GPT2Config(**(shape | config))).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def poison(weights: dict[str, torch.Tensor]) -> None:
    weights[LAYER][0, 0] = torch.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop(LAYER), f"lacks the weight {LAYER}$"),
        (
            lambda weights: weights.update({"transformer.h.2.ln_1.bias": torch.zeros(32)}),
            r"has, beside its layers, the weight transformer\.h\.2\.ln_1\.bias$",
        ),
        (poison, f"the weight {LAYER} .* is not finite"),
    ],
)
def test_weights_that_are_not_whole_are_refused(tmp_path: Path, change: Change, words: str) -> None:
    folder = saved(tmp_path / "model", change)
    with pytest.raises(ModelUnavailable, match=words):
        load_engine(Settings(model=str(folder), max_batch_tokens=1024, threads=1))


def test_masks_of_older_checkpoints_are_no_weights(tmp_path: Path) -> None:
    def add_masks(weights: dict[str, torch.Tensor]) -> None:
        weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 128, 128)
        weights["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)

    folder = saved(tmp_path / "model", add_masks)
    engine = load_engine(Settings(model=str(folder), max_batch_tokens=1024, threads=1))
    assert engine.model.info.n_positions == 128
