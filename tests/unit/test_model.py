from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from tests.unit.rows import make_row
from worker import fbgemm, linear, mkl, weights
from worker.activation import gelu
from worker.model import GPT2
from worker.names import ModelUnavailable
from worker.rows import Chunk, ModelInfo, Row
from worker.segments import Segments

CPU = "cpu"


def checkpoint(**changed: Any) -> GPT2LMHeadModel:
    """A small random GPT-2, with large enough weights for its logits to differ."""
    sizes: dict[str, Any] = {"n_layer": 2, "n_embd": 48, "n_head": 3, "vocab_size": 131}
    config = GPT2Config(n_positions=160, initializer_range=0.2, **(sizes | changed))
    torch.manual_seed(3)
    model = GPT2LMHeadModel(config)
    model.train(False)
    return model


def model_of(source: GPT2LMHeadModel, precision: str = "float32", device: str = CPU) -> GPT2:
    read = weights.read(source)
    info = ModelInfo(
        name="small",
        source="tests",
        revision=None,
        precision=precision,
        device=device,
        n_positions=read.shape.n_positions,
        vocab_size=read.shape.vocab_size,
        parameters=read.parameters,
        bundled=False,
    )
    model = GPT2(read, info)
    model.reserve(4096)
    return model


def prefill(model: GPT2, rows: list[Row], at_once: int = 64, capacity: int = 4096) -> None:
    """All but the last token of every row, several rows in one pass."""
    segments = Segments(capacity)
    chunks = []
    for row in rows:
        row.segment = segments.take(row.prompt.tokens)
        for start in range(0, row.prompt.to_prefill, at_once):
            stop = min(start + at_once, row.prompt.to_prefill)
            chunks.append(Chunk(row.prompt, row.place, start, stop))
    if chunks:
        model.forward([], chunks)


def decode(model: GPT2, rows: list[Row]) -> torch.Tensor:
    return model.forward(rows, [])[0]


def expected_logits(source: GPT2LMHeadModel, rows: list[Row]) -> torch.Tensor:
    with torch.inference_mode():
        last = [source(torch.tensor([row.prompt.ids + row.tokens])).logits[0, -1] for row in rows]
    return torch.stack(last)


def prompts(*lengths: int) -> list[Row]:
    draw = torch.Generator().manual_seed(4)
    return [
        make_row(torch.randint(0, 131, (length,), generator=draw).tolist()) for length in lengths
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"n_inner": 100},
        {"activation_function": "gelu"},
        {"activation_function": "gelu_pytorch_tanh"},
        {"scale_attn_weights": False},
        {"layer_norm_epsilon": 0.1},
        {"tie_word_embeddings": False},
        {"n_head": 1},
        {"reorder_and_upcast_attn": True},
    ],
    ids=str,
)
def test_logits_equal_those_of_transformers(changed: dict[str, Any]) -> None:
    source = checkpoint(**changed)
    model, rows = model_of(source), prompts(1, 2, 17, 64, 65, 100)
    prefill(model, rows)
    for _ in range(3):
        found = decode(model, list(rows))
        torch.testing.assert_close(found, expected_logits(source, rows), atol=2e-4, rtol=1e-3)
        for row in rows:
            row.tokens.append(len(row.tokens) + 7)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float16", 0.005), ("bfloat16", 0.03), ("int8", 0.06)]
)
def test_smaller_precisions_stay_close(precision: str, tolerance: float) -> None:
    if precision != "bfloat16" and not fbgemm.available():
        pytest.skip(f"{precision} needs FBGEMM")
    source = checkpoint()
    model, rows = model_of(source, precision), prompts(1, 5, 30, 70)
    prefill(model, rows)
    expected = expected_logits(source, rows)
    distance = (decode(model, rows) - expected).norm() / expected.norm()
    assert distance < tolerance


