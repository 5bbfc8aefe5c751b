"""The decode step of fixed shapes: its arithmetic on a CPU, its recording where there is CUDA."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.test_model import checkpoint, decode, model_of, prefill, prompts
from worker.fixed import ROWS, Bucket, bucket_of, packed
from worker.graphs import Graphs, Work
from worker.model import GPT2
from worker.rows import Chunk, Row, Segment

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
RAGGED = (1, 2, 17, 63, 64, 65, 100, 129)


def unrecorded(work: Work) -> Work:
    return work


def prefilled(*lengths: int) -> tuple[GPT2, list[Row]]:
    """A model and its rows, over a cache that other rows have left full of their numbers."""
    model, rows = model_of(checkpoint()), prompts(*lengths)
    draw = torch.Generator().manual_seed(8)
    for store in (*model._cache.keys, *model._cache.values):
        store.normal_(generator=draw)
    prefill(model, rows)
    return model, rows


def with_graphs(model: GPT2, record: Callable[[Work], Work] = unrecorded) -> Graphs:
    model._graphs = model.graphs(record)
    return model._graphs


def grow(rows: list[Row]) -> None:
    for number, row in enumerate(rows):
        row.tokens.append((7 * number + len(row.tokens)) % 131)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("lengths", [RAGGED, (63,), (127, 3, 40), (5,) * 20], ids=str)
def test_the_fixed_step_gives_the_logits_of_the_ordinary_one(lengths: tuple[int, ...]) -> None:
    """Over steps in which positions pass 64 and 128, where the bucket changes."""
    model, rows = prefilled(*lengths)
    other, same = prefilled(*lengths)
    graphs = with_graphs(other)
    for _ in range(4):
        close(decode(other, list(same)), decode(model, list(rows)))
        grow(rows)
        grow(same)
    assert len(graphs._replays) == (2 if max(lengths) in (63, 127) else 1)


def test_the_fixed_step_writes_the_same_keys_and_nothing_elsewhere() -> None:
    model, rows = prefilled(*RAGGED[:7])  # of 8: one is padding
    other, same = prefilled(*RAGGED[:7])
    with_graphs(other)
    stores = [*other._cache.keys, *other._cache.values]
    before = [store.clone() for store in stores]
    decode(model, rows)
    decode(other, same)
    index = other._cache.index([row.place for row in same])
    written = index + torch.tensor([[row.position] for row in same])
    spare = other._cache.index([other._cache.spare])
    allowed = torch.zeros(len(stores[0]), dtype=torch.bool)
    allowed[torch.cat([written, spare]).flatten()] = True
    ordinary = [*model._cache.keys, *model._cache.values]
    for store, was, expected in zip(stores, before, ordinary, strict=True):
        assert torch.equal((store != was).any(1), allowed)
        close(store[written.flatten()], expected[written.flatten()])


def test_the_spare_place_lies_behind_all_that_is_handed_out() -> None:
    model = model_of(checkpoint())
    assert model._cache.spare == Segment(4096, 1)
    assert model._cache.index([model._cache.spare]).max() == len(model._cache.keys[0]) - 1


def test_prompts_are_prefilled_beside_a_fixed_step() -> None:
    """The rows' logits and the prompt's keys are those of one pass."""
    model, [row, *others] = prefilled(30, 40, 50)
    other, [same, *others_same] = prefilled(30, 40, 50)
    with_graphs(other)
    for store in (*other._cache.keys, *other._cache.values):
        other._cache.view(store, same.place).zero_()
    chunk = Chunk(row.prompt, row.place, 0, 29)
    close(other.forward(others_same, [chunk])[0], model.forward(others, [chunk])[0])
    close(decode(other, [same]), decode(model, [row]))


@pytest.mark.parametrize(
    ("lengths", "bucket"),
    [
        ([1], Bucket(1, 64)),
        ([64, 2, 3], Bucket(4, 64)),
        ([65] * 9, Bucket(16, 128)),
        ([129] * 33, Bucket(48, 256)),
        ([1000] * 512, Bucket(512, 1000)),
        ([1] * 513, None),
    ],
)
def test_a_bucket_is_the_smallest_that_holds_the_rows(
    lengths: list[int], bucket: Bucket | None
) -> None:
    assert bucket_of(prompts(*lengths), n_positions=1000) == bucket


def test_packed_rows_are_followed_by_padding_in_the_spare_place() -> None:
    [row] = prompts(3)
    row.segment = Segment(128, 64)
    row.tokens = [9, 11]
    assert packed([row], 2, Segment(4096, 1)).tolist() == [[11, 4, 128, 64], [0, 0, 4096, 1]]


def test_what_cannot_be_recorded_goes_on_without_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(work: Work) -> Work:
        raise torch.OutOfMemoryError("CUDA out of memory\nand much more")

    model, rows = prefilled(5, 70)
    other, same = prefilled(5, 70)
    with_graphs(other, fails)
    with caplog.at_level(logging.WARNING, "distilq.engine"):
        for _ in range(2):
            assert torch.equal(decode(other, same), decode(model, rows))
    assert [record.getMessage() for record in caplog.records] == [
        "no CUDA graph for 2 rows of 128 tokens, which go on without: CUDA out of memory"
    ]


def test_a_new_cache_forgets_the_steps_of_the_old_one() -> None:
    model = model_of(checkpoint())
    with_graphs(model)
    model.reserve(4096)
    assert model._graphs is None


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]  # it ships none
    """The names of the operations that run inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


