"""A scrape under load: it parses, and its figures are those of whoever sent the load."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from itertools import pairwise

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import until

pytestmark = pytest.mark.timeout(400)  # see test_up.py

JOBS, ROWS, TOKENS = 40, 2, 12


def scraped(http: httpx.Client) -> dict[str, float]:
    """By name and labels, as Prometheus writes them; all priorities of a histogram together."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("priority", "worker")}
            name = sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(labels.items()))
            found[name] = found.get(name, 0) + sample.value
    return found


def test_its_figures_are_those_of_the_load(http: httpx.Client) -> None:
    before = scraped(http)
    parameters = {"max_new_tokens": TOKENS, "num_return_sequences": ROWS, "min_new_tokens": TOKENS}
    job = {"inputs": "Once upon a time,", "parameters": parameters}
    batch = http.post("/v1/jobs:batch", json={"jobs": [job] * JOBS}).json()
    ids = [each["id"] for each in batch["jobs"]]
    scrapes: list[dict[str, float]] = []
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            scrapes.append(scraped(http))

    scraping = threading.Thread(target=scrape)
    scraping.start()
    until(lambda: all(final(http, ids)), 120)
    stop.set()
    scraping.join()

    def gained(name: str) -> float:
        return scraped(http).get(name, 0) - before.get(name, 0)

    assert gained("distilq_jobs_submitted_total") == JOBS
    assert gained("distilq_jobs_total{status=succeeded}") == JOBS
    assert gained("distilq_generated_tokens_total") == JOBS * ROWS * TOKENS
    # Given away once a second.
    until(lambda: gained("distilq_end_to_end_seconds_count") == JOBS)
    for name in ("queue_time", "time_to_first_token"):
        assert gained(f"distilq_{name}_seconds_count") == JOBS
        assert gained(f"distilq_{name}_seconds_bucket{{le=+Inf}}") == JOBS
    assert gained("distilq_batch_rows_sum") == JOBS * ROWS * TOKENS
    assert gained("distilq_time_between_tokens_seconds_count") == JOBS * ROWS * (TOKENS - 1)
    assert any(scrape["distilq_worker_rows"] > 0 for scrape in scrapes)
    for earlier, later in pairwise(scrapes):
        for name, value in earlier.items():
            if name.split("{")[0].endswith(("_total", "_count", "_sum", "_bucket")):
                assert later[name] >= value, name


def final(http: httpx.Client, ids: list[str]) -> list[bool]:
    jobs = http.post("/v1/jobs:status", json={"ids": ids}).json()["jobs"]
    return [job["status"] in ("succeeded", "failed") for job in jobs]


def test_promtool_finds_nothing_wrong(http: httpx.Client) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if "CI" in os.environ:
            pytest.fail("promtool is missing: see .ci/packages")
        pytest.skip("there is no promtool on this machine")
    said = subprocess.run(
        [promtool, "check", "metrics"],
        input=http.get("/metrics").text,
        capture_output=True,
        text=True,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
