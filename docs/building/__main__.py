"""Build the documentation as a site; whatever is broken in it is an error.

    python -m docs.building site

Zensical makes it, of pages that are here, at the root, or made from the code.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import objects, pages, reference, settings

CONFIGURATION = Path(__file__).parent.parent / "zensical.toml"
PROGRAM = Path(sys.executable).with_name("zensical")


def gather(folder: Path) -> None:
    """Everything that the site is made of, as Markdown and pictures."""
    pages.copy(folder)
    made = {"api": reference, "api-objects": objects, "settings": settings}
    for name, page in made.items():
        (folder / f"{name}.md").write_text(page.markdown())


def build(target: Path) -> int:
    """Put the site into `target`; the exit status of Zensical."""
    with tempfile.TemporaryDirectory() as work:
        gather(Path(work) / "pages")
        shutil.copy(CONFIGURATION, work)
        done = subprocess.run([PROGRAM, "build", "--strict"], cwd=work)
        if done.returncode == 0:
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(Path(work) / "site", target)
    return done.returncode


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.building")
    parser.add_argument("target", type=Path, help="folder that is replaced by the site")
    target = parser.parse_args(arguments).target
    if not PROGRAM.exists():
        parser.error("this needs Zensical, which is there for Python 3.11 and newer")
    if target.exists() and not (target / "index.html").exists():
        parser.error(f"{target} is there, and is no site that could be replaced")
    return build(target)


if __name__ == "__main__":
    raise SystemExit(main())
