"""One batch, worked at by whoever holds its lease: step by step, each of them safe to lose.

look through the input -> submit segments, a few ahead -> write those whose jobs have ended
-> make files of what is written. Who takes over finds in the batch what is done.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

from distilq.archive import Library
from distilq.batches import ERRORS, PLAN, Batch, BatchStatus, Counts, LineError, Part
from distilq.errors import OwnerFull, QueueFull, RateLimited, StoredFileNotFound, StoreFull
from distilq.files import File
from distilq.jobs import JobStatus
from distilq.owner import Owner

from ..auth import most_at_once, spend
from ..context import settings, store
from . import segments
from .lines import Asked
from .plan import SEGMENT_LINES, Unusable, halves, plan, total
from .rows import Row

#: Lines of a batch that are queued or running at once, so that it takes little of Redis' memory
#: and others' bulk gets its share. With 500 per segment four are under way.
AHEAD_LINES = 2_000

#: Seconds between two renewals of the lease within one step.
RENEW_S = 10.0

#: Most seconds between two tries to submit more where there was no room.
MOST_WAIT_S = 10

#: What became of lines that nobody runs any more, by the status in which the batch ends.
WORDS = {
    BatchStatus.CANCELLED: ("batch_cancelled", "was not run: the batch was cancelled"),
    BatchStatus.EXPIRED: ("batch_expired", "was not run within the completion window"),
    BatchStatus.FAILED: ("batch_failed", "was not run: the batch failed"),
}


class Work:
    """Works at one batch, within an application context in which its owner is the one who asks."""

    def __init__(self, batch: Batch, fence: int, library: Library) -> None:
        self.batch, self._fence = batch, fence
        self._library = library.owned_by(Owner(batch.head.owner, sees_all=not batch.head.owner))
        #: The status in which it is to end before all is done, once that is so.
        self._ends_as: BatchStatus | None = None
        self._canceled: set[int] = set()
        #: By the monotonic clock: until then there is no use in submitting more.
        self._full_until = 0.0

    def step(self) -> bool:
        """Do what can be done now; whether there is more to do later.

        Raises:
            Superseded: another process works at it now.
            StoreUnavailable, StorageUnavailable, QueueFull, …: try again later.
        """
        batch = self.batch
        self._note()
        try:
            if self._ends_as is None and batch.status is BatchStatus.VALIDATING:
                self._look_through()
            if self._ends_as is None and time.monotonic() >= self._full_until:
                self._submit_as_much_as_fits()
            self._collect()
            if self._ends_as is not None:
                self._write_what_was_not_run(self._ends_as)
        except Unusable as unusable:
            return self.fail(unusable.error)
        except StoredFileNotFound:
            return self.fail(LineError(code="file_not_found", message="the input file is gone"))
        if len(batch.written) < len(batch.plan):
            self._write({"counts": batch.counts.model_dump_json()})
            return True
        self._count(0, 0)
        self._end(self._ends_as or BatchStatus.COMPLETED)
        return False

    def let_go(self) -> None:
        """Leave it to the next process. Raises StoreUnavailable."""
        self._library.batches.release(self.batch.id, self._fence)

    def _note(self) -> None:
        """Renew the lease; learn whether it is time to end."""
        self._write({})
        if self._ends_as is None:
            if self.batch.status is BatchStatus.CANCELLING:
                self._ends_as = BatchStatus.CANCELLED
            elif time.time() >= self.batch.head.expires_at:
                self._ends_as = BatchStatus.EXPIRED

    def _look_through(self) -> None:
        batch, limits = self.batch, settings()
        blocks = self._library.storage.read(self._input())
        together = min(SEGMENT_LINES, most_at_once())
        batch.plan = plan(
            self._renewing(blocks), limits.max_body_bytes, limits.max_batch_lines, together
        )
        self._count(0, 0)
        self._write(
            {
                "plan": PLAN.dump_json(batch.plan).decode(),
                "counts": batch.counts.model_dump_json(),
                **_entered(BatchStatus.IN_PROGRESS),
            }
        )

    def _submit_as_much_as_fits(self) -> None:
        try:
            self._submit()
        except (QueueFull, OwnerFull, RateLimited, StoreFull) as full:
            # What runs is looked after meanwhile; once written, it leaves room.
            self._full_until = time.monotonic() + min(full.retry_after_s or 1, MOST_WAIT_S)

    def _submit(self) -> None:
        batch = self.batch
        ahead = sum(batch.plan[number].lines for number in batch.ids)
        for number, segment in enumerate(batch.plan):
            if number in batch.ids or number in batch.written:
                continue
            if ahead and ahead + segment.lines > AHEAD_LINES:
                return
            _leave_room()
            found = self._entries(number)
            asked = sum(isinstance(entry, Asked) for entry in found)
            spend(min(asked, most_at_once()))
            try:
                batch.ids[number] = segments.submit(batch, number, found)
            except OwnerFull as full:
                if batch.ids:
                    raise
                if segment.lines > 1:  # it may be more than its key may ever have
                    self._halve(number)
                    raise
                if full.members.get("current"):
                    raise
                words = f"is more than your key may ever have queued: {full.detail}"
                self._keep(number, segments.not_run(batch, found, full.code, words))
                continue
            self._write({f"ids:{number}": " ".join(batch.ids[number])})
            ahead += segment.lines

    def _halve(self, number: int) -> None:
        """Cut a segment in two, of which nothing has been submitted, nor of those behind it."""
        batch, segment = self.batch, self.batch.plan[number]
        blocks = self._library.storage.read(self._input(), segment.offset, segment.length)
        batch.plan[number : number + 1] = halves(segment, blocks, settings().max_body_bytes)
        self._write({"plan": PLAN.dump_json(batch.plan).decode()})

    def _collect(self) -> None:
        """Write the segments whose jobs have ended; stop the others if it is time to."""
        batch, done = self.batch, {True: 0, False: 0}
        for number, ids in list(batch.ids.items()):
            if self._ends_as is not None and number not in self._canceled:
                self._cancel(number)
            statuses = store().statuses(ids)
            ended = [status for status in statuses if status is None or status.final]
            if len(ended) == len(ids):
                self._write_segment(number)
                continue
            succeeded = ended.count(JobStatus.SUCCEEDED)
            no_requests = batch.plan[number].lines - len(ids)
            done[True] += succeeded
            done[False] += len(ended) - succeeded + no_requests
        self._count(done[True], done[False])

    def _write_segment(self, number: int) -> None:
        batch, ids = self.batch, self.batch.ids[number]
        found = self._entries(number)
        if self._ends_as is None:
            rows = segments.rows(batch, found, ids)
        else:
            rows = segments.rows_at_the_end(batch, found, ids, *WORDS[self._ends_as])
        self._keep(number, (row for row in rows if row is not None))
        store().forget(ids)  # their answers are in the storage now

    def _write_what_was_not_run(self, ends_as: BatchStatus) -> None:
        for number in range(len(self.batch.plan)):
            if number not in self.batch.ids and number not in self.batch.written:
                found = self._entries(number)
                self._keep(number, segments.not_run(self.batch, found, *WORDS[ends_as]))

    def _keep(self, number: int, rows: Iterator[Row]) -> None:
        batch = self.batch
        written = segments.write(self._library.storage, batch, number, rows)
        self._write({f"written:{number}": written.model_dump_json()}, drop=f"ids:{number}")
        batch.written[number] = written
        batch.ids.pop(number, None)

    def _cancel(self, number: int) -> None:
        ids = self.batch.ids[number]
        for job_id, status in zip(ids, store().statuses(ids), strict=True):
            if status is not None and not status.final:
                store().cancel(job_id)
        self._canceled.add(number)

    def _drop(self, number: int) -> None:
        """Stop a segment of which nothing will be written, and forget its answers."""
        self._cancel(number)
        store().forget(self.batch.ids[number])
        self._write({}, drop=f"ids:{number}")
        del self.batch.ids[number]

    def fail(self, error: LineError) -> bool:
        """End it at once; what is written stays. Raises what `step` does."""
        batch = self.batch
        batch.errors.append(error)
        self._ends_as = BatchStatus.FAILED
        for number in list(batch.ids):
            self._drop(number)
        self._count(0, total(batch.plan) - sum(each.lines for each in batch.written.values()))
        self._end(BatchStatus.FAILED)
        return False

    def _count(self, completed: int, failed: int) -> None:
        """So many lines have ended beside those that are written."""
        written = self.batch.written.values()
        self.batch.counts = Counts(
            total=total(self.batch.plan),
            completed=sum(each.completed for each in written) + completed,
            failed=sum(each.failed for each in written) + failed,
        )

    def _end(self, status: BatchStatus) -> None:
        batch = self.batch
        written = [batch.written[number] for number in sorted(batch.written)]
        fields = {
            "output_file_id": self._file("output", [each.output for each in written]),
            "error_file_id": self._file("error", [each.error for each in written]),
        }
        self._write(
            {
                **{name: file_id for name, file_id in fields.items() if file_id},
                "counts": batch.counts.model_dump_json(),
                "errors": ERRORS.dump_json(batch.errors).decode(),
                f"at:{BatchStatus.FINALIZING.value}": str(int(time.time())),
                **_entered(status),
            }
        )

    def _file(self, kind: str, parts: list[Part | None]) -> str:
        """The id of the file that these parts are; empty where there are none.

        By the batch's, so that there is one however often this is done.
        """
        there = [part for part in parts if part is not None]
        if not there:
            return ""
        digest = hashlib.blake2b(f"{self.batch.id} {kind}".encode(), digest_size=16).hexdigest()
        now = int(time.time())
        file = File(
            id=f"file-{digest}",
            filename=f"{self.batch.id}_{kind}.jsonl",
            purpose="batch_output",
            bytes=sum(part.bytes for part in there),
            created_at=now,
            expires_at=now + settings().file_ttl_s,
            parts=tuple(part.path for part in there),
        )
        return self._library.files.add(file).id

    def _entries(self, number: int) -> list[segments.Entry]:
        segment = self.batch.plan[number]
        return segments.entries(self._library.storage, self._input(), self.batch, segment)

    def _input(self) -> str:
        return self._library.files.get(self.batch.head.input_file_id).parts[0]

    def _renewing(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same; the lease holds however long it takes."""
        renewed = time.monotonic()
        for block in blocks:
            if time.monotonic() - renewed > RENEW_S:
                self._write({})
                renewed = time.monotonic()
            yield block

    def _write(self, fields: dict[str, str], drop: str = "") -> None:
        batch = self.batch
        batch.status = self._library.batches.write(batch.id, self._fence, fields, drop)


def _leave_room() -> None:
    """Half the queue is not for batches: however many there are, others find room in it.

    Raises:
        QueueFull: more than that is queued.
    """
    queue, most = store().queue(), settings()
    if queue.queued > most.max_queued_jobs / 2 or queue.queued_tokens > most.max_queued_tokens / 2:
        raise QueueFull("batches leave half of the queue to others", retry_after_s=1)


def _entered(status: BatchStatus) -> dict[str, str]:
    return {"status": status.value, f"at:{status.value}": str(int(time.time()))}
