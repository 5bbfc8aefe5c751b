"""lm-evaluation-harness, unmodified, against a running service: transformers' own scores."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer, GPT2LMHeadModel

from tests.e2e.running import Running, clean_environment
from worker.names import BUNDLED

pytestmark = pytest.mark.timeout(400)  # see test_up.py

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-lm-eval/bin"

#: The harness keeps a token of the context for the one that is generated, and one for what a text
#: begins after.
WINDOW = 1024 - 2

CHOICES: list[dict[str, Any]] = [
    {"question": "Once upon a time there was a", "choices": ["king", "quantum tensor"]},
    {"question": "The sun rises in the", "choices": ["east", "cheese of 世界 🌍", "e\u0301"]},
    {"question": "", "choices": ["The", "zebra"]},
    {"question": "word " * 1_200 + "and then", "choices": ["word", "another"]},
]
TEXTS = [
    "It was the best of times, it was the worst of times.",
    "A naïve café — 世界 🌍.",
    "The king went to the forest and saw 7 old men there. " * 120,
]


@pytest.fixture(scope="module")
def lm_eval() -> Path:
    """The harness' program; without it a test is skipped here and fails in CI."""
    program = BIN / "lm_eval"
    if not program.exists():
        message = "needs lm-eval: make lm-eval"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


class Reference:
    """Log-likelihoods as transformers itself has them."""

    def __init__(self) -> None:
        self._model = GPT2LMHeadModel.from_pretrained(BUNDLED, dtype=torch.float32)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(BUNDLED)
        self.end: int = self._tokenizer.eos_token_id

    def ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, verbose=False)
        return found

    def likeliest(self, context: str) -> str:
        """The text of the token that the model takes for the likeliest here."""
        with torch.inference_mode():
            logits = self._model(torch.tensor([self.ids(context)])).logits[0, -1]
        text: str = self._tokenizer.decode([int(logits.argmax())])
        return text

    def __call__(self, context: list[int], text: list[int]) -> tuple[float, bool]:
        """Of the text after the context, and whether each of its tokens is the likeliest."""
        known = [*context, *text][-1023:]
        with torch.inference_mode():
            logs = self._model(torch.tensor([known])).logits[0].log_softmax(-1)
        logs = logs[-len(text) - 1 : -1]
        given = logs.gather(1, torch.tensor(text)[:, None]).double().sum()
        return float(given), bool((logs.argmax(-1) == torch.tensor(text)).all())

    def choice(self, question: str, choice: str) -> tuple[float, bool]:
        return self(self.ids(question) or [self.end], self.ids(f" {choice}"))

    def whole(self, text: str) -> float:
        return sum(self(context, part)[0] for context, part in self._windows(self.ids(text)))

    def _windows(self, ids: list[int]) -> Iterator[tuple[list[int], list[int]]]:
        """What is scored after what: parts, each behind as much as there is place for."""
        yield [self.end], ids[:WINDOW]
        for start in range(WINDOW, len(ids), WINDOW):
            end = min(start + WINDOW, len(ids))
            yield ids[end - WINDOW - 1 : start], ids[start:end]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


def task(folder: Path, name: str, rows: list[dict[str, Any]], **fields: Any) -> None:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"data_files": {"test": str(data)}}
    whole = {"task": name, "dataset_path": "json", "dataset_kwargs": files, "test_split": "test"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(whole | fields))


def scores(folder: Path, name: str) -> list[dict[str, Any]]:
    """What the harness has kept of each of the task's documents."""
    (path,) = folder.glob(f"*/samples_{name}_*.jsonl")
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(kept, key=lambda sample: int(sample["doc_id"]))


def documented() -> str:
    """The command of docs/clients.md."""
    page = (ROOT / "docs/clients.md").read_text()
    (block,) = re.findall(r"^```bash\n(lm_eval .*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.mark.parametrize("more", ["", ",tokenized_requests=False,num_concurrent=1"])
def test_scores_are_those_of_transformers(
    service: Running, lm_eval: Path, reference: Reference, tmp_path: Path, more: str
) -> None:
    likely = reference.likeliest("Once upon a time there was a")
    assert likely.startswith(" ")
    first, *others = CHOICES
    rows = [{**first, "choices": [*first["choices"], likely[1:]]}, *others]
    task(
        *(tmp_path, "tales", [{**row, "answer": 0} for row in rows]),
        output_type="multiple_choice",
        doc_to_text="{{question}}",
        doc_to_choice="choices",
        doc_to_target="answer",
        metric_list=[{"metric": "acc"}],
    )
    task(
        *(tmp_path, "texts", [{"text": text} for text in TEXTS]),
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": "byte_perplexity"}],
    )
    command = (
        documented()
        .replace("model=distilgpt2", "model=bundled")
        .replace("tokenizer=distilbert/distilgpt2", f"tokenizer={BUNDLED}")
        .replace("http://127.0.0.1:8000", service.url)
        .replace("--tasks lambada_openai", f"--tasks tales,texts --include_path {tmp_path}")
        .replace("max_length=1024", f"max_length=1024{more}")
    )
    env = clean_environment(tmp_path)
    env |= {"HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    env["PATH"] = f"{lm_eval.parent}:{env['PATH']}"
    said = subprocess.run(
        ["sh", "-eu"],  # noqa: S607 (a user's shell)
        input=command,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    greedy = []
    for sample, row in zip(scores(tmp_path / "scores", "tales"), rows, strict=True):
        for found, choice in zip(sample["filtered_resps"], row["choices"], strict=True):
            expected, is_greedy = reference.choice(row["question"], choice)
            assert float(found[0]) == pytest.approx(expected, abs=1e-4, rel=1e-5)
            assert found[1] == str(is_greedy)
            greedy.append(is_greedy)
    assert True in greedy
    assert False in greedy
    for sample, text in zip(scores(tmp_path / "scores", "texts"), TEXTS, strict=True):
        (found,) = sample["filtered_resps"]
        assert float(found) == pytest.approx(reference.whole(text), abs=1e-4, rel=1e-5)