def mixed(rows: list[Row]) -> list[Row]:
    """Half of them greedy, the others with every filter."""
    drawn = {"top_k": 40, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.95, "temperature": 0.7}
    for number, row in enumerate(rows):
        changed = drawn if number % 2 else {"do_sample": False}
        row.parameters = row.parameters.model_copy(update=changed)
    return rows


def test_no_operation_of_a_step_waits_for_the_device_but_the_tokens_own() -> None:
    """These are the operations whose result the host has to know to go on."""
    waiting = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"}
    model, rows = prefilled(*RAGGED)
    with_graphs(model)
    with Dispatched() as dispatched:
        model.sample(decode(model, mixed(rows)), rows)
    assert dispatched.names >= {"index_select", "bmm", "topk", "searchsorted"}
    assert not dispatched.names & waiting
    with dispatched:
        assert bool(torch.ones(1))
    assert dispatched.names & waiting, "they would have been seen"


def on_cuda(precision: str, count: int) -> tuple[GPT2, list[Row]]:
    rows = prompts(*(1 + 13 * number % 100 for number in range(count)))
    model = model_of(checkpoint(), precision, "cuda")
    model.reserve(256 * count)
    prefill(model, rows, capacity=256 * count)
    return model, rows


@needs_cuda
@pytest.mark.parametrize("count", [*ROWS, 5, 100, 511])
def test_a_replay_gives_the_logits_of_an_eager_step(count: int) -> None:
    model, rows = on_cuda("float16", count)
    for _ in range(3):  # the first one records
        replayed = decode(model, rows).clone()
        graphs, model._graphs = model._graphs, None
        eager = decode(model, rows)
        model._graphs = graphs
        assert ((replayed - eager).norm() / eager.norm()).item() < 0.01
        grow(rows)
    assert graphs is not None
    assert None not in graphs._replays.values()


@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_cuda_sees_no_wait_before_the_tokens_are_read() -> None:
    model, rows = on_cuda("float16", 9)
    model.sample(decode(model, mixed(rows)), rows)  # records, and sets up the sampler's batch
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            tokens = model._sampler._draw(decode(model, rows), model._sampler._batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(tokens.tolist()) == 9


@needs_cuda
@pytest.mark.parametrize("count", [1, 7, 32, 200, 512])
def test_greedy_tokens_in_float16_are_near_the_best_of_float32(count: int) -> None:
    half, rows = on_cuda("float16", count)
    full, same = on_cuda("float32", count)
    for _ in range(5):
        exact = decode(full, same)
        chosen = decode(half, rows).argmax(-1)
        best = exact.amax(-1)
        lost = best - exact.gather(-1, chosen[:, None]).squeeze(-1)
        assert (lost / (best - exact.mean(-1))).max().item() < 0.02
        grow(rows)
        grow(same)
