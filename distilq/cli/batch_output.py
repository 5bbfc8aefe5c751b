"""The output of `distilq batch`: a row per line, and what a run before this one has left there."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from distilq.cli.errors import CannotRun
from distilq.client import Mapped, Result
from distilq.errors import DistilqError

from .batch_lines import Line


@contextmanager
def output(path: str) -> Iterator[Output]:
    """The file, or standard output for `-`.

    Raises CannotRun: it cannot be written, is another run's, or holds something else.
    """
    if path == "-":
        yield Output(path, sys.stdout.buffer)
        return
    try:
        file = Path(path).open("a+b", buffering=0)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise CannotRun(f"cannot write to {path}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun(f"{path} is written by another `distilq batch`") from None
        rows = Output(path, file)
        if file.seekable():
            rows.recover()
        yield rows


class Output:
    """Rows of JSON, each written at once: a kill leaves whole ones, and at most one torn."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        #: A byte per line: whether its row is there.
        self._there = bytearray()
        self.found = self.written = self.failed = 0

    def __contains__(self, number: int) -> bool:
        return number < len(self._there) and bool(self._there[number])

    def result(self, line: Line, result: Result) -> None:
        texts = [text for texts in result.texts for text in texts]
        row: dict[str, Any] = {"generated_text": texts[0]} if len(texts) == 1 else {}
        if not row:
            row = {"texts": result.texts if len(result.texts) > 1 else result.texts[0]}
        every = [each for sequences in result.sequences for each in sequences]
        if any(each.logprobs is not None or each.prompt_logprobs is not None for each in every):
            row["sequences"] = [each.model_dump(mode="json", exclude_none=True) for each in every]
        usage = result.job.usage.model_dump()
        self._write(line, {**row, "job_id": result.job.id, "usage": usage})

    def error(self, line: Line, error: DistilqError) -> None:
        self.failed += 1
        self._write(line, {"error": error.problem()})

    def mapped(self, line: Line, mapped: Mapped) -> None:
        if mapped.result is not None:
            self.result(line, mapped.result)
        elif mapped.error is not None:
            self.error(line, mapped.error)

    def _write(self, line: Line, rest: dict[str, Any]) -> None:
        named = {} if line.custom_id is None else {"custom_id": line.custom_id}
        data = _encoded({"line": line.number, **named, **rest}) + b"\n"
        try:
            while data:  # a disk that is nearly full takes less than all
                data = data[self._file.write(data) :]
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CannotRun(f"cannot write to {self._path}: {error.strerror}") from None
        self.written += 1

    def recover(self) -> None:
        """Learn which lines have their rows, and cut a row that was torn."""
        whole = 0
        with Path(self._path).open("rb") as rows:
            for raw in rows:
                if not raw.endswith(b"\n"):
                    break
                self._learn(raw)
                whole += len(raw)
        if whole < os.fstat(self._file.fileno()).st_size:
            self._file.truncate(whole)

    def _learn(self, raw: bytes) -> None:
        try:
            row = json.loads(raw)
            number, failed = int(row["line"]), "error" in row
        except (ValueError, KeyError, TypeError):
            raise CannotRun(
                f"{self._path} holds something else than rows of a batch: give another -o"
            ) from None
        if number >= len(self._there):
            self._there.extend(bytes(max(number + 1, 2 * len(self._there)) - len(self._there)))
        self._there[number] = 1
        self.found += 1
        self.failed += failed


def _encoded(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say and UTF-8 cannot
        return json.dumps(row).encode()
