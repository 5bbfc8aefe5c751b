"""What is told of a job's life, from what is known of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from distilq import timeline
from distilq.jobs import Job, JobRequest, JobStatus, Metrics, Priority
from distilq.testing import MemoryStore

BEGAN = datetime(2024, 1, 1, tzinfo=timezone.utc)


def at(ms: int) -> datetime:
    return BEGAN + timedelta(milliseconds=ms)


def job(status: JobStatus, **changes: Any) -> Job:
    submitted = MemoryStore(clock=lambda: BEGAN).submit(
        JobRequest(inputs="a", priority=Priority.BULK)
    )
    return submitted.model_copy(update={"status": status, **changes})


def death(worker: str, started_ms: int, lapsed_ms: int) -> dict[str, Any]:
    began = int(BEGAN.timestamp() * 1000)
    return {"worker": worker, "started_ms": began + started_ms, "lapsed_ms": began + lapsed_ms}


def told(job: Job, worker: str | None, *deaths: dict[str, Any]) -> list[tuple[Any, ...]]:
    events = timeline.of(job, worker, deaths).events
    return [
        ((e.at - BEGAN) / timedelta(milliseconds=1), e.event, e.attempt, e.worker) for e in events
    ]


def test_a_job_that_waits_was_accepted_and_no_more() -> None:
    waiting = job(JobStatus.QUEUED)
    assert told(waiting, None) == [(0, "accepted", None, None)]
    assert timeline.of(waiting, None, []).events[0].detail == "bulk"


def test_a_job_that_was_lost_and_run_again_shows_both_workers() -> None:
    done = job(
        JobStatus.SUCCEEDED,
        started_at=at(400),
        completed_at=at(900),
        attempt=2,
        metrics=Metrics(time_to_first_token_ms=500.25),
    )
    assert told(done, "second", death("first", 100, 300)) == [
        (0, "accepted", None, None),
        (100, "claimed", 1, "first"),
        (300, "lost", 1, "first"),
        (400, "claimed", 2, "second"),
        (500.25, "first_token", 2, "second"),
        (900, "succeeded", 2, None),
    ]


def test_the_last_death_of_a_poisoned_job_is_told_once() -> None:
    problem = {"title": "The job's workers died too often"}
    end = {"completed_at": at(300), "attempt": 2, "started_at": at(200), "error": problem}
    dead = job(JobStatus.FAILED, **end)
    deaths = death("first", 50, 100), death("second", 200, 300)
    names = ["accepted", "claimed", "lost", "claimed", "lost", "failed"]
    assert [name for _, name, *_ in told(dead, "second", *deaths)] == names
    assert timeline.of(dead, "second", deaths).events[-1].detail == problem["title"]


def test_a_job_that_waits_for_its_second_worker_has_lost_one() -> None:
    waiting = job(JobStatus.QUEUED, attempt=1)
    names = [name for _, name, *_ in told(waiting, None, death("first", 50, 100))]
    assert names == ["accepted", "claimed", "lost"]


def test_a_death_since_the_job_was_read_is_left_out() -> None:
    running = job(JobStatus.RUNNING, started_at=at(200), attempt=1)
    deaths = death("first", 200, 300), death("second", 400, 500)
    names = [name for _, name, *_ in told(running, None, *deaths)]
    assert names == ["accepted", "claimed", "lost"]


def test_a_record_that_has_forgotten_its_worker_still_says_when() -> None:
    done = job(JobStatus.CANCELED, started_at=at(1), completed_at=at(2), attempt=1)
    assert told(done, None) == [
        (0, "accepted", None, None),
        (1, "claimed", 1, None),
        (2, "canceled", 1, None),
    ]


def test_the_first_token_never_comes_after_the_end() -> None:
    """Times of the record are whole milliseconds."""
    times = {"started_at": at(1), "completed_at": at(2), "attempt": 1}
    done = job(JobStatus.SUCCEEDED, **times, metrics=Metrics(time_to_first_token_ms=2.7))
    names = [name for _, name, *_ in told(done, "w")]
    assert names == ["accepted", "claimed", "first_token", "succeeded"]
