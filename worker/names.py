"""From `DISTILQ_MODEL` to one concrete model, without loading it and without torch.

auto                    DistilGPT2 if it is cached or the hub answers, else `bundled`
distilgpt2              DistilGPT2 of the hub, at a pinned revision
bundled                 the small GPT-2 that ships with the package
random:distilgpt2       DistilGPT2's exact shape with random weights, for benchmarks
simulated:step_ms=5     no model at all: every step sleeps; `,faults=DIR`: see simulated.py
DIRECTORY               a checkpoint on disk
OWNER/NAME[@REVISION]   any GPT-2 of the hub
"""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distilq.errors import DistilqError

DISTILGPT2 = "distilbert/distilgpt2"
DISTILGPT2_REVISION = "2290a62682d06624634c1f46a6ad5be0f47f38aa"
BUNDLED = Path(__file__).parent / "models" / "bundled"
#: Seconds that the hub may take to answer before it counts as unreachable.
HUB_PATIENCE_S = 5.0

#: Exit status of a worker whose model cannot be served: EX_CONFIG of sysexits.h.
NO_MODEL = 78

TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_SIMULATED = re.compile(r"simulated:step_ms=(\d+(?:\.\d+)?)(?:,faults=(.+))?")


class ModelUnavailable(DistilqError):
    """The model of `DISTILQ_MODEL` cannot be served; the message says why in one line."""

    code, title = "model_unavailable", "The model cannot be served"


@dataclass(frozen=True)
class ResolvedModel:
    """What a name stands for. `name` resolves to the same model again."""

    name: str
    kind: Literal["hub", "directory", "bundled", "random", "simulated"]
    source: str
    revision: str | None = None
    note: str = ""
    step_ms: float = 0.0
    faults: str | None = None

    @property
    def bundled(self) -> bool:
        return self.kind == "bundled"


def resolve(name: str) -> ResolvedModel:
    """The model that a name stands for.

    Raises:
        ModelUnavailable: there is none, or it is not one that can be served.
    """
    if name == "auto":
        return _auto()
    if name in ("distilgpt2", DISTILGPT2):
        return _distilgpt2()
    if name == "bundled":
        check_directory(BUNDLED)
        return ResolvedModel("bundled", "bundled", str(BUNDLED))
    if name == "random:distilgpt2":
        return ResolvedModel(name, "random", name, note="random weights, for benchmarks")
    if simulated := _SIMULATED.fullmatch(name):
        return ResolvedModel(
            name,
            "simulated",
            name,
            note="no model: steps sleep",
            step_ms=float(simulated[1]),
            faults=simulated[2],
        )
    if _is_path(name):
        check_directory(Path(name))
        return ResolvedModel(name, "directory", str(Path(name).resolve()))
    if _HUB_ID.fullmatch(name):
        repo, _, revision = name.partition("@")
        return _hub(name, repo, revision or "main")
    raise ModelUnavailable(f"{name!r} is no model name, no directory and no hub id")


def check_directory(path: Path) -> None:
    """Refuse a directory that does not hold a GPT-2 with safetensors weights and a tokenizer."""
    if not path.is_dir():
        raise ModelUnavailable(f"the model directory {path} does not exist")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ModelUnavailable(f"the model directory {path} cannot be read")
    names = {entry.name for entry in path.iterdir()}
    for name in names:
        if name.endswith((".json", ".safetensors", ".txt")) and not os.access(path / name, os.R_OK):
            raise ModelUnavailable(f"{path / name} cannot be read")
    if "config.json" not in names:
        raise ModelUnavailable(f"{path} has no config.json")
    try:
        config = json.loads((path / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path / 'config.json'} cannot be read: {error}") from error
    _check(str(path), config, names)


def _check(where: str, config: Any, names: set[str]) -> None:
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type != "gpt2":
        raise ModelUnavailable(f"{where} has model_type {model_type!r}, only 'gpt2' is served")
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelUnavailable(f"{where} has no safetensors weights; others are never loaded")
    if not names & set(TOKENIZER_FILES):
        raise ModelUnavailable(f"{where} has no tokenizer ({' or '.join(TOKENIZER_FILES)})")


def _is_path(name: str) -> bool:
    if name.startswith((".", "/")) or name.count("/") > 1:
        return True
    return bool(name) and Path(name).is_dir()


def _auto() -> ResolvedModel:
    try:
        return _distilgpt2()
    except ModelUnavailable as error:
        check_directory(BUNDLED)
        note = f"DistilGPT2 is not available ({error.detail}); serving the small bundled model"
        return ResolvedModel("bundled", "bundled", str(BUNDLED), note=note)


def _distilgpt2() -> ResolvedModel:
    """The pinned revision, or else whatever revision the cache has."""
    cached = _cached(DISTILGPT2, DISTILGPT2_REVISION) or _cached(DISTILGPT2, "main")
    if cached:
        return ResolvedModel("distilgpt2", "hub", DISTILGPT2, cached)
    found = _asked(DISTILGPT2, DISTILGPT2_REVISION)
    return ResolvedModel("distilgpt2", "hub", DISTILGPT2, found)


def _hub(name: str, repo: str, revision: str) -> ResolvedModel:
    return ResolvedModel(name, "hub", repo, _cached(repo, revision) or _asked(repo, revision))


def _cached(repo: str, revision: str) -> str | None:
    """The commit of a complete, servable snapshot in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    snapshot = Path(config).parent
    if not any(snapshot.glob("*.safetensors")):
        return None
    check_directory(snapshot)
    return snapshot.name


def _asked(repo: str, revision: str) -> str:
    """The commit that the hub has for a revision, within `HUB_PATIENCE_S`."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise ModelUnavailable(f"{repo} is not in the local cache, and HF_HUB_OFFLINE is set")
    answer: list[Any] = []
    # A thread, since neither name resolution nor the client's retries obey one overall limit.
    asker = threading.Thread(target=_ask, args=(repo, revision, answer), daemon=True)
    asker.start()
    asker.join(HUB_PATIENCE_S)
    if not answer:
        raise ModelUnavailable(
            f"{repo} is not in the local cache, and the hub did not answer in {HUB_PATIENCE_S:g} s"
        )
    found = answer[0]
    if isinstance(found, Exception):
        reason = str(found).strip().split("\n")[0] or type(found).__name__
        raise ModelUnavailable(f"{repo} is not in the local cache, and the hub says: {reason}")
    _check(f"{repo} on the hub", found.config, {each.rfilename for each in found.siblings or []})
    return str(found.sha)


def _ask(repo: str, revision: str, answer: list[Any]) -> None:
    from huggingface_hub import HfApi

    try:
        answer.append(HfApi().model_info(repo, revision=revision, timeout=HUB_PATIENCE_S))
    except Exception as error:  # whatever it is, the caller reports it
        answer.append(error)
