"""One job on an idle system: what `Prefer: wait` adds to the engine's own time, and where."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from distilq.jobs import JobRequest
from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine

from .http_load import Connection, body_of, post
from .service import Service

#: Seconds between two jobs: a worker that has slept is what is measured.
PAUSE_S = 0.05


def job(new_tokens: int) -> str:
    asked = {"max_new_tokens": new_tokens, "seed": 1, "do_sample": False}
    return json.dumps({"inputs": list(range(1, 11)), "parameters": asked})


def alone_ms(engine: Engine, new_tokens: int) -> float:
    request = JobRequest.model_validate_json(job(new_tokens))
    start = time.perf_counter()
    engine.submit("one", request)
    while not engine.step():
        pass
    return 1000 * (time.perf_counter() - start)


def served_ms(connection: Connection, request: bytes) -> dict[str, float]:
    """Milliseconds until the answer is here, and those of them that the record accounts for."""
    start = time.perf_counter()
    answer = connection.ask(request)
    whole = 1000 * (time.perf_counter() - start)
    found: dict[str, Any] = json.loads(body_of(answer))
    if found["status"] != "succeeded":
        raise RuntimeError(f"the job is {found['status']}")
    metrics = found["metrics"]
    return {"whole": whole, "queued": metrics["queue_ms"], "engine": metrics["run_ms"]}


def measure_one(service: Service, settings: Settings, new_tokens: int, count: int) -> Any:
    """Turn by turn: the engine in this process, and the service."""
    engine = load_engine(settings)
    worker = service.start_worker(settings)
    api, port = service.start_api(settings)
    connection = Connection(port)
    request = post("/v1/jobs", job(new_tokens).encode(), "Prefer: wait=30\r\n")
    alone: list[float] = []
    served: list[dict[str, float]] = []
    for number in range(count + 3):
        time.sleep(PAUSE_S)
        own = alone_ms(engine, new_tokens)
        time.sleep(PAUSE_S)
        found = served_ms(connection, request)
        if number >= 3:  # what has not warmed up is not counted
            alone.append(own)
            served.append(found)
    connection.close()
    service.stop(api)
    service.stop(worker)
    return {"alone": alone, "served": served}


def summary(found: dict[str, Any]) -> dict[str, float]:
    """Medians in ms. `over` is what the service adds, `around` what lies outside its engine."""
    served = found["served"]
    median = {
        name: statistics.median(each[name] for each in served)
        for name in ("whole", "queued", "engine")
    }
    alone = statistics.median(found["alone"])
    around = statistics.median(each["whole"] - each["engine"] for each in served)
    return {**median, "alone": alone, "over": median["whole"] - alone, "around": around}
