"""What files and batches are kept in, in memory and in Redis, over one set of tests."""

from __future__ import annotations

import time
from typing import Any

import pytest

from distilq import batches as module
from distilq.batches import Batches, BatchStatus, BatchStore, Head, Superseded
from distilq.errors import (
    BatchNotFound,
    IdempotencyKeyReused,
    InvalidParameters,
    StoredFileNotFound,
)
from distilq.files import File, Files, FileStore
from distilq.owner import EVERYBODY, Owner
from distilq.testing_library import MemoryBatches, MemoryFiles

MODEL = "bundled"
ANNA, BEN = Owner("anna"), Owner("ben")
NOW = int(time.time())


@pytest.fixture(params=["memory", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def files(kind: str, request: pytest.FixtureRequest) -> Files:
    if kind == "memory":
        return MemoryFiles()
    return FileStore(request.getfixturevalue("redis_client"))


@pytest.fixture
def batches(kind: str, request: pytest.FixtureRequest) -> Batches:
    if kind == "memory":
        return MemoryBatches()
    return BatchStore(request.getfixturevalue("redis_client"), MODEL)


def file(number: int, **fields: Any) -> File:
    known = {
        "id": f"file-{number}",
        "filename": "in.jsonl",
        "purpose": "batch",
        "bytes": 3,
        "created_at": NOW + number,
        "expires_at": NOW + 100_000,
        "parts": ("a",),
    }
    return File.model_validate(known | fields)


def head(number: int, **fields: Any) -> Head:
    known = {
        "id": f"batch_{number}",
        "fingerprint": "f",
        "endpoint": "/v1/jobs",
        "input_file_id": "file-1",
        "completion_window": "24h",
        "created_at": NOW + number,
        "expires_at": NOW + 100_000,
        "known_until": NOW + 200_000,
    }
    return Head.model_validate(known | fields)


def test_a_file_belongs_to_who_adds_it(files: Files) -> None:
    added = files.owned_by(ANNA).add(file(1))
    assert added.owner == "anna"
    assert files.owned_by(ANNA).get("file-1") == added
    assert files.owned_by(EVERYBODY).get("file-1") == added
    for act in (files.owned_by(BEN).get, files.owned_by(BEN).drop):
        with pytest.raises(StoredFileNotFound):
            act("file-1")


def test_files_come_newest_first_from_behind_one(files: Files) -> None:
    mine = files.owned_by(ANNA)
    for number in (2, 1, 3):
        mine.add(file(number))
    files.owned_by(BEN).add(file(4))
    assert ([f.id for f in mine.page(2, None)[0]], mine.page(2, None)[1]) == (
        ["file-3", "file-2"],
        True,
    )
    found, more = mine.page(2, "file-2")
    assert ([f.id for f in found], more) == (["file-1"], False)
    assert len(files.page(10, None)[0]) == 4


def test_a_page_goes_on_behind_a_file_that_was_dropped(files: Files) -> None:
    mine = files.owned_by(ANNA)
    for number in range(6):
        mine.add(file(number, created_at=NOW + number // 3))
    for dropped in ("file-4", "file-3", "file-1"):
        mine.drop(dropped)
    assert [f.id for f in mine.page(10, "file-4")[0]] == ["file-2", "file-0"]
    assert [f.id for f in mine.page(10, "file-1")[0]] == ["file-0"]


def test_a_page_behind_what_never_was_is_refused(files: Files, batches: Batches) -> None:
    files.add(file(1))
    batches.create(head(1))
    for page in (files.page, batches.page):
        with pytest.raises(InvalidParameters) as refused:
            page(10, "nothing")
        assert refused.value.errors[0]["parameter"] == "after"


def test_a_page_of_one_purpose_is_as_full_as_another(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distilq.files.LOOKED_AT_ONCE", 2)
    for number in range(9):
        files.add(file(number, purpose="batch_output" if number < 3 else "batch"))
    found, more = files.page(2, None, "batch_output")
    assert ([f.id for f in found], more) == (["file-2", "file-1"], True)
    found, more = files.page(2, "file-1", "batch_output")
    assert ([f.id for f in found], more) == (["file-0"], False)


def test_a_file_that_is_dropped_is_gone(files: Files) -> None:
    files.add(file(1))
    assert files.drop("file-1").parts == ("a",)
    assert files.page(10, None) == ([], False)
    for act in (files.get, files.drop):
        with pytest.raises(StoredFileNotFound):
            act("file-1")


def test_a_file_whose_time_is_over_is_not_seen_but_can_be_dropped(files: Files) -> None:
    files.owned_by(ANNA).add(file(1, expires_at=NOW - 1))
    files.add(file(2))
    with pytest.raises(StoredFileNotFound):
        files.get("file-1")
    assert [f.id for f in files.expired(10)] == ["file-1"]
    files.drop("file-1")
    assert files.expired(10) == []


def test_a_batch_belongs_to_who_creates_it(batches: Batches) -> None:
    mine = batches.owned_by(ANNA)
    assert mine.create(head(1))
    assert mine.get("batch_1").head.owner == "anna"
    assert mine.get("batch_1").status is BatchStatus.VALIDATING
    assert batches.owned_by(EVERYBODY).get("batch_1").id == "batch_1"
    for act in (batches.owned_by(BEN).get, batches.owned_by(BEN).cancel):
        with pytest.raises(BatchNotFound):
            act("batch_1")
    assert batches.owned_by(BEN).page(10, None) == ([], False)


def test_batches_come_newest_first_from_behind_one(batches: Batches) -> None:
    for number in (2, 1, 3):
        batches.create(head(number))
    first, more = batches.page(2, None)
    assert ([b.id for b in first], more) == (["batch_3", "batch_2"], True)
    rest, more = batches.page(2, "batch_2")
    assert ([b.id for b in rest], more) == (["batch_1"], False)


def test_a_batch_is_created_once(batches: Batches) -> None:
    assert batches.create(head(1))
    assert not batches.create(head(1))
    with pytest.raises(IdempotencyKeyReused):
        batches.create(head(1, fingerprint="g"))


def test_one_works_at_a_batch_at_a_time(batches: Batches) -> None:
    batches.owned_by(ANNA).create(head(1))
    claimed = batches.claim()
    assert claimed is not None
    batch, fence = claimed
    assert (batch.id, batch.head.owner) == ("batch_1", "anna")
    assert batches.claim() is None
    assert batches.write(batch.id, fence) is BatchStatus.VALIDATING
    batches.release(batch.id, fence)
    again = batches.claim()
    assert again is not None
    assert again[1] == fence + 1
    with pytest.raises(Superseded):
        batches.write(batch.id, fence, {"status": "completed"})
    batches.release(batch.id, fence)
    assert batches.claim() is None


def test_what_is_written_is_read(batches: Batches) -> None:
    batches.create(head(1))
    assert batches.claim()
    fields = {
        "status": "in_progress",
        "at:in_progress": "5",
        "counts": '{"total": 3}',
        "plan": '[{"offset": 0, "length": 2, "first": 1, "lines": 3}]',
        "ids:0": "a b",
    }
    assert batches.write("batch_1", 1, fields) is BatchStatus.IN_PROGRESS
    batch = batches.get("batch_1")
    assert batch.times == {BatchStatus.IN_PROGRESS: 5}
    assert (batch.counts.total, batch.plan[0].lines, batch.ids) == (3, 3, {0: ["a", "b"]})
    batches.write("batch_1", 1, {"output_file_id": "file-9"}, drop="ids:0")
    batch = batches.get("batch_1")
    assert (batch.ids, batch.output_file_id) == ({}, "file-9")


def test_a_batch_that_ends_is_not_taken_up_again(batches: Batches) -> None:
    batches.create(head(1))
    assert batches.claim()
    assert batches.write("batch_1", 1, {"status": "completed"}) is BatchStatus.COMPLETED
    assert batches.claim() is None
    assert batches.cancel("batch_1").status is BatchStatus.COMPLETED


def test_who_asks_for_the_end_is_not_overwritten(batches: Batches) -> None:
    batches.create(head(1))
    assert batches.claim()
    canceled = batches.cancel("batch_1")
    assert canceled.status is BatchStatus.CANCELLING
    assert BatchStatus.CANCELLING in canceled.times
    assert batches.write("batch_1", 1, {"status": "in_progress"}) is BatchStatus.CANCELLING
    assert batches.write("batch_1", 1, {"status": "cancelled"}) is BatchStatus.CANCELLED


def test_the_oldest_is_taken_up_first(batches: Batches) -> None:
    for number in (1, 2):
        batches.create(head(number))
    found = [batches.claim(), batches.claim()]
    assert [each[0].id for each in found if each] == ["batch_1", "batch_2"]


def test_one_that_is_left_waits_behind_the_others(batches: Batches) -> None:
    for number in (1, 2):
        batches.create(head(number))
    created, first = time.time(), batches.claim()
    assert first is not None
    while time.time() < created + 0.002:  # their places are in ms
        pass
    batches.release(first[0].id, first[1])
    assert [found[0].id for found in (batches.claim(), batches.claim()) if found] == [
        "batch_2",
        "batch_1",
    ]


def test_a_lease_that_is_not_renewed_ends(
    redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_S", 0)
    batches = BatchStore(redis_client, MODEL)
    batches.create(head(1))
    assert batches.claim()
    again = batches.claim()
    assert again is not None
    assert again[1] == 2


def test_batches_that_are_known_no_more_leave_the_index(redis_client: Any) -> None:
    batches = BatchStore(redis_client, MODEL)
    batches.create(head(1, known_until=NOW - 1))
    batches.create(head(2))
    assert [batch.id for batch in batches.page(10, None)[0]] == ["batch_2"]
    claimed = batches.claim() or batches.claim()
    assert claimed is not None
    assert claimed[0].id == "batch_2"
    batches.create(head(3))
    assert redis_client.zcard("distilq:batches") == 2
