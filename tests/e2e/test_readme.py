"""Every command of the README does what the README says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from distilq.cli.ports import free_port
from distilq.settings import Settings
from tests.e2e.running import DOWN_S, Running, alive, clean_environment

pytestmark = pytest.mark.timeout(400)  # see test_up.py

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
MAKE = [block for block in BLOCKS if block.startswith("make ")]
CURL = [block for block in BLOCKS if not block.startswith("make ")]
MARK = "--- next block ---"


def test_all_commands_are_make_or_curl() -> None:
    assert len(MAKE) == 3
    assert len(CURL) >= 5
    assert all("curl" in block for block in CURL)


@pytest.mark.parametrize("block", MAKE)
def test_make_knows_the_commands(block: str) -> None:
    # Under `make test` this is a make within make, which by itself announces its directory.
    command = block.replace("make ", "make --no-print-directory -n ")
    said = subprocess.run(
        ["sh", "-euc", command],  # noqa: S607 (the README's words)
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    what = ".venv/bin/pytest tests" if "test" in block else ".venv/bin/distilq up"
    assert what in said.stdout
    options = re.search(r'ARGS="(.*)"', block)
    assert not options or said.stdout.rstrip().endswith(options[1])


def test_make_run_serves_until_ctrl_c(tmp_path: Path, redis_server_binary: Path) -> None:
    port = free_port()
    options = f"--port {port} --model bundled --data-dir {tmp_path / 'data'}"
    log = tmp_path / "log"
    with log.open("wb") as out:
        make = subprocess.Popen(
            ["make", "run", f"ARGS={options}"],  # noqa: S607 (the README's words)
            cwd=ROOT,
            env=clean_environment(tmp_path),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        Running(make, f"http://127.0.0.1:{port}", log).wait_until_ready()
    finally:
        family = psutil.Process(make.pid).children(recursive=True)
        os.killpg(make.pid, signal.SIGINT)  # as a terminal does it; make itself dies of it
        make.wait(DOWN_S)
    assert "distilq has stopped" in log.read_text()
    assert alive(family) == []


def test_the_curl_commands_work_one_after_the_other(service: Running, tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text("fail-with-body\nmax-time = 60\n")
    script = f"echo '{MARK}'\n".join(CURL).replace("http://127.0.0.1:8000", service.url)
    said = subprocess.run(
        ["sh", "-eu"],  # noqa: S607 (a user's shell)
        input=script,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout + said.stderr

    *parts, told, last = said.stdout.split(MARK)
    score, submit, poll, batch, cancel, info = (list(json_values(part)) for part in [*parts, last])
    assert [len(texts) for texts in score[0]] == [2, 2]
    assert submit == []
    assert poll[1]["status"] == "succeeded"
    assert poll[2] == [[{"generated_text": poll[1]["result"][0][0]["generated_text"]}]]
    assert len(batch[0]["jobs"]) == 2
    assert cancel[0]["status"] in ("canceled", "canceling")
    events = re.findall(r"^event: (\w+)$", told, re.MULTILINE)
    assert events[0] == "status"
    assert events[-1] == "done"
    assert events.count("token") > 1
    assert len(info) == 3


def json_values(text: str) -> list[Any]:
    """The JSON values that stand one after the other in `text`."""
    decoder, values = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def test_the_table_of_settings_is_the_settings() -> None:
    rows = re.findall(r"^\| `(DISTILQ_\w+)` \| `(.*?)` \| (.*) \|$", README, re.MULTILINE)
    assert rows == [
        (f"DISTILQ_{name.upper()}", str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
