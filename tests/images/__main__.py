"""`make images-check`: builds both images without Docker and runs them, as docker-compose.yml says.

WHEELS=DIR names a directory of wheels that are taken before those of an index: a torch for CPUs,
say. ARGS="--folder DIR" keeps images and logs there, and begins with those that are there. Nothing
is installed on this machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.images import base
from tests.images.building import Builder
from tests.images.checks import check_files, check_running
from tests.images.compose import PREPARED, Prepared

#: What has to be on PATH, and the Debian package that brings it.
NEEDED = {
    **{"buildah": "buildah", "debootstrap": "debootstrap", "redis-server": "redis-server"},
    **{"prometheus": "prometheus", "unshare": "util-linux", "nsenter": "util-linux"},
    "ip": "iproute2",
}


def main() -> int:
    asked = _arguments()
    if (state := os.environ.get(PREPARED)) is not None:
        check_running(Prepared.read(Path(state)))
        return 0
    _refuse_without(NEEDED)
    folder: Path = asked.folder or Path(tempfile.mkdtemp(prefix="distilq-images-"))
    print(f"everything is in {folder}", file=sys.stderr)
    builder = Builder(folder, asked.wheels)
    try:
        prepared = _build(builder, asked)
        check_files(prepared)
        return _in_a_network_of_its_own(prepared)
    finally:
        if asked.folder is None:
            builder.remove()
            shutil.rmtree(folder)


def _build(builder: Builder, asked: argparse.Namespace) -> Prepared:
    name = base.make(builder, asked.suite)
    api, worker = (builder.build(target, name, asked.model) for target in ("api", "worker"))
    prepared = Prepared(builder.folder / "state", api, worker)
    shutil.rmtree(prepared.folder, ignore_errors=True)
    prepared.write()
    return prepared


def _in_a_network_of_its_own(prepared: Prepared) -> int:
    """Its loopback has every port free, and nothing that is started reaches anything else."""
    again = f'ip link set lo up && exec "{sys.executable}" -m tests.images'
    command = ["unshare", "--net", "sh", "-c", again]
    return subprocess.run(command, env=os.environ | {PREPARED: str(prepared.folder)}).returncode


def _refuse_without(programs: dict[str, str]) -> None:
    if os.geteuid() != 0:
        sys.exit("images-check has to be root: it makes file systems and enters them")
    missing = sorted({package for name, package in programs.items() if not shutil.which(name)})
    if missing:
        sys.exit(f"images-check needs Debian's {', '.join(missing)}: apt-get install them")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make images-check", description=__doc__)
    parser.add_argument("--wheels", type=Path, help="a directory")
    parser.add_argument("--model", type=Path, default=base.BUNDLED, help="is baked in")
    parser.add_argument("--suite", default="bookworm", help="of Debian, for the base")
    parser.add_argument("--folder", type=Path, help="where all is kept; made new otherwise")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
