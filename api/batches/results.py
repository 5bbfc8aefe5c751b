"""What a batch has answered so far, while it runs or later: rows from the storage and from jobs."""

from __future__ import annotations

import errno
import heapq
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from distilq.archive import Library
from distilq.batches import Part
from distilq.errors import StoredFileNotFound

from ..context import store
from . import segments
from .rows import HEAD_BYTES, done_ms, unstored

Order = Literal["input", "completion"]

#: Seconds between two looks at what has ended meanwhile, and after which silence is broken.
LOOK_S, HEARTBEAT_S = 1.0, 15.0

#: An empty line, which readers of JSON lines skip.
HEARTBEAT = b"\n"


class Live(NamedTuple):
    """A line of a segment that is under way; one that is no request has no job."""

    segment: int
    spot: segments.Spot
    job_id: str
    ended: bool


class Place(NamedTuple):
    """Where a row can be had, by when it was done: light, as there may be one per line."""

    done_ms: int
    line: int
    #: In the storage; empty for a row that is not written yet.
    path: str
    offset: int
    length: int


class Results:
    """The rows of one batch, each told once; read it within an application context."""

    def __init__(self, library: Library, batch_id: str, give_up: Callable[[], bool]) -> None:
        self._library, self._give_up = library, give_up
        self._batch = library.batches.get(batch_id)
        self._told: set[int] = set()
        #: Segments that have been told to the end.
        self._through: set[int] = set()
        #: Of segments that are under way.
        self._spots: dict[int, list[segments.Spot]] = {}

    def rows(self, order: Order, *, follow: bool) -> Iterator[bytes]:
        """Those that are known; with `follow`, on to the end of the batch.

        What comes first is empty if no row is known yet: then it is known that rows can be read.
        A row that is followed in the order of the input waits for those of the lines before it.
        Raises StoreUnavailable, StorageUnavailable, StoredFileNotFound; ConnectionResetError: no
        use in going on.
        """
        heard = time.monotonic()
        tell = self._tell_in_order if order == "input" else self._tell_as_done
        while not self._give_up():
            ended = self._batch.status.final or not follow
            for row in tell(gaps=ended):
                heard = time.monotonic()
                yield row
            if ended:
                return
            yield b""
            if time.monotonic() - heard > HEARTBEAT_S:
                heard = time.monotonic()
                yield HEARTBEAT
            time.sleep(LOOK_S)
            self._look_again()
        # The connection has to break: a clean end would say that these were all.
        raise ConnectionResetError(errno.ECONNRESET, "the server stops")

    def _look_again(self) -> None:
        self._batch = self._library.batches.get(self._batch.id)
        self._spots = {n: known for n, known in self._spots.items() if n in self._batch.ids}

    def _tell_in_order(self, *, gaps: bool) -> Iterator[bytes]:
        """Without `gaps`, up to the first line whose row is not known."""
        for number in self._untold():
            for live in self._live(number):
                row = self._row(live) if live.ended else b""
                if row:
                    yield from self._tell(live.spot.number, row)
                elif live.ended:
                    self._look_again()  # it has been written since
                    break
                elif not gaps:
                    return
            if number in self._batch.written:
                for line, row in heapq.merge(*map(self._stored, self._parts(number))):
                    yield from self._tell(line, row)
                self._through.add(number)
            elif not gaps:
                return

    def _tell_as_done(self, *, gaps: bool) -> Iterator[bytes]:
        """All that is known; there are always gaps in this order."""
        found = [each for n in self._untold() for each in self._live(n) if each.ended]
        live = {each.spot.number: each for each in found}
        places = [place for number in self._untold() for place in self._places(number)]
        missed = False
        for place in sorted([*places, *self._live_places(found)]):
            if place.line not in self._told:
                row = self._at(place) if place.path else self._row(live[place.line])
                missed |= not row
                yield from self._tell(place.line, row)
        self._through |= self._batch.written.keys()
        if missed:
            self._look_again()  # they have been written since
            yield from self._tell_as_done(gaps=gaps)

    def _tell(self, line: int, row: bytes) -> Iterator[bytes]:
        if row and line not in self._told:
            self._told.add(line)
            yield row

    def _untold(self) -> list[int]:
        """Numbers of the segments of which something may be known that has not been told."""
        return [n for n in range(len(self._batch.plan)) if n not in self._through]

    def _live(self, number: int) -> list[Live]:
        """The lines of a segment that is under way, but for those that have been told."""
        if number not in self._batch.ids:
            return []
        ids = self._batch.ids[number]
        try:
            spots = self._lines(number)
        except StoredFileNotFound:  # it has just been deleted: the batch is about to fail
            return []
        statuses = store().statuses(ids)
        if None in statuses:
            self._look_again()
            if number in self._batch.written:
                return []
        jobs, found = iter(zip(ids, statuses, strict=True)), []
        for spot in spots:
            job_id, status = next(jobs) if spot.asked else ("", None)
            ended = not job_id or (status is not None and status.final)
            found.append(Live(number, spot, job_id, ended))
        return [live for live in found if live.spot.number not in self._told]

    def _lines(self, number: int) -> list[segments.Spot]:
        if number not in self._spots:
            segment = self._batch.plan[number]
            storage, path = self._library.storage, self._input()
            self._spots[number] = segments.spots(storage, path, self._batch, segment)
        return self._spots[number]

    def _input(self) -> str:
        return self._library.files.get(self._batch.head.input_file_id).parts[0]

    def _row(self, live: Live) -> bytes:
        """Empty if its job has been forgotten since: it is in the storage then."""
        ids = [live.job_id] if live.job_id else []
        if ids and store().statuses(ids) == [None]:
            return b""
        storage, segment = self._library.storage, self._batch.plan[live.segment]
        entry = segments.entry_at(storage, self._input(), self._batch, segment, live.spot)
        row = next(segments.rows(self._batch, [entry], ids))
        return row.json if row else b""

    def _live_places(self, found: list[Live]) -> Iterator[Place]:
        """Lines that are no requests come first: nothing had to be done for them."""
        with_job = [live for live in found if live.job_id]
        yield from (Place(0, live.spot.number, "", 0, 0) for live in found if not live.job_id)
        jobs = segments.jobs([live.job_id for live in with_job])
        for live, job in zip(with_job, jobs, strict=True):
            yield Place(done_ms(job), live.spot.number, "", 0, 0)

    def _parts(self, number: int) -> list[Part]:
        written = self._batch.written.get(number)
        parts = (written.output, written.error) if written else ()
        return [part for part in parts if part is not None]

    def _stored(self, part: Part) -> Iterator[tuple[int, bytes]]:
        for line, _, _, row in unstored(self._library.storage.read(part.path)):
            yield line, row

    def _places(self, number: int) -> Iterator[Place]:
        for part in self._parts(number):
            for line, at_ms, offset, row in unstored(self._library.storage.read(part.path)):
                yield Place(at_ms, line, part.path, offset + HEAD_BYTES, len(row))

    def _at(self, place: Place) -> bytes:
        return b"".join(self._library.storage.read(place.path, place.offset, place.length))
