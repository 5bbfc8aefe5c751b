"""The perplexity benchmark's own arithmetic: which windows, which weights, which figures."""

from __future__ import annotations

import math
from typing import Any

import torch

from benchmarks.mixed_precision import MIXED, load, off_the_grid
from benchmarks.perplexity import spread, tables
from worker.perplexity import windows


def subject(nats: list[float], rates: list[float]) -> dict[str, Any]:
    rate = {"median": sorted(rates)[1], "low": min(rates), "high": max(rates), "values": rates}
    return {"nats": nats, "scored": [100, 100, 100], "tokens_per_s": rate}


def test_costs_and_speeds_are_those_beside_float32_of_the_same_round() -> None:
    text = {
        "bytes": 1200,
        "tokens": 301,
        "windows": 9,
        "windows_scored": 3,
        "scored": 300,
        "subjects": {
            "float32": subject([400.0, 300.0, 200.0], [1000.0, 500.0, 800.0]),
            "int8": subject([401.0, 303.0, 202.0], [2000.0, 1000.0, 1200.0]),
        },
    }
    asked = {"window": 1024, "stride": 512}
    found = tables({"found": {"texts": {"books": text}}, "asked": asked})
    assert "**books**: 300 tokens scored, in 3 of 9 windows of 1,024, stride 512" in found
    cells = [cell.strip() for cell in found.splitlines()[-1].strip("|").split("|")]
    perplexity, bits = math.exp(906 / 300), 906 / 300 * 301 / 1200 / math.log(2)
    assert cells == [
        "int8",
        f"{perplexity:.3f}",
        "+2.020 % (+1.005 to +3.045)",
        f"{bits:.4f}",
        "1,200",
        "2.00x",
    ]


def test_windows_are_taken_at_even_distances() -> None:
    found = windows(11_000, 1024, 512)
    assert spread(found, 4) == [found[0], found[5], found[10], found[15]]
    assert spread(found, 1000) == found


def test_fine_weights_round_to_those_that_they_were_made_from() -> None:
    draw = torch.Generator().manual_seed(2)
    weights = torch.randn(10_000, generator=draw).half()
    weights[:5] = torch.tensor([0, 1, -0.5, 6e-8, 65504])
    fine = off_the_grid(weights, draw)
    assert torch.equal(fine.half(), weights)
    assert (fine != weights.float()).float().mean() > 0.99


def test_a_mixed_model_has_the_other_precisions_products() -> None:
    plain, _ = load("bundled", "int8")
    for name in MIXED:
        mixed, _ = load("bundled", name)
        rows = torch.randn(2, 256, generator=torch.Generator().manual_seed(3))
        assert torch.equal(mixed._head(rows), plain._head(rows)) == ("head" not in MIXED[name])
        theirs, ours = mixed._layers[3].attention_out(rows), plain._layers[3].attention_out(rows)
        assert torch.equal(theirs, ours) == ("attention_out" not in MIXED[name])
