"""The client side of the `distilq` command against a running service, as a shell meets it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from distilq import Client
from distilq.jobs import JobStatus
from tests.e2e.running import Running, shell_environment, until

pytestmark = pytest.mark.timeout(400)  # see test_up.py

PROMPT = "Once upon a time,"
DISTILQ = str(Path(sys.executable).with_name("distilq"))
LONG = ("--max-new-tokens", "900")

Said = subprocess.CompletedProcess[str]
Run = Callable[..., Said]


@pytest.fixture
def env(service: Running, tmp_path: Path) -> dict[str, str]:
    """`distilq` is on PATH, and knows the service."""
    return {**shell_environment(tmp_path, service.url), "TERM": "xterm"}


@pytest.fixture
def distilq(env: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: str, given: str = "") -> Said:
        command = [DISTILQ, *arguments]
        return subprocess.run(
            command, input=given, env=env, cwd=tmp_path, capture_output=True, text=True
        )

    return run


@pytest.fixture
def sh(env: dict[str, str], tmp_path: Path) -> Run:
    def run(script: str) -> Said:
        command = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.fixture
def client(service: Running) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def idle(client: Client) -> bool:
    queue = client.queue()
    return queue.queued == queue.running == 0


def test_generate_is_the_sdks(distilq: Run, client: Client) -> None:
    known = client.generate(PROMPT, seed=3, max_new_tokens=20)
    options = ["--seed", "3", "--max-new-tokens", "20"]
    said = distilq("generate", PROMPT, *options)
    assert (said.returncode, said.stdout, said.stderr) == (0, known.text + "\n", "")
    assert distilq("generate", PROMPT, "--stream", *options).stdout == known.text + "\n"
    job = json.loads(distilq("generate", PROMPT, "--json", *options).stdout)
    assert job["result"][0][0]["generated_text"] == known.text


def test_several_streams_read_as_several_texts(distilq: Run) -> None:
    options = ["-n", "3", "--seed", "3", "--max-new-tokens", "40"]
    plain = distilq("generate", PROMPT, *options)
    assert plain.stdout.count(PROMPT) == 3
    assert distilq("generate", PROMPT, "--stream", *options).stdout == plain.stdout


def test_pipes_are_joined(sh: Run) -> None:
    said = sh("echo 'The sea' | distilq generate --seed 1 --max-new-tokens 5")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("The sea")
    same = sh("distilq submit 'The sea' --seed 1 --max-new-tokens 5 | distilq wait -")
    assert same.stdout == said.stdout
    many = sh("printf '%s\\n' One Two Three | distilq submit --lines | tee ids | distilq wait -")
    assert [word in many.stdout for word in ("One", "Two", "Three")] == [True] * 3
    told = sh("distilq status - < ids; distilq ls --limit 3 --json")
    assert told.stdout.count("succeeded") >= 6


def test_a_reader_that_goes_is_no_error(sh: Run, client: Client) -> None:
    said = sh("set +o pipefail; distilq submit a >/dev/null; distilq ls --json | head -c 9")
    assert (said.returncode, said.stderr) == (0, "")
    said = sh(f"distilq generate --stream {' '.join(LONG)} '{PROMPT}' | head -c 30")
    assert said.returncode == 141
    assert said.stdout.startswith(PROMPT)
    assert said.stderr.startswith("distilq: canceled job ")
    until(lambda: client.job(said.stderr.split()[-1]).status().status is JobStatus.CANCELED)


def on_a_terminal(env: dict[str, str], *arguments: str, **more: str) -> tuple[int, str]:
    """The exit status, and all that a terminal is sent."""
    shown = b""
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [DISTILQ, *arguments], env={**env, **more}, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        with suppress(OSError):  # EIO: it is closed at the other side
            while piece := os.read(screen, 65_536):
                shown += piece
    os.close(screen)
    return process.returncode, shown.decode()


def test_a_terminal_is_shown_where_the_job_stands(env: dict[str, str], client: Client) -> None:
    code, shown = on_a_terminal(env, "generate", PROMPT, "-n", "2", "--max-new-tokens", "300")
    assert code == 0
    assert "── 1 of 2 ──" in shown
    assert "running" in shown
    code, shown = on_a_terminal(env, "generate", PROMPT, "--stream", "--max-new-tokens", "5")
    assert code == 0
    assert PROMPT in shown


def test_colour_is_for_terminals_that_want_it(env: dict[str, str], distilq: Run) -> None:
    assert "\x1b[32m" in on_a_terminal(env, "doctor")[1]
    assert "\x1b[32m" not in on_a_terminal(env, "doctor", NO_COLOR="1")[1]
    assert "\x1b" not in distilq("doctor").stdout


def interrupted(env: dict[str, str], *arguments: str, after: Callable[[], bool]) -> Said:
    """What it says of a Ctrl-C, once `after` is so."""
    with subprocess.Popen(
        [DISTILQ, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as process:
        until(after)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_ctrl_c_cancels_the_job(env: dict[str, str], client: Client, options: list[str]) -> None:
    until(lambda: idle(client))
    said = interrupted(
        env, "generate", PROMPT, "-n", "32", *LONG, *options, after=lambda: not idle(client)
    )
    assert said.returncode == 130
    assert "Traceback" not in said.stderr
    until(lambda: idle(client))
    job = next(client.jobs())
    assert job.status is JobStatus.CANCELED


def test_a_batch_goes_on_where_it_was_stopped(
    env: dict[str, str], distilq: Run, client: Client, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [json.dumps({"prompt": f"Number {n} of", "custom_id": f"c{n}"}) for n in range(300)]
    lines[7], lines[8] = '{"torn', json.dumps({"prompt": "word " * 2_000})
    source.write_text("\n".join(lines))
    command = ["batch", str(source), "-o", str(out), "--max-new-tokens", "20", "--in-flight", "64"]

    def rows() -> int:
        return out.read_bytes().count(b"\n") if out.exists() else 0

    said = interrupted(env, *command, after=lambda: rows() > 20)
    assert said.returncode == 130
    assert "the same command goes on with the rest" in said.stderr
    assert 20 < rows() < 300
    until(lambda: idle(client))

    before = rows()
    killed = subprocess.Popen([DISTILQ, *command], env=env, stderr=subprocess.DEVNULL)
    until(lambda: rows() > before + 20)
    killed.kill()
    killed.wait()
    assert rows() < 300
    with out.open("ab") as file:
        file.write(b'{"line": 300, "gener')

    said = distilq(*command)
    assert said.returncode == 3
    assert "300 lines, 2 failed" in said.stderr
    told = {row["line"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert out.read_bytes().count(b"\n") == 300
    assert sorted(told) == [*range(1, 301)]
    assert {line for line, row in told.items() if "error" in row} == {8, 9}
    for line, row in told.items():
        if line not in (8, 9):
            assert row["custom_id"] == f"c{line - 1}"
            assert row["generated_text"].startswith(f"Number {line - 1} of")
    assert distilq(*command).returncode == 3


def test_doctor_and_top_look_at_all_of_it(service: Running, distilq: Run) -> None:
    data = str(service.log.parent / "data")
    said = distilq("doctor", "--data-dir", data, "--json")
    checks = [json.loads(line) for line in said.stdout.splitlines()]
    assert said.returncode == 0, said.stdout
    assert {check["state"] for check in checks} <= {"ok", "warn"}
    assert {"service", "key", "worker", "queue", "redis", "packages", "model", "disk"} <= {
        check["name"] for check in checks
    }
    top = distilq("top", "--once")
    assert top.returncode == 0
    assert top.stdout.startswith("bundled: ")
    assert "0/64" in top.stdout
    assert "interactive" in top.stdout
    told = json.loads(distilq("top", "--json").stdout)
    assert told["workers"][0]["tokens_per_s"] is not None


def test_exit_statuses_are_as_documented(distilq: Run, client: Client) -> None:
    said = distilq("generate", "word " * 2_000)
    assert said.returncode == 3
    assert "The prompt does not fit" in said.stderr
    job = client.submit([PROMPT] * 32, max_new_tokens=900)
    assert distilq("wait", job.id, "--timeout", "0.5").returncode == 5
    assert distilq("cancel", job.id).returncode == 0
    assert distilq("wait", job.id).returncode == 4
    assert distilq("status", job.id, "0" * 32).returncode == 1
    late = client.submit(PROMPT, max_new_tokens=900, timeout_s=0.01)
    assert distilq("wait", late.id).returncode == 5
    assert distilq("ls", "--limit", "none").returncode == 2
    away = distilq("generate", PROMPT, "--url", "http://127.0.0.1:1")
    assert away.returncode == 1
    assert len(away.stderr.splitlines()) == 1
