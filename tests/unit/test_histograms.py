"""Observations, as they are counted, given away and read."""

from __future__ import annotations

from distilq.histograms import BOUNDS, Histogram, Observations, read


def kept(fields: dict[str, int]) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in fields.items()}


def test_a_value_is_in_the_bucket_of_the_next_bound() -> None:
    observations = Observations()
    for value in (0, 1, 2, 2.5, 4, 5_000):
        observations.observe("batch_rows", value)
    (found,) = read(kept(observations.take()))
    assert found.counts[:4] == (2, 1, 2, 0)
    assert found.counts[-1] == 1
    assert found.sum == 5_009.5
    assert len(found.counts) == len(BOUNDS["batch_rows"]) + 1


def test_labels_are_kept_apart_and_times_count() -> None:
    observations = Observations()
    observations.observe("queue_time", 0.3, "bulk", times=3)
    observations.observe("queue_time", 0.1, "normal")
    bulk, normal = read(kept(observations.take()))
    assert (bulk.name, bulk.label, sum(bulk.counts), round(bulk.sum, 6)) == (
        *("queue_time", "bulk", 3),
        0.9,
    )
    assert (normal.label, sum(normal.counts)) == ("normal", 1)


def test_what_is_taken_is_gone_until_it_is_given_back() -> None:
    observations = Observations()
    observations.observe("batch_rows", 1)
    taken = observations.take()
    assert observations.take() == {}
    observations.observe("batch_rows", 1)
    observations.give_back(taken)
    (found,) = read(kept(observations.take()))
    assert found.counts[0] == 2


def test_what_a_newer_worker_observes_is_left_out() -> None:
    assert read({b"new_name::0": b"1", b"batch_rows::sum": b"1000000"}) == [
        Histogram("batch_rows", "", (0,) * (len(BOUNDS["batch_rows"]) + 1), 1.0)
    ]