@pytest.mark.parametrize(
    ("precision", "missing"),
    [
        (precision, missing)
        for precision in ("float32", "float16", "bfloat16", "int8")
        for missing in ("", "mkl", "mkl, fbgemm")
        if precision != "int8" or "fbgemm" not in missing  # which has no other way
    ],
)
def test_products_of_a_row_do_not_depend_on_the_other_rows(
    precision: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in (mkl, fbgemm):
        if library.__name__.split(".")[-1] in missing:
            monkeypatch.setattr(library, "available", lambda: False)
    if precision == "int8" and not fbgemm.available():
        pytest.skip(f"{precision} needs FBGEMM")
    draw = torch.Generator().manual_seed(5)
    for inputs, outputs in ((48, 131), (256, 768), (768, 1100), (500, 1100), (1536, 600)):
        weight = torch.randn(outputs, inputs, generator=draw) / 8
        product = linear.pack(weight, torch.randn(outputs, generator=draw), precision, CPU)
        rows = torch.randn(70, inputs, generator=draw)
        alone = torch.cat([product(rows[n : n + 1]) for n in range(70)])
        for count in (2, 3, 7, 16, 33, 70):
            assert torch.equal(product(rows[:count]), alone[:count]), count
        assert torch.equal(product(rows[40:50]), alone[40:50])


def test_products_that_depend_on_the_number_of_rows_are_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def changing(weight: torch.Tensor) -> linear.Linear:
        return lambda rows: rows @ weight.t() + len(rows)

    monkeypatch.setattr(mkl, "_packed", changing)
    assert mkl.pack(torch.randn(1100, 768)) is None


def test_few_rows_go_another_way_only_if_it_sums_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(1100, 768).half().float()
    monkeypatch.setattr(mkl, "_in_parts", lambda weight: lambda rows: rows @ weight.t() + 1)
    assert mkl.pack_halves(weight) is None
    product = linear.pack(weight, None, "float32", CPU)
    rows = torch.randn(64, 768)
    assert torch.equal(product(rows[:3]), product(rows)[:3])
    torch.testing.assert_close(product(rows), rows @ weight.t(), atol=1e-3, rtol=1e-4)


def test_a_pair_of_halves_is_nearly_as_exact_as_float32() -> None:
    draw = torch.Generator().manual_seed(6)
    weight = torch.randn(300, 768, generator=draw) * 0.05
    rows = torch.randn(20, 768, generator=draw)
    exact = rows.double() @ weight.double().t()
    ours = (fbgemm.float16_pair(weight)(rows) - exact).abs().max()
    torchs = (rows @ weight.t() - exact).abs().max()
    assert ours < 8 * torchs


def test_weights_beyond_float16_are_still_multiplied_exactly() -> None:
    weight = torch.tensor([[1e6, 2.0], [3.0, 4.0]])
    product = linear.pack(weight, torch.tensor([1.0, 2.0]), "float32", CPU)
    assert torch.equal(product(torch.tensor([[1.0, 1.0]])), torch.tensor([[1000003.0, 9.0]]))


def test_gelu_rounds_every_element_alike_wherever_it_stands() -> None:
    inner = torch.randn(6000) * 3
    for activation in ("gelu", "gelu_new"):
        whole = gelu(inner.clone(), activation)
        for size in (1, 7, 37):
            assert torch.equal(
                torch.cat([gelu(p.clone(), activation) for p in torch.split(inner, size)]), whole
            )
    extremes = torch.tensor([-1e30, -100.0, 0.0, 100.0, 1e10])
    for activation in ("gelu", "gelu_new"):
        assert gelu(extremes.clone(), activation).tolist() == extremes.clamp(min=0).tolist()


def test_a_row_has_the_same_logits_to_the_bit_beside_any_neighbours() -> None:
    source = checkpoint()
    lengths = (1, 2, 17, 31, 64, 65, 66, 100, 129)
    model, rows = model_of(source), prompts(*lengths)
    prefill(model, rows)
    together = decode(model, list(rows))
    for number, row in enumerate(prompts(*lengths)):
        prefill(model, [row])
        assert torch.equal(decode(model, [row])[0], together[number]), lengths[number]


def test_copied_keys_give_the_same_logits() -> None:
    model, [row] = model_of(checkpoint()), prompts(50)
    prefill(model, [row])
    before = decode(model, [row]).clone()
    [twin] = prompts(50)
    twin.segment = Segments(4096).take(4096)
    assert twin.segment is not None
    target = type(twin.segment)(1024, 256)
    model.copy(row.place, target, 49)
    twin.segment = target
    assert torch.equal(decode(model, [twin]), before)


def test_prompt_candidates_are_the_log_probabilities_of_the_next_tokens() -> None:
    source = checkpoint()
    model = model_of(source)
    ids = list(range(100))
    row = make_row(ids, prompt_logprobs=3)
    segment = Segments(4096).take(200)
    assert segment is not None
    parts = [Chunk(row.prompt, segment, 0, 64), Chunk(row.prompt, segment, 64, 99)]
    found = [each for part in parts for each in model.forward([], [part])[1][0]]
    with torch.inference_mode():
        logs = source(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert len(found) == 99
    for place, each in enumerate(found):
        assert each.logprob == pytest.approx(logs[place, place + 1].item(), abs=1e-3)
        values = [value for _, value in each.top]
        assert values == pytest.approx(logs[place].topk(3).values.tolist(), abs=1e-3)


def test_the_sampled_token_comes_from_the_last_position() -> None:
    source = checkpoint()
    model, rows = model_of(source), prompts(5, 9)
    for row in rows:
        row.parameters = row.parameters.model_copy(update={"do_sample": False})
    prefill(model, rows)
    expected = expected_logits(source, rows).argmax(-1).tolist()
    assert model.sample(decode(model, rows), rows).tokens == expected


@pytest.mark.parametrize(
    ("config", "generation", "ends", "start"),
    [
        ({"eos_token_id": 5, "bos_token_id": 4}, {}, {5}, 4),
        ({"eos_token_id": [5, 6]}, {}, {5, 6}, 5),
        ({"eos_token_id": 5}, {"eos_token_id": [7, 8]}, {7, 8}, 7),
        ({"eos_token_id": 10**6}, {}, set(), None),  # GPT2Config's default, of a small vocabulary
        ({"eos_token_id": None}, {}, set(), None),
    ],
)
def test_end_tokens_are_those_that_transformers_stops_at(
    config: dict[str, Any], generation: dict[str, Any], ends: set[int], start: int | None
) -> None:
    model = checkpoint(**({"bos_token_id": None} | config))
    model.generation_config = GenerationConfig(**generation)  # type: ignore[no-untyped-call]  # it ships none
    shape = weights.read(model).shape
    assert (set(shape.eos_token_ids), shape.bos_token_id) == (ends, start)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"activation_function": "relu"}, "relu"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelUnavailable, match=named):
        weights.read(checkpoint(**changed))
