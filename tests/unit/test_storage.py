"""The storage over a directory; what is kept in it is in test_api_files.py, test_batches.py."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from distilq.errors import StorageUnavailable
from distilq.storage import Storage


@pytest.mark.parametrize("size", [3, 1_000_000])
def test_a_disk_that_is_full_is_storage_that_is_away(tmp_path: Path, size: int) -> None:
    place = tmp_path / "a"
    place.symlink_to("/dev/full")
    with pytest.raises(StorageUnavailable), Storage(f"file://{tmp_path}").write("a") as out:
        out.write(b"x" * size)
    assert not place.is_symlink()


def test_of_what_is_buffered_on_a_full_disk_nothing_is_left(tmp_path: Path) -> None:
    place = tmp_path / "a"
    place.symlink_to("/dev/full")
    with suppress(ZeroDivisionError), Storage(f"file://{tmp_path}").write("a") as out:
        out.write(b"x")
        raise ZeroDivisionError
    assert not place.is_symlink()
