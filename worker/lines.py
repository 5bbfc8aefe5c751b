"""Who waits, and whose turn it is: one line per class of jobs."""

from __future__ import annotations

from collections import OrderedDict

from distilq.jobs import Priority

from .rows import ActiveJob

#: The most urgent first.
CLASSES = (Priority.INTERACTIVE, Priority.NORMAL, Priority.BULK)

#: While a class waits, every eighth row that is admitted, at least, is its own: none starves, and
#: interactive jobs lose no more than an eighth of their places to each of the others.
TURN = 8


def urgency(job: ActiveJob) -> int:
    """0 for the most urgent class."""
    return CLASSES.index(job.request.priority)


class Lines:
    """Jobs with rows that have no place. Nothing here takes longer when more of them wait."""

    def __init__(self) -> None:
        self._lines: list[OrderedDict[ActiveJob, None]] = [OrderedDict() for _ in CLASSES]
        #: Rows of other classes admitted while a class waited, since it last had one.
        self._passed = [0] * len(CLASSES)

    def __bool__(self) -> bool:
        return any(self._lines)

    def all(self) -> list[ActiveJob]:
        # Each line is copied in one operation of C: threads that ask never see one change.
        return [job for line in self._lines for job in list(line)]

    def join(self, job: ActiveJob) -> None:
        self._lines[urgency(job)][job] = None

    def rejoin(self, job: ActiveJob) -> None:
        """Put a job in front of its line, whether it is in it or not."""
        self.join(job)
        self._lines[urgency(job)].move_to_end(job, last=False)

    def leave(self, job: ActiveJob) -> None:
        line = self._lines[urgency(job)]
        line.pop(job, None)
        if not line:
            self._passed[urgency(job)] = 0

    def first(self, level: Priority) -> ActiveJob | None:
        return next(iter(self._lines[CLASSES.index(level)]), None)

    def in_turn(self) -> ActiveJob | None:
        """Whose row is next: the most urgent, unless a class has been passed seven times.

        A turn is kept until it is used: a job that does not fit yet is the next to take a place.
        """
        waiting = [number for number, line in enumerate(self._lines) if line]
        due = [number for number in waiting if self._passed[number] >= TURN - 1]
        first = due[-1:] or waiting[:1]
        return next(iter(self._lines[first[0]])) if first else None

    def note_admitted(self, job: ActiveJob) -> None:
        """Count a row that got a place; to be called while its job is still in line."""
        for number, line in enumerate(self._lines):
            self._passed[number] += bool(line)
        self._passed[urgency(job)] = 0
