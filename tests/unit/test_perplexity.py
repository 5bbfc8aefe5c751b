"""Losses over sliding windows, beside `transformers`' own of the same windows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from distilq.settings import Precision, Settings
from tests.unit.test_bundled_model import PASSAGE
from tests.unit.test_model import checkpoint, model_of
from worker import fbgemm, perplexity
from worker.loading import load_model
from worker.model import GPT2
from worker.names import BUNDLED
from worker.perplexity import Score, Window, windows

#: Of several scripts, so that many a token ends amid a character.
MANY_BYTES = "Grüße aus 東京 — здравствуйте, naïve Ångström 👋🏽! " * 6


def guide(model: GPT2LMHeadModel, ids: list[int], size: int, stride: int) -> tuple[float, int]:
    """Nats and scored tokens as the guide finds them: labels of -100 for what is context."""
    nats, scored, reached = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + size, len(ids))
        inputs = torch.tensor([ids[begin:end]])
        labels = inputs.clone()
        labels[:, : -(end - reached)] = -100
        count = int((labels[:, 1:] != -100).sum())  # the model shifts them by one
        if count:
            with torch.inference_mode():
                nats += model(inputs, labels=labels).loss.item() * count
            scored += count
        reached = end
        if end == len(ids):
            break
    return nats, scored


def random_ids(count: int, vocabulary: int) -> list[int]:
    draw = torch.Generator().manual_seed(8)
    ids: list[int] = torch.randint(0, vocabulary, (count,), generator=draw).tolist()
    return ids


@pytest.fixture(scope="module")
def reference() -> GPT2LMHeadModel:
    model: GPT2LMHeadModel = GPT2LMHeadModel.from_pretrained(BUNDLED, dtype=torch.float32)
    model.train(False)
    return model


def bundled(precision: Precision) -> GPT2:
    model, _ = load_model(Settings(model="bundled", precision=precision, threads=1))
    assert isinstance(model, GPT2)
    return model


def ids_of(text: str) -> list[int]:
    ids: list[int] = AutoTokenizer.from_pretrained(BUNDLED).encode(text)
    return ids


@pytest.mark.parametrize(
    ("tokens", "size", "stride"),
    [
        (500, 160, 80),
        (500, 160, 160),
        (500, 160, 1),
        (481, 160, 160),  # the last window has nothing to score
        (500, 100, 33),
        (161, 160, 80),
        (160, 160, 80),
        (90, 160, 80),  # shorter than the window
        (2, 160, 80),
        (9, 2, 1),
        (9, 2, 2),
    ],
)
def test_float32_has_the_loss_that_transformers_has(tokens: int, size: int, stride: int) -> None:
    source = checkpoint()
    ids = random_ids(tokens, 131)
    found = perplexity.evaluate(model_of(source), ids, size, stride)
    nats, scored = guide(source, ids, size, stride)
    assert found.scored == scored
    assert found.tokens == tokens
    assert found.loss == pytest.approx(nats / scored, abs=1e-4)


@pytest.mark.parametrize("stride", [700, 1024])
def test_the_bundled_model_in_float32_has_the_loss_that_transformers_has(
    reference: GPT2LMHeadModel, stride: int
) -> None:
    ids = ids_of((PASSAGE + MANY_BYTES) * 4)
    assert len(ids) > 1024
    found = perplexity.evaluate(bundled("float32"), ids, 1024, stride)
    nats, scored = guide(reference, ids, 1024, stride)
    assert found.scored == scored
    assert found.loss == pytest.approx(nats / scored, abs=1e-4)


def test_every_token_but_the_first_is_scored_once_where_windows_overlap() -> None:
    for tokens, size, stride in ((1000, 100, 50), (1000, 100, 99), (30, 100, 50), (101, 100, 1)):
        found = windows(tokens, size, stride)
        scored = [place for each in found for place in range(each.first, each.stop)]
        assert scored == list(range(1, tokens))
        assert all(0 < each.stop - each.start <= size for each in found)


def test_windows_that_do_not_overlap_leave_out_their_first_token() -> None:
    assert windows(9, 4, 4) == [Window(0, 1, 4), Window(4, 5, 8)]


def test_a_score_counts_nats_per_token_and_bits_per_byte() -> None:
    score = Score(tokens=5, scored=4, nats=4 * 2.0794415416798357)  # ln 8: 3 bits
    assert score.perplexity == pytest.approx(8)
    assert score.bits_per_byte(10) == pytest.approx(1.5)


def test_progress_hears_of_every_window() -> None:
    heard: list[int] = []
    perplexity.evaluate(model_of(checkpoint()), random_ids(300, 131), 100, 50, heard.append)
    assert heard == [99, 149, 199, 249, 299]


def test_only_one_chunk_has_its_logits_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, most = model_of(checkpoint()), 0
    head: Any = model._logits

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        nonlocal most
        most = max(most, len(hidden))
        logits: torch.Tensor = head(hidden)
        return logits

    monkeypatch.setattr(model, "_logits", watched)
    perplexity.evaluate(model, random_ids(300, 131), 160, 80)
    assert 0 < most <= 64


def test_a_loss_that_is_not_finite_is_no_result() -> None:
    source = checkpoint()
    model = model_of(source)
    model._positions[50] = torch.nan
    with pytest.raises(perplexity.NotFinite, match="tokens 1 to 160"):
        perplexity.evaluate(model, random_ids(200, 131), 160, 80)


def off_the_grid(weight: torch.Tensor) -> torch.Tensor:
    """As if it had been trained in float32: what float16 rounds to `weight`, anywhere near it."""
    draw = torch.Generator().manual_seed(9)
    return weight * (1 + (torch.rand(weight.shape, generator=draw) - 0.5) * 2**-11)


def test_float16_is_within_a_thousandth_of_float32(reference: GPT2LMHeadModel) -> None:
    if not fbgemm.available():
        pytest.skip("float16 needs FBGEMM")
    ids = ids_of(PASSAGE * 2)
    before = {name: weight.clone() for name, weight in reference.state_dict().items()}
    reference.load_state_dict({name: off_the_grid(weight) for name, weight in before.items()})
    try:
        exact, halved = (
            perplexity.evaluate(model_of(reference, precision), ids, 1024, 512).perplexity
            for precision in ("float32", "float16")
        )
    finally:
        reference.load_state_dict(before)
    assert exact != halved
    assert halved == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(("precision", "bound"), [("bfloat16", 0.02), ("int8", 0.03)])
def test_smaller_precisions_cost_no_more_than_is_said(precision: Precision, bound: float) -> None:
    if precision == "int8" and not fbgemm.available():
        pytest.skip("int8 needs FBGEMM")
    ids = ids_of(PASSAGE)
    exact = perplexity.evaluate(bundled("float32"), ids, 1024, 512).perplexity
    found = perplexity.evaluate(bundled(precision), ids, 1024, 512).perplexity
    assert found != exact
    assert found == pytest.approx(exact, rel=bound)
