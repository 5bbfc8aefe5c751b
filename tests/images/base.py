"""The base of the images where none can be fetched: Debian with its Python, by debootstrap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.images.building import Builder

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "worker/models/bundled"
NAME = "localhost/distilq-base"
#: What python:3.12-slim has beside Debian's minimum.
PACKAGES = "python3-venv,python3-pip,python-is-python3,ca-certificates"


def make(builder: Builder, suite: str) -> str:
    """The name of an image that stands for python:3.12-slim; one that is there is taken."""
    if builder.call("images", "--quiet", "--filter", f"reference={NAME}"):
        return NAME
    print(f"making a base of Debian's {suite}", file=sys.stderr)
    root, archive = builder.folder / "base", builder.folder / "base.tar"
    made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(root)]
    with (builder.folder / "base.log").open("wb") as log:
        subprocess.run(made, stdout=log, stderr=log, check=True)
    # An archive, as buildah would not take the devices of a directory as they are.
    packed = ["tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*", "-cf", str(archive)]
    subprocess.run([*packed, "."], check=True)
    container = builder.call("from", "scratch")
    builder.call("add", "--quiet", container, str(archive), "/")
    builder.call("commit", "--quiet", container, NAME)
    builder.call("rm", container)
    archive.unlink()
    return NAME
