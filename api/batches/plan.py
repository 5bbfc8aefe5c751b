"""A first look at a batch's whole input: how many lines there are, and where to cut them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from distilq.batches import LineError, Segment

from .lines import Line, custom_id, split

#: A segment has no more lines than this, and ends with the line that brings it to so many bytes:
#: it is what is held in memory at once, and what is done again after a crash.
SEGMENT_LINES, SEGMENT_BYTES = 500, 1_048_576


class Unusable(Exception):
    """Nothing of the input can be run."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.error = LineError(code=code, message=message, line=line)


def plan(blocks: Iterable[bytes], max_line: int, max_lines: int, together: int) -> list[Segment]:
    """The segments of an input, of at most `together` lines each.

    Raises:
        Unusable: it has no lines, or too many.
    """
    found = list(_segments(_checked(split(blocks, max_line), max_lines), together))
    if not found:
        raise Unusable("empty_file", "the file has no lines")
    return found


def halves(segment: Segment, blocks: Iterable[bytes], max_line: int) -> list[Segment]:
    """A segment of several lines, which its blocks hold, as two."""
    cut = split(blocks, max_line, segment.first, segment.offset)
    lines = [line for line in cut if not line.blank]
    middle = len(lines) // 2
    return [
        _segment(part, [line.number for line in part if line.number in segment.twice])
        for part in (lines[:middle], lines[middle:])
    ]


def total(segments: Iterable[Segment]) -> int:
    """Lines that are not blank."""
    return sum(segment.lines for segment in segments)


def _checked(lines: Iterable[Line], max_lines: int) -> Iterator[Line]:
    seen = 0
    for line in lines:
        if line.blank:
            continue
        seen += 1
        if seen > max_lines:
            raise Unusable("too_many_lines", f"the file has more than {max_lines} lines", seen)
        yield line


def _segments(lines: Iterable[Line], together: int) -> Iterator[Segment]:
    ids: set[bytes] = set()
    part: list[Line] = []
    twice: list[int] = []
    for line in lines:
        part.append(Line(line.number, line.offset, line.length, None))
        if _is_known(line, ids):
            twice.append(line.number)
        end = line.offset + line.length
        if len(part) >= together or end - part[0].offset >= SEGMENT_BYTES:
            yield _segment(part, twice)
            part, twice = [], []
    if part:
        yield _segment(part, twice)


def _is_known(line: Line, ids: set[bytes]) -> bool:
    known = None if line.raw is None else custom_id(line.raw)
    if known is None:
        return False
    digest = blake2b(known.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if digest in ids:
        return True
    ids.add(digest)
    return False


def _segment(lines: list[Line], twice: list[int]) -> Segment:
    first, last = lines[0], lines[-1]
    return Segment(
        offset=first.offset,
        length=last.offset + last.length - first.offset,
        first=first.number,
        lines=len(lines),
        twice=tuple(twice),
    )
