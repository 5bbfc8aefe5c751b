"""The arithmetic of the GPU's benchmark, and that it measures nothing without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks import cuda, cuda_texts, measure


def test_without_a_gpu_it_says_so_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    cuda.main([])
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_step_reads_the_weights_and_every_rows_keys_and_values() -> None:
    config = GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=131, n_positions=160)
    model = GPT2LMHeadModel(config)
    parameters = sum(each.numel() for each in model.parameters())
    positions = model.transformer.wpe.weight.numel()
    keys = 2 * 3 * 16 * 50 * 2  # layers, heads, width, tokens; and as many values
    assert cuda.bytes_per_step(config, parameters, 7, 50) == 2 * (parameters - positions + 7 * keys)


def test_texts_agree_up_to_the_first_token_that_differs() -> None:
    exact = [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert cuda_texts.shared([[1, 2, 9, 4], [5, 6, 7, 8]], exact) == 6 / 8
    assert cuda_texts.shared([[1, 2], [5, 6, 7, 8, 9]], exact) == 6 / 8


def test_the_table_sets_every_rate_beside_that_of_generate_in_its_round() -> None:
    def rates(*values: float) -> dict[str, Any]:
        return measure.Spread(values).record()

    by_name = {
        cuda.GENERATE: rates(100.0, 200.0, 100.0),
        cuda.CONTINUOUS: rates(300.0, 300.0, 400.0),
        cuda.OURS: rates(1000.0, 1000.0, 600.0),
    }
    found = {
        "device": "a card",
        "copy_bytes_per_s": 2e12,
        "rows": {"8": {"tokens_per_s": by_name, "limit_tokens_per_s": 4000.0}},
        "agreement": {"distilq, float16": 0.995},
    }
    table = cuda.tables({"found": found})
    assert "| 8 | 100 | 300, 3.00x | 1,000, 6.00x (600 to 1,000) | 25.0% |" in table
    assert "| distilq, float16 | 99.5% |" in table
