from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from worker import names
from worker.names import DISTILGPT2, DISTILGPT2_REVISION, ModelUnavailable, resolve


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the network or finds what this machine happens to have."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)


def answer_as_hub(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    def model_info(self: Any, repo: str, revision: str, timeout: float) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)


def on_hub(model_type: str = "gpt2", *files: str) -> Any:
    listed = files or ("config.json", "model.safetensors", "tokenizer.json")
    siblings = [SimpleNamespace(rfilename=name) for name in listed]
    return SimpleNamespace(sha="c0ffee", config={"model_type": model_type}, siblings=siblings)


def checkpoint(path: Path, config: Any = None, *files: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in files or ("model.safetensors", "tokenizer.json"):
        (path / name).write_bytes(b"")
    (path / "config.json").write_text(json.dumps(config or {"model_type": "gpt2"}))
    return path


def test_bundled_is_the_model_beside_the_code() -> None:
    found = resolve("bundled")
    assert (found.name, found.bundled) == ("bundled", True)
    assert Path(found.source) == names.BUNDLED


def test_auto_falls_back_to_bundled_and_says_why() -> None:
    found = resolve("auto")
    assert (found.name, found.bundled) == ("bundled", True)
    assert "HF_HUB_OFFLINE" in found.note


def test_auto_is_distilgpt2_where_the_hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_as_hub(monkeypatch, on_hub())
    found = resolve("auto")
    assert (found.name, found.source, found.revision) == ("distilgpt2", DISTILGPT2, "c0ffee")
    assert not found.bundled


def test_a_cached_model_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    snapshot = checkpoint(tmp_path / DISTILGPT2_REVISION)

    def cached(repo: str, name: str, revision: str) -> str | None:
        return str(snapshot / name) if revision == DISTILGPT2_REVISION else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    assert resolve("auto").revision == DISTILGPT2_REVISION
    assert resolve("distilgpt2").source == DISTILGPT2


def test_a_hub_that_does_not_answer_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(names, "HUB_PATIENCE_S", 0.01)
    monkeypatch.setattr(names, "_ask", lambda repo, revision, answer: time.sleep(0.5))
    with pytest.raises(ModelUnavailable, match="did not answer"):
        resolve("distilgpt2")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (OSError("Name or service not known"), "Name or service not known"),
        (on_hub("llama"), "model_type 'llama'"),
        (on_hub("gpt2", "config.json", "pytorch_model.bin", "tokenizer.json"), "no safetensors"),
        (on_hub("gpt2", "config.json", "model.safetensors"), "no tokenizer"),
    ],
)
def test_what_the_hub_has_must_be_servable(
    monkeypatch: pytest.MonkeyPatch, found: Any, words: str
) -> None:
    answer_as_hub(monkeypatch, found)
    with pytest.raises(ModelUnavailable, match=words):
        resolve("someone/something")


def test_a_hub_id_may_carry_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_as_hub(monkeypatch, on_hub())
    found = resolve("someone/something@v2")
    assert (found.source, found.revision) == ("someone/something", "c0ffee")


def test_a_directory_is_served_by_its_path(tmp_path: Path) -> None:
    found = resolve(str(checkpoint(tmp_path / "model")))
    assert (found.kind, found.source) == ("directory", str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("config", "files", "words"),
    [
        ({"model_type": "bert"}, (), "model_type 'bert'"),
        ([1], (), "model_type None"),
        (None, ("pytorch_model.bin", "tokenizer.json"), "no safetensors"),
        (None, ("model.safetensors",), "no tokenizer"),
    ],
)
def test_a_directory_that_cannot_be_served_is_refused_in_one_line(
    tmp_path: Path, config: Any, files: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ModelUnavailable, match=words) as caught:
        resolve(str(checkpoint(tmp_path / "model", config, *files)))
    assert "\n" not in str(caught.value)


def test_a_missing_directory_and_a_missing_config_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="does not exist"):
        resolve(str(tmp_path / "none"))
    with pytest.raises(ModelUnavailable, match=r"no config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("name", ["", "nothing", "simulated:", "simulated:step_ms=-1", "random:x"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ModelUnavailable, match="no model name"):
        resolve(name)


def test_simulated_models_carry_their_step() -> None:
    assert resolve("simulated:step_ms=2.5").step_ms == 2.5
    assert resolve("random:distilgpt2").kind == "random"


def preflight(model: str) -> subprocess.CompletedProcess[str]:
    environment = {"DISTILQ_MODEL": model, "HF_HUB_OFFLINE": "1", "PATH": ""}
    return subprocess.run(
        [sys.executable, "-m", "worker.preflight"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_preflight_prints_one_line_or_one_error(tmp_path: Path) -> None:
    good = preflight("auto")
    assert good.returncode == 0, good.stderr
    found = json.loads(good.stdout)
    assert found.keys() == {"model", "source", "revision", "precision", "device", "gpus", "note"}
    assert found["model"] == "bundled"
    assert found["precision"] in ("float16", "float32")
    bad = preflight(str(tmp_path))
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.count("\n") == 1
    assert "config.json" in bad.stderr


def test_resolving_a_name_imports_no_torch() -> None:
    code = "import sys, worker.names as n; n.resolve('bundled'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
