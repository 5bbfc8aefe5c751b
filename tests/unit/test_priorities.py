"""Which class is admitted, and who is paused: policy alone, without an engine."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from distilq.jobs import JobRequest, Priority
from distilq.parameters import Parameters
from tests.unit.fakes import CountingModel
from worker.lines import CLASSES, TURN
from worker.plan import plan_next
from worker.rows import ActiveJob, Row
from worker.scheduler import MOST_PAUSES, Scheduler
from worker.tokens import ByteTokenizer

INFO = CountingModel().info
INTERACTIVE, NORMAL, BULK = CLASSES


def job(
    priority: Priority, prompt: int = 4, new: int = 8, rows: int = 1, inputs: int = 1
) -> ActiveJob:
    asked = Parameters(max_new_tokens=new, num_return_sequences=rows, seed=1)
    request = JobRequest(inputs=("x" * prompt,) * inputs, parameters=asked, priority=priority)
    found = ActiveJob("key", request, submitted_at=0.0)
    while not found.planned:
        plan_next(found, ByteTokenizer(), INFO, capacity=1 << 20)
    return found


def scheduler(rows: int = 4, tokens: int = 4096) -> Scheduler:
    return Scheduler(max_rows=rows, max_batch_tokens=tokens, prefill_budget=128)


def admit(policy: Scheduler, *arrived: ActiveJob) -> list[Row]:
    for each in arrived:
        policy.add(each)
    admitted = []
    while found := policy.next():
        admitted.append(policy.admit(found))
    return admitted


def jobs_of(rows: list[Row]) -> list[ActiveJob]:
    return [row.prompt.job for row in rows]


def start(policy: Scheduler, rows: list[Row]) -> None:
    """Prefill them all and let them decode."""
    while chunks := policy.prefills.chunks():
        for chunk in chunks:
            policy.prefills.note(chunk)
    for row in rows:
        policy.start(row)


def one_by_one(policy: Scheduler, count: int) -> str:
    """The classes admitted when one place becomes free at a time, by their first letters."""
    letters = ""
    for _ in range(count):
        [row] = admit(policy)
        letters += row.prompt.job.request.priority.value[0]
        policy.release(row)
    return letters


def test_the_most_urgent_class_goes_first_and_the_older_job_within_it() -> None:
    policy = scheduler(rows=8)
    waiting = [job(each) for each in (BULK, NORMAL, INTERACTIVE, BULK, NORMAL, INTERACTIVE)]
    bulk, normal, urgent, bulk2, normal2, urgent2 = waiting
    order = [urgent, urgent2, normal, normal2, bulk, bulk2]
    assert jobs_of(admit(policy, *waiting)) == order


def test_every_eighth_row_goes_to_the_class_that_waits() -> None:
    policy = scheduler(rows=1)
    for _ in range(30):
        policy.add(job(INTERACTIVE))
        policy.add(job(BULK))
    assert one_by_one(policy, 24) == "iiiiiiib" * 3


def test_between_the_two_others_the_normal_class_does_not_starve() -> None:
    policy = scheduler(rows=1)
    for _ in range(100):
        for priority in CLASSES:
            policy.add(job(priority))
    drawn = one_by_one(policy, 10 * TURN + 1)
    assert drawn.startswith("iiiiiiibniiiiiibn")
    assert Counter(drawn) == {"i": 61, "n": 10, "b": 10}


def test_a_class_counts_from_when_it_begins_to_wait() -> None:
    policy = scheduler(rows=1)
    for _ in range(40):
        policy.add(job(INTERACTIVE))
    assert one_by_one(policy, 20) == "i" * 20
    gone = job(BULK)
    policy.add(gone)
    assert one_by_one(policy, 7) == "i" * 7
    policy.drop(gone)
    policy.add(job(BULK))
    assert one_by_one(policy, 8) == "i" * 7 + "b"


def test_a_job_that_does_not_fit_is_overtaken_by_a_more_urgent_one_only() -> None:
    policy = scheduler(rows=8, tokens=1024)
    first, big = job(NORMAL), job(NORMAL, prompt=900, new=100)
    assert jobs_of(admit(policy, first, big, job(NORMAL), job(BULK))) == [first]
    urgent = job(INTERACTIVE)
    assert jobs_of(admit(policy, urgent)) == [urgent]
    policy.release(urgent.rows[0])
    policy.release(first.rows[0])
    assert jobs_of(admit(policy)) == [big]


def test_a_turn_is_kept_for_a_big_bulk_job_until_it_fits() -> None:
    policy = scheduler(rows=4, tokens=1024)
    running = admit(policy, *(job(NORMAL) for _ in range(4)))
    big = job(BULK, prompt=900, new=100)
    policy.add(big)
    for _ in range(TURN - 1):
        policy.release(running.pop(0))
        running += admit(policy, job(NORMAL))
    late = job(NORMAL)
    policy.add(late)
    while running:
        policy.release(running.pop(0))
        assert jobs_of(admit(policy)) == ([] if running else [big])
    policy.release(big.rows[0])
    assert jobs_of(admit(policy)) == [late]


def test_the_youngest_bulk_row_is_paused_for_an_interactive_one() -> None:
    policy = scheduler(rows=4)
    normal, *bulk = (job(NORMAL), job(BULK), job(BULK), job(BULK))
    start(policy, admit(policy, normal, *bulk))
    bulk[2].rows[0].tokens += [1, 2, 3]
    behind, urgent = job(BULK), job(INTERACTIVE)
    assert jobs_of(admit(policy, behind, urgent)) == [urgent]
    [row] = bulk[2].rows
    assert (row.segment, row.ready, row.tokens, row.to_replay) == (None, False, [1, 2, 3], 3)
    assert (policy.paused, policy.rows) == (1, 4)
    policy.release(urgent.rows[0])
    assert admit(policy) == [row], "it was sent to the front of its line"


def test_paused_rows_come_back_in_the_order_of_their_age() -> None:
    policy = scheduler(rows=3)
    bulk = [job(BULK) for _ in range(3)]
    start(policy, admit(policy, *bulk))
    urgent = job(INTERACTIVE, rows=3)
    admit(policy, urgent)
    assert policy.paused == 3
    policy.drop(urgent)
    assert jobs_of(admit(policy)) == bulk


def test_a_paused_row_goes_before_rows_of_its_prompt_that_never_ran() -> None:
    policy = scheduler(rows=2)
    many, urgent = job(BULK, rows=4), job(INTERACTIVE)
    admit(policy, many)
    admit(policy, urgent)
    policy.release(urgent.rows[0])
    assert admit(policy) == [many.rows[1]]
    assert many.rows[1].pauses == 1


def test_nobody_is_paused_for_a_normal_job_nor_normal_ones_for_an_interactive() -> None:
    policy = scheduler(rows=2)
    admit(policy, job(BULK), job(BULK))
    assert admit(policy, job(NORMAL)) == []
    policy = scheduler(rows=2)
    admit(policy, job(NORMAL), job(INTERACTIVE))
    assert admit(policy, job(INTERACTIVE)) == []
    assert policy.paused == 0


def test_only_as_many_are_paused_as_make_room() -> None:
    policy = scheduler(rows=8, tokens=1024)
    bulk = [job(BULK, prompt=120) for _ in range(8)]
    start(policy, admit(policy, *bulk))
    assert policy.segments.used == 1024
    urgent = job(INTERACTIVE, prompt=300)
    assert jobs_of(admit(policy, urgent)) == [urgent]
    assert policy.paused == 4, "512 tokens are four of 128"
    assert [each.rows[0].pauses for each in bulk] == [0] * 4 + [1] * 4


def test_a_young_row_whose_place_does_not_help_is_left_alone() -> None:
    policy = scheduler(rows=8, tokens=1024)
    large, small = job(BULK, prompt=500), job(BULK, prompt=4)
    rest = [job(NORMAL, prompt=120) for _ in range(3)]
    admit(policy, large, small, *rest)
    urgent = job(INTERACTIVE, prompt=400)
    assert jobs_of(admit(policy, urgent)) == [urgent]
    assert (large.rows[0].pauses, small.rows[0].pauses) == (1, 0)


def test_nothing_is_paused_when_all_of_it_would_not_make_room() -> None:
    policy = scheduler(rows=4, tokens=1024)
    admit(policy, job(NORMAL, prompt=500), job(BULK, prompt=100), job(BULK, prompt=100))
    big = job(INTERACTIVE, prompt=700)
    assert admit(policy, big) == []
    assert policy.paused == 0


def test_a_row_is_paused_so_often_and_no_more() -> None:
    policy = scheduler(rows=1)
    bulk = job(BULK)
    for number in range(MOST_PAUSES):
        assert jobs_of(admit(policy, bulk) if number == 0 else admit(policy)) == [bulk]
        urgent = job(INTERACTIVE)
        assert jobs_of(admit(policy, urgent)) == [urgent]
        policy.release(urgent.rows[0])
    assert jobs_of(admit(policy)) == [bulk]
    assert admit(policy, job(INTERACTIVE)) == []
    assert policy.paused == MOST_PAUSES


def test_a_place_taken_in_turn_is_not_taken_back() -> None:
    policy = scheduler(rows=1)
    policy.add(job(BULK))
    for _ in range(9):
        policy.add(job(INTERACTIVE))
    assert one_by_one(policy, TURN - 1) == "i" * (TURN - 1)
    [row] = admit(policy)
    assert row.prompt.job.request.priority is BULK
    assert policy.next() is None
    assert policy.paused == 0


def test_an_heir_gives_way_to_a_more_urgent_job() -> None:
    policy = scheduler(rows=1)
    many = job(BULK, rows=3)
    start(policy, admit(policy, many))
    heir = policy.release(many.rows[0])
    assert heir is many.rows[1]
    normal = job(NORMAL)
    policy.add(normal)
    assert policy.release(many.rows[1]) is None
    assert jobs_of(admit(policy)) == [normal]
    assert many.prompts[0].prefilled == 0, "its keys went with its place"


def test_prefill_begins_anew_when_the_row_that_holds_it_is_paused() -> None:
    policy = scheduler(rows=2)
    long = job(BULK, prompt=300)
    admit(policy, long)
    for chunk in policy.prefills.chunks():
        policy.prefills.note(chunk)
    assert long.prompts[0].prefilled == 128
    urgent = job(INTERACTIVE, rows=2)
    admit(policy, urgent)
    assert {chunk.prompt for chunk in policy.prefills.chunks()} == set(urgent.prompts)
    policy.drop(urgent)
    admit(policy)
    assert policy.prefills.chunks()[0].start == 0


def test_prefill_begins_anew_when_the_rows_that_wait_for_it_stay() -> None:
    policy = scheduler(rows=2)
    long = job(BULK, prompt=300, rows=2)
    holder, sibling = admit(policy, long)
    for chunk in policy.prefills.chunks():
        policy.prefills.note(chunk)
    sibling.pauses = MOST_PAUSES
    admit(policy, job(INTERACTIVE, prompt=1))
    assert holder.segment is None
    [first, *_] = policy.prefills.chunks()
    assert (first.start, first.segment) == (0, sibling.place)


def test_an_interactive_prompt_is_prefilled_before_older_ones_which_still_end() -> None:
    policy = scheduler(rows=64, tokens=1 << 17)
    admit(policy, job(BULK, prompt=1000))
    begun: list[Priority] = []
    for _ in range(2 * TURN):
        admit(policy, job(INTERACTIVE, prompt=129))
        chunks = policy.prefills.chunks()
        begun.append(chunks[0].prompt.job.request.priority)
        for chunk in chunks:
            policy.prefills.note(chunk)
    assert begun == ([INTERACTIVE] * (TURN - 1) + [BULK]) * 2


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "admit", "admit", "prefill", "release", "drop"]),
        st.integers(0, 2),
        st.integers(0, 1000),
    ),
    max_size=80,
)


def held(policy: Scheduler) -> list[Row]:
    return [row for each in policy.running_jobs() for p in each.prompts for row in p.admitted]


def check(policy: Scheduler, jobs: list[ActiveJob], done: set[Row]) -> None:
    running = held(policy)
    assert policy.rows == len(running) <= policy.max_rows
    places = sorted((row.place for row in running), key=lambda place: place.offset)
    assert policy.segments.used == sum(place.size for place in places)
    for left, right in itertools.pairwise(places):
        assert left.offset + left.size <= right.offset
    for each in jobs:
        for row in each.rows:
            where = [row in row.prompt.waiting, row in row.prompt.admitted, row in done]
            assert sum(where) == 1, "a row is in one place only"
            assert row.pauses <= MOST_PAUSES
    waiting = [each for each in jobs if any(p.waiting for p in each.prompts)]
    assert policy.busy == bool(waiting or running)
    assert policy.waiting_jobs == sum(not any(p.admitted for p in each.prompts) for each in waiting)


def prefill(policy: Scheduler) -> None:
    for chunk in policy.prefills.chunks():
        policy.prefills.note(chunk)
    for row in held(policy):
        if row.prompt.is_prefilled and not row.ready:
            policy.start(row)


@settings(deadline=None)
@given(steps)
def test_whatever_happens_no_place_is_lost_and_every_row_ends(steps: list[Step]) -> None:
    policy = scheduler(rows=3, tokens=1024)
    jobs: list[ActiveJob] = []
    done: set[Row] = set()
    for what, level, number in steps:
        if what == "add":
            size = {"prompt": 1 + number % 500, "rows": 1 + number % 3, "inputs": 1 + number % 2}
            jobs.append(job(CLASSES[level], **size))
            policy.add(jobs[-1])
        elif what == "admit":
            admit(policy)
        elif what == "prefill":
            prefill(policy)
        elif what == "release" and policy.ready():
            row = policy.ready()[number % len(policy.ready())]
            policy.release(row)
            done.add(row)
        elif what == "drop" and jobs:
            policy.drop(jobs.pop(number % len(jobs)))
        check(policy, jobs, done)
    while policy.busy:
        admit(policy)
        assert held(policy), "somebody can always run"
        prefill(policy)
        for row in list(policy.ready()):
            policy.release(row)
            done.add(row)
        check(policy, jobs, done)
    assert policy.segments.used == 0
    assert all(row in done for each in jobs for row in each.rows)
