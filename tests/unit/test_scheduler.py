from __future__ import annotations

import itertools
import random

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from tests.unit.fakes import CountingModel
from worker.plan import plan_next
from worker.prefill import CHUNK, PER_ROW
from worker.rows import ActiveJob, Row, Segment
from worker.scheduler import Scheduler
from worker.segments import Segments
from worker.tokens import ByteTokenizer

INFO = CountingModel().info


def job(key: str, prompt: int = 4, new: int = 8, rows: int = 1, inputs: int = 1) -> ActiveJob:
    asked = Parameters(max_new_tokens=new, num_return_sequences=rows, seed=1)
    request = JobRequest(inputs=("x" * prompt,) * inputs, parameters=asked)
    found = ActiveJob(key, request, submitted_at=0.0)
    while not found.planned:
        plan_next(found, ByteTokenizer(), INFO, capacity=1 << 20)
    return found


def scheduler(rows: int = 4, tokens: int = 1024, budget: int = 128) -> Scheduler:
    return Scheduler(max_rows=rows, max_batch_tokens=tokens, prefill_budget=budget)


def admit(policy: Scheduler) -> list[Row]:
    """Every row that can be admitted now."""
    admitted = []
    while found := policy.next():
        admitted.append(policy.admit(found))
    return admitted


def test_segments_never_overlap_and_all_come_back() -> None:
    draw = random.Random(1)
    segments = Segments(2048)
    held: list[Segment] = []
    for _ in range(2000):
        if held and draw.random() < 0.5:
            segments.give_back(held.pop(draw.randrange(len(held))))
        elif segment := segments.take(draw.randint(1, 500)):
            held.append(segment)
        taken = sorted(held, key=lambda each: each.offset)
        for left, right in itertools.pairwise(taken):
            assert left.offset + left.size <= right.offset
        assert segments.used == sum(each.size for each in held)
    for segment in held:
        segments.give_back(segment)
    assert segments.take(2048) == Segment(0, 2048)


def test_a_segment_larger_than_the_cache_is_never_given() -> None:
    assert Segments(1000).take(1001) is None
    assert Segments(1000).take(1000) == Segment(0, 1000)


def test_rows_are_admitted_in_the_order_of_arrival() -> None:
    policy = scheduler(rows=2)
    first, second = job("first", rows=3), job("second")
    policy.add(first)
    policy.add(second)
    assert [(row.prompt.job, row.sequence) for row in admit(policy)] == [(first, 0), (first, 1)]
    policy.release(first.rows[0])
    policy.release(first.rows[1])
    assert admit(policy) == [first.rows[2], second.rows[0]]


def test_a_big_job_is_not_overtaken_by_small_ones_behind_it() -> None:
    policy = scheduler(rows=8, tokens=1024)
    small, big = job("small"), job("big", prompt=900, new=100)
    for each in (small, big):
        policy.add(each)
    [running] = admit(policy)
    policy.add(job("behind"))
    assert running.prompt.job is small
    assert policy.next() is None, "nothing behind the big one may be admitted"
    policy.release(running)
    assert policy.next() is big


def test_a_prompt_is_prefilled_in_chunks_within_the_budget() -> None:
    policy = scheduler(budget=100)
    long = job("long", prompt=200)
    policy.add(long)
    admit(policy)
    seen = []
    while chunks := policy.prefills.chunks():
        assert sum(chunk.stop - chunk.start for chunk in chunks) <= 100
        for chunk in chunks:
            seen.append((chunk.start, chunk.stop))
            policy.prefills.note(chunk)
    cuts = [*range(0, 199, CHUNK), 199]
    assert seen == list(itertools.pairwise(cuts))


def test_a_long_prompt_is_prefilled_little_by_little_beside_rows_that_decode() -> None:
    policy = scheduler(budget=512, rows=64, tokens=1 << 16)
    for name, prompt in (("running", 1), ("long", 400)):
        policy.add(job(name, prompt=prompt))
    running, long = admit(policy)
    policy.start(running)
    chunks = policy.chunks()
    assert [(chunk.prompt, chunk.start, chunk.stop) for chunk in chunks] == [
        (long.prompt, 0, CHUNK)
    ]
    policy.release(running)
    assert sum(chunk.stop - chunk.start for chunk in policy.chunks()) == 399


def test_more_rows_allow_more_prefill_beside_them() -> None:
    policy = scheduler(budget=512, rows=64, tokens=1 << 16)
    for number in range(40):
        policy.add(job(str(number), prompt=1))
    for row in admit(policy):
        policy.start(row)
    policy.add(job("long", prompt=400))
    admit(policy)
    assert (
        sum(chunk.stop - chunk.start for chunk in policy.chunks()) == 41 * PER_ROW // CHUNK * CHUNK
    )


def test_every_waiting_prompt_allows_a_chunk_so_that_short_ones_start_at_once() -> None:
    policy = scheduler(budget=512, rows=64, tokens=1 << 16)
    policy.add(job("running", prompt=1))
    [running] = admit(policy)
    policy.start(running)
    for number in range(20):
        policy.add(job(str(number), prompt=CHUNK + 1))
    rows = admit(policy)
    assert [chunk.prompt for chunk in policy.chunks()] == [row.prompt for row in rows]


def test_where_a_prompt_is_cut_does_not_depend_on_its_neighbours() -> None:
    policy = scheduler(budget=256)
    others = [job(str(n), prompt=30 + n) for n in range(3)]
    long = job("long", prompt=300)
    for each in (*others, long):
        policy.add(each)
    admit(policy)
    while chunks := policy.prefills.chunks():
        for chunk in chunks:
            assert chunk.start % CHUNK == 0
            policy.prefills.note(chunk)


def test_the_next_row_of_a_prompt_inherits_the_segment() -> None:
    policy = scheduler(rows=1)
    pair = job("pair", rows=2)
    policy.add(pair)
    [row] = admit(policy)
    for chunk in policy.prefills.chunks():
        policy.prefills.note(chunk)
    policy.start(row)
    heir = policy.release(row)
    assert heir is pair.rows[1]
    assert heir.ready
    assert heir.place == row.place
    assert policy.next() is None


def test_rows_are_decoded_in_the_order_of_their_segments() -> None:
    policy = scheduler(rows=4)
    jobs = [job(str(n), prompt=1) for n in range(4)]
    for each in jobs:
        policy.add(each)
        for row in admit(policy):
            policy.start(row)
    policy.release(jobs[0].rows[0])
    late = job("late", prompt=1)
    policy.add(late)
    for row in admit(policy):
        policy.start(row)
    assert policy.ready()[0] is late.rows[0], "it took the place that became free"
    offsets = [row.place.offset for row in policy.ready()]
    assert offsets == sorted(offsets)


def test_the_list_of_rows_is_the_same_object_until_it_changes() -> None:
    policy = scheduler()
    alone = job("alone", prompt=1)
    policy.add(alone)
    [row] = admit(policy)
    policy.start(row)
    before = policy.ready()
    assert policy.ready() is before
    policy.release(row)
    assert policy.ready() is not before


def test_a_dropped_job_leaves_nothing_behind() -> None:
    policy = scheduler(rows=2)
    many = job("many", prompt=100, rows=5, inputs=2)
    policy.add(many)
    admit(policy)
    policy.drop(many)
    assert not policy.busy
    assert policy.segments.used == 0
    assert policy.prefills.chunks() == []
