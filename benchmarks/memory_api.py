"""Peak memory of the API's processes, under a load of each kind of request."""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

from distilq.settings import Settings

from . import resident
from .served import redis_alone

#: Bytes that one process may take.
TARGET = 120e6

CLIENTS = 32
SINGLES, STATUSES = 4_000, 400
#: Jobs per batch: the usual, and the most.
BATCHES = [1_000] * 20 + [10_000] * 2
#: The largest batches that are sent at once, at the end.
AT_ONCE = 4

JOB = {
    "inputs": "The old lighthouse keeper had never once seen a ship",
    "parameters": {"max_new_tokens": 30},
}


def run(_: argparse.Namespace) -> dict[str, int]:
    with redis_alone() as service:
        settings = Settings(redis_url=service.redis_url, model="bundled")
        api, port = service.start_api(settings)
        idle = max(resident.peaks_of_children(api.process.pid))
        found = {"process, idle": idle}
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = [*clients.map(lambda _: _post(port, "/v1/jobs", JOB), range(SINGLES))]
            found["process, after single jobs"] = _peak(api.process.pid)
            ids = [answer["id"] for answer in answers][:1000]
            asked = {"ids": ids}
            list(clients.map(lambda _: _post(port, "/v1/jobs:status", asked), range(STATUSES)))
            found["process, after 1,000 ids per status request"] = _peak(api.process.pid)
        for jobs in BATCHES:
            _post(port, "/v1/jobs:batch", {"jobs": [JOB] * jobs})
            if jobs == 1_000:
                found["process, after batches of 1,000 jobs"] = _peak(api.process.pid)
        found["process, after batches of 10,000 jobs"] = _peak(api.process.pid)
        with ThreadPoolExecutor(AT_ONCE) as clients:
            most = {"jobs": [JOB] * BATCHES[-1]}
            list(clients.map(lambda _: _post(port, "/v1/jobs:batch", most), range(AT_ONCE)))
        found[f"process, after {AT_ONCE} of them at once"] = _peak(api.process.pid)
        found["gunicorn's master"] = resident.peak(api.process.pid)
        return found


def _peak(pid: int) -> int:
    return max(resident.peaks_of_children(pid))


def _post(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said: dict[str, Any] = json.loads(answer.read())
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{path}: {answer.status} {said}")
    return said


def tables(found: dict[str, int]) -> str:
    lines = ["| the API | peak memory | of 120 MB |", "|---|---|---|"]
    lines += [f"| {of} | {size / 1e6:.0f} MB | {size / TARGET:.0%} |" for of, size in found.items()]
    return "\n".join(lines) + "\n"
