"""Asks a process of the worker's which model there is; torch stays out of this one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from pydantic import BaseModel

from distilq.cli.errors import CannotRun
from distilq.cli.supervisor import Supervisor, tied


class ModelFound(BaseModel):
    """What `python -m distilq.worker.preflight` prints."""

    model: str
    source: str
    revision: str | None = None
    precision: str
    device: str
    gpus: int = 0
    note: str | None = None


def check_model(supervisor: Supervisor, env: Mapping[str, str]) -> ModelFound:
    """The model that the workers will load.

    Raises:
        CannotRun: they could not; the message is preflight's own.
        Interrupted: Ctrl-C.
    """
    command = tied([sys.executable, "-m", "distilq.worker.preflight"])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                supervisor.tick()
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        return reading(process.returncode, out.read().decode(), err.read().decode())


def reading(code: int, out: str, err: str) -> ModelFound:
    """What the program has said. Raises CannotRun: there is no model, with its reason."""
    lines = err.strip().splitlines()
    if code:
        said = lines[-1] if lines else f"the model check ended with status {code}"
        raise CannotRun(said.removeprefix("distilq: "))
    return ModelFound.model_validate(json.loads(out.strip().splitlines()[-1]))
