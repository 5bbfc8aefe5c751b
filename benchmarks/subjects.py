"""Who is timed in `benchmarks.engine`: the engine, its limit, the peers, each on its best terms.

CTranslate2 comes twice. One worker with all threads is its default; a worker per core with one
thread each is what its makers advise for throughput, and which of the two is faster differs by size
and precision. Targets are measured against the faster.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine, random_distilgpt2

from .gemm import Products
from .peers import conversion
from .peers.process import Peer, PeerFailed

Prompts = Sequence[tuple[int, ...]]


class Running(Protocol):
    """A subject that has started."""

    about: dict[str, Any]

    def rate(self, prompts: Prompts, new_tokens: int) -> float:
        """Tokens per second."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Terms:
    """What every subject is given."""

    threads: int
    max_rows: int


@dataclass(frozen=True)
class Subject:
    name: str
    label: str
    start: Callable[[Terms], Running]
    #: In the full mode only.
    full: bool = False
    #: No token of it is generated: it is not a competitor.
    limit: bool = False


def own_engine(precision: str, terms: Terms) -> Engine:
    """The engine, for texts that no token ends, as it is for all."""
    engine = load_engine(
        Settings(
            model="random:distilgpt2",
            precision=precision,
            max_rows=terms.max_rows,
            threads=terms.threads,
        )
    )
    engine.model.info = replace(engine.model.info, eos_token_ids=frozenset())
    return engine


class OwnEngine:
    def __init__(self, precision: str, terms: Terms) -> None:
        self.about: dict[str, Any] = {}
        self._engine = own_engine(precision, terms)

    def rate(self, prompts: Prompts, new_tokens: int) -> float:
        return rate_of_engine(self._engine, prompts, new_tokens)

    def close(self) -> None: ...


def rate_of_engine(engine: Engine, prompts: Prompts, new_tokens: int) -> float:
    asked = Parameters(max_new_tokens=new_tokens, top_k=50, seed=1)
    for number, prompt in enumerate(prompts):
        engine.submit(str(number), JobRequest(inputs=prompt, parameters=asked))
    before, left = engine.stats.generated_tokens, len(prompts)
    start = time.perf_counter()
    while left:
        left -= len(engine.step())
    seconds = time.perf_counter() - start
    made = engine.stats.generated_tokens - before
    if made != len(prompts) * new_tokens:
        raise PeerFailed(f"{made} tokens came where {len(prompts) * new_tokens} were asked for")
    return made / seconds


class OwnLimit:
    def __init__(self, precision: str, terms: Terms) -> None:
        self.about: dict[str, Any] = {}
        self._products = Products(random_distilgpt2(), precision)

    def rate(self, prompts: Prompts, new_tokens: int) -> float:
        return self._products.rate(len(prompts), new_tokens)

    def close(self) -> None: ...


@dataclass
class PeerProcess:
    peer: Peer
    about: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.about = self.peer.about

    def rate(self, prompts: Prompts, new_tokens: int) -> float:
        answer = self.peer.ask(prompts, new_tokens)
        return answer.tokens / answer.seconds

    def close(self) -> None:
        self.peer.close()


def _peer(python: str, module: str, arguments: Sequence[object], terms: Terms) -> Running:
    command = [python, "-m", f"benchmarks.peers.{module}", *map(str, arguments)]
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(terms.threads)}
    return PeerProcess(Peer(command, environment))


def _transformers(module: str, terms: Terms, rows: int | None = None) -> Running:
    arguments = [conversion.checkpoint(), terms.threads]
    if rows is not None:
        arguments.append(rows)
    return _peer(sys.executable, module, arguments, terms)


def _ctranslate2(compute_type: str, worker_per_core: bool, terms: Terms) -> Running:
    workers = terms.threads if worker_per_core else 1
    path = conversion.for_ctranslate2(compute_type)
    arguments = [path, compute_type, workers, terms.threads // workers]
    own = Terms(terms.threads // workers, terms.max_rows)
    return _peer(str(conversion.PEERS / "bin/python"), "ctranslate2_generate", arguments, own)


def _openvino(terms: Terms) -> Running:
    arguments = [conversion.for_openvino(), terms.threads, terms.max_rows]
    return _peer(str(conversion.FULL / "bin/python"), "openvino_generate", arguments, terms)


def _litserve(terms: Terms) -> Running:
    python = conversion.FULL / "bin/python"
    if not python.exists():
        raise PeerFailed("not installed: make peers-full")
    arguments = [conversion.checkpoint(), terms.threads, terms.max_rows]
    return _peer(str(python), "litserve_generate", arguments, terms)


OURS = ("float32", "float16", "int8")
SUBJECTS = [
    Subject(
        "generate",
        "transformers `generate`, float32",
        partial(_transformers, "transformers_generate"),
    ),
    *(Subject(f"ours-{p}", f"**distilq {p}**", partial(OwnEngine, p)) for p in OURS),
    *(
        Subject(
            f"ctranslate2-{p}-{kind}",
            f"CTranslate2 {p}, {words}",
            partial(_ctranslate2, p, per_core),
        )
        for p in ("float32", "int8")
        for kind, words, per_core in (
            ("whole", "one worker", False),
            ("split", "a worker per core", True),
        )
    ),
    Subject(
        "batching",
        "transformers continuous batching, float32",
        lambda terms: _transformers("transformers_batching", terms, terms.max_rows),
    ),
    Subject("openvino", "OpenVINO GenAI continuous batching", _openvino, full=True),
    Subject("litserve", "LitServe around `generate`, float32", _litserve, full=True),
    *(
        Subject(f"limit-{p}", f"products alone, {p}", partial(OwnLimit, p), limit=True)
        for p in ("float16", "int8")
    ),
]


def started(names: Sequence[str], terms: Terms) -> tuple[dict[str, Running], dict[str, str]]:
    """Those that run, and why each of the others does not."""
    running: dict[str, Running] = {}
    absent: dict[str, str] = {}
    for subject in SUBJECTS:
        if subject.name not in names:
            continue
        try:
            running[subject.name] = subject.start(terms)
        except (PeerFailed, OSError) as error:
            absent[subject.name] = str(error)
        except BaseException:
            with suppress(Exception):
                for each in running.values():
                    each.close()
            raise
    return running, absent
