"""`distilq evaluate`: what it says of a text, and of what it cannot evaluate."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilq.cli.app import app
from worker import evaluate
from worker.evaluate import CannotEvaluate, Span

TEXT = "Es war einmal — “once upon a time” — ein König.\r\n" * 3


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILQ_MODEL", "bundled")
    monkeypatch.setenv("DISTILQ_PRECISION", "float32")
    monkeypatch.setenv("DISTILQ_THREADS", "1")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_bytes(TEXT.encode())
    return file


def distilq(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "distilq.cli", "evaluate", *arguments]
    return subprocess.run(command, input=given, capture_output=True)


def test_the_command_tells_of_a_file_in_json(text: Path) -> None:
    done = distilq("--text", str(text), "--json", "--window", "64", "--stride", "32")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found) == {
        *("model", "source", "revision", "precision", "device", "window", "stride", "bytes"),
        *("tokens", "scored_tokens", "nats", "nats_per_token", "perplexity", "bits_per_byte"),
        *("seconds", "tokens_per_s"),
    }
    assert (found["model"], found["precision"]) == ("bundled", "float32")
    assert (found["window"], found["stride"]) == (64, 32)
    assert found["bytes"] == len(TEXT.encode())
    assert found["scored_tokens"] == found["tokens"] - 1 > 64
    assert found["nats_per_token"] == pytest.approx(found["nats"] / found["scored_tokens"])
    assert found["perplexity"] == pytest.approx(math.exp(found["nats_per_token"]))
    bits = found["nats_per_token"] / math.log(2) * found["tokens"] / found["bytes"]
    assert found["bits_per_byte"] == pytest.approx(bits)


def test_standard_input_is_read_as_a_file_is(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate.main(["--text", str(text)]) == 0
    of_file = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert evaluate.main(["--text", "-"]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == of_file[:-1]  # all but the speed
    assert of_file[1].split()[1:3] == [str(len(TEXT.encode())), "bytes,"]
    assert of_file[2].split() == ["windows", "of", "1,024", "tokens,", "stride", "512"]


@pytest.mark.parametrize(
    ("window", "stride", "words"),
    [
        (101, None, "--window 101: the model has 100 positions"),
        (1, None, "--window 1: must be at least 2"),
        (50, 51, "--stride 51: must be at most the window, 50"),
        (None, 101, "--stride 101: must be at most the window, 100"),
        (None, 0, "--stride 0: must be at least 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name(
    window: int | None, stride: int | None, words: str
) -> None:
    with pytest.raises(CannotEvaluate, match=words):
        Span.within(100, window, stride)


def test_the_window_is_the_models_and_the_stride_half_of_it() -> None:
    assert Span.within(1024, None, None) == Span(1024, 512)
    assert Span.within(1024, 3, None) == Span(3, 1)
    assert Span.within(1024, 100, 100) == Span(100, 100)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no tokens, must have at least 2"),
        (b"a", "has 1 token, must have at least 2"),
        (b"caf\xe9", r"not UTF-8 (byte 0xe9 at 3)"),
    ],
)
def test_a_text_that_has_no_perplexity_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    assert evaluate.main(["--text", str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"distilq: --text {file}: {words}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text", "no-such-file"], "--text no-such-file: no such file"),
        (["--text", "-", "--precision", "half"], "DISTILQ_PRECISION (or --precision): "),
    ],
)
def test_what_the_command_can_refuse_it_refuses_at_once(options: list[str], words: str) -> None:
    said = CliRunner().invoke(app, ["evaluate", *options])
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith(f"distilq: {words}")


def test_a_folder_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--text", str(tmp_path)]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_a_wrong_window_is_one_line_and_status_1(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--text", str(text), "--window", "2000"]) == 1
    said = capsys.readouterr()
    assert said.err == "distilq: --window 2000: the model has 1024 positions\n"
    assert said.out == ""


def test_a_model_without_probabilities_is_refused(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILQ_MODEL", "simulated:step_ms=1")
    assert evaluate.main(["--text", str(text)]) == 1
    assert "simulated:step_ms=1 has no probabilities" in capsys.readouterr().err


def test_without_torch_it_says_what_to_install(text: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from distilq.worker import evaluate\n"
        f"sys.exit(evaluate.main(['--text', {str(text)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "distilq: torch is missing: pip install 'distilq[worker]'\n"


def test_progress_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((0.0, 5.0, 20.0, 40.0))
    monkeypatch.setattr("worker.evaluate.time.monotonic", lambda: next(now))
    progress = evaluate.Progress(4000)
    progress(500)  # too soon to say anything
    progress(2000)
    assert progress.close() == 40.0
    said = capsys.readouterr()
    assert said.err == "2,000 of 4,000 tokens, 100 tokens/s\n"
    assert said.out == ""
