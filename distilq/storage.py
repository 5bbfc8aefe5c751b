"""Where the bytes of files lie: a directory, or whatever else fsspec has a URL for (S3, say)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import BinaryIO, ParamSpec, Protocol, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileOpener

from distilq.errors import DistilqError, StorageUnavailable, StoredFileNotFound

log = logging.getLogger("distilq.storage")

P = ParamSpec("P")
R = TypeVar("R")

#: Bytes read at once, and held per file that is read; fsspec's own for S3 is 50 MB.
BLOCK_BYTES = 262_144


def reaches_storage(method: Callable[P, R]) -> Callable[P, R]:
    """A method that raises StorageUnavailable and StoredFileNotFound rather than others' errors."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except DistilqError:
            raise
        except FileNotFoundError:
            raise StoredFileNotFound("its content is gone") from None
        except Exception as error:  # every file system has errors of its own, botocore's for one
            log.warning("the storage: %r", error)
            raise StorageUnavailable from error

    return call


class Writer(Protocol):
    """What is written to the storage goes through here."""

    def write(self, data: bytes, /) -> int:
        """Raises StorageUnavailable: no place for it, or no way to it."""


class _Writer:
    """The `Writer` of a file of fsspec."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @reaches_storage
    def write(self, data: bytes) -> int:
        return self._file.write(data)


class Storage:
    """Objects by path under one URL. A path is written once, by one writer, and never changed."""

    def __init__(self, url: str) -> None:
        self._fs, root = fsspec.url_to_fs(url)
        self._root = str(root).rstrip("/")

    @classmethod
    def of(cls, url: str, data_dir: Path) -> Storage:
        """The storage at `url`; without one, `files` in the data directory."""
        return cls(url or f"file://{data_dir.absolute()}/files")

    @contextmanager
    def write(self, path: str) -> Iterator[Writer]:
        """A writer of what is at `path` once this ends, durably; nothing is there if it raises.

        Raises:
            StorageUnavailable: no place for it, or no way to it.
        """
        file = self._open(path)
        try:
            yield _Writer(file)
            self._close(file)
        except BaseException:
            self._abandon(file, path)
            raise

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` on, as many as `length`, in blocks.

        Raises:
            StoredFileNotFound: there is nothing at this path.
            StorageUnavailable: no way to it.
        """
        file = self._open_to_read(path, start)
        try:
            while block := self._block(file, BLOCK_BYTES if length is None else length):
                length = None if length is None else length - len(block)
                yield block
        finally:
            file.close()

    @reaches_storage
    def delete(self, path: str) -> None:
        """Forget what is at `path`; nothing there is no error."""
        try:
            self._fs.rm(self._full(path))
        except FileNotFoundError:
            return

    @reaches_storage
    def _open(self, path: str) -> BinaryIO:
        full = self._full(path)
        self._fs.makedirs(full.rpartition("/")[0], exist_ok=True)
        file: BinaryIO = self._fs.open(full, "wb")
        return file

    @reaches_storage
    def _close(self, file: BinaryIO) -> None:
        if isinstance(file, LocalFileOpener):
            file.flush()
            os.fsync(file.fileno())
        file.close()

    def _abandon(self, file: BinaryIO, path: str) -> None:
        try:
            with suppress(OSError):  # a full disk takes what is buffered now no more than before
                file.close()
            self.delete(path)
        except Exception as error:  # what led here is the error to tell of
            log.warning("%s is left behind: %r", path, error)

    @reaches_storage
    def _open_to_read(self, path: str, start: int) -> BinaryIO:
        file: BinaryIO = self._fs.open(self._full(path), "rb", block_size=BLOCK_BYTES)
        file.seek(start)
        return file

    @reaches_storage
    def _block(self, file: BinaryIO, most: int) -> bytes:
        return file.read(min(most, BLOCK_BYTES))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"
