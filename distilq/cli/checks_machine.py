"""What `distilq doctor` finds on this machine: programs, model, disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from distilq.cli.checks import Check
from distilq.cli.errors import CannotRun
from distilq.settings import Settings

#: Those whose version matters, API's and worker's.
PACKAGES = ("celery", "kombu", "redis", "flask", "gunicorn", "torch", "transformers")
#: Seconds in which a process of the worker's imports torch and looks for the model.
MODEL_S = 120.0
#: Bytes: below the one soon, below the other now.
LITTLE, NEARLY_NONE = 10**9, 10**8


def machine_checks(settings: Settings) -> Iterator[Check]:
    yield Check("python", "ok", platform.python_version())
    yield _packages()
    yield _model(settings)
    yield _disk(settings.data_dir)


def _packages() -> Check:
    found = {name: version for name in PACKAGES if (version := _installed(name))}
    said = ", ".join(f"{name} {version}" for name, version in found.items())
    if not found:
        return Check("packages", "ok", "none of a server's: this is a client")
    wrong = [f"{name} {pin}" for name, pin in _pins().items() if found.get(name, pin) != pin]
    if wrong:
        advice = f"this distilq works with {', '.join(wrong)} alone: pip install 'distilq[all]'"
        return Check("packages", "fail", said, advice)
    return Check("packages", "ok", said)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _pins() -> dict[str, str]:
    """Requirements of distilq with one exact version."""
    lines = metadata.requires("distilq") or ()
    matches = (re.match(r"([\w-]+)(?:\[.*?\])?==([\w.]+)", line) for line in lines)
    return {match[1]: match[2] for match in matches if match}


def _model(settings: Settings) -> Check:
    if not _installed("torch"):
        return Check("model", "skip", "not looked for: no worker can run here without torch")
    from distilq.cli import preflight, programs

    # The cache is looked into, the hub is not asked.
    env = {**programs.environment(settings), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "distilq.worker.preflight"]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=MODEL_S)
        model = preflight.reading(done.returncode, done.stdout, done.stderr)
    except subprocess.TimeoutExpired:
        return Check("model", "warn", f"no word of it for {MODEL_S:.0f} s", "is the machine busy?")
    except CannotRun as error:
        advice = "it is fetched at a worker's start, with a network; or take --model bundled"
        return Check("model", "warn", str(error), advice)
    note = f" ({model.note})" if model.note else ""
    return Check("model", "ok", f"{model.model}, {model.precision} on {model.device}{note}")


def _disk(data_dir: Path) -> Check:
    folder = data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / 10**9:.1f} GB free for {data_dir.absolute()}"
    if not os.access(folder, os.W_OK):
        return Check("disk", "warn", f"{folder} cannot be written", "choose another --data-dir")
    if free < NEARLY_NONE:
        return Check("disk", "fail", said, "Redis cannot write its file soon: make room")
    return Check("disk", "warn" if free < LITTLE else "ok", said)
