"""Where the Redis of a running `distilq up` is: a file in its data directory.

Its port is another at each start, so other commands cannot guess it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "redis-url"


@contextmanager
def written_address(data_dir: Path, url: str) -> Iterator[None]:
    """The file, readable for this user alone, for as long as the Redis is there."""
    path = data_dir / NAME
    path.unlink(missing_ok=True)  # that of one that was killed
    # Made anew: the mode of a file that is there would stay, and a link would be followed.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(url + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_address(data_dir: Path) -> str | None:
    """None where no `distilq up` runs."""
    try:
        return (data_dir / NAME).read_text().strip()
    except FileNotFoundError:
        return None
