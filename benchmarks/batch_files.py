"""A file of 50,000 requests and 100 MB through `/v1/batches`: how fast, and in how much memory.

    python -m benchmarks.batch_files --full    without --full a fifth of it

The worker simulates its model, so that what is measured is all around it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from distilq.settings import Settings

from . import measure, resident
from .service import started

MODEL = "simulated:step_ms=1"
LINE_BYTES = 2_000

#: Bytes that a process of the API may take.
TARGET = 200e6


def run(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, started() as service:
        source = Path(folder) / "in.jsonl"
        with source.open("w") as file:
            file.writelines(_lines(options.lines))
        settings = Settings(
            redis_url=service.redis_url, model=MODEL, storage_url=f"file://{folder}/files"
        )
        api, port = service.start_api(settings)
        service.start_worker(settings)

        def peak() -> int:
            return max(resident.peaks_of_children(api.process.pid))

        found: dict[str, Any] = {"bytes": source.stat().st_size, "idle": {"peak": peak()}}

        def timed(name: str, act: Callable[[], Any]) -> Any:
            began = time.perf_counter()
            came = act()
            found[name] = {"s": time.perf_counter() - began, "peak": peak()}
            return came

        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
            file_id = timed("upload", lambda: _upload(http, source))
            batch = timed("run", lambda: _run(http, file_id, options.lines))
            content = f"/v1/files/{batch['output_file_id']}/content"
            results = f"/v1/batches/{batch['id']}/results"
            timed("output file", lambda: _rows(http, content, options.lines))
            timed(
                "results, input order", lambda: _rows(http, f"{results}?order=input", options.lines)
            )
            timed(
                "results, completion order",
                lambda: _rows(http, f"{results}?order=completion", options.lines),
            )
        return found


def _lines(lines: int) -> Iterator[str]:
    for number in range(lines):
        body = {"model": MODEL, "prompt": f"Chapter {number}", "max_tokens": 2, "seed": number}
        line = {"custom_id": f"{number}", "method": "POST", "url": "/v1/completions", "body": body}
        body["user"] = "u" * (LINE_BYTES - len(json.dumps(line)))
        yield json.dumps(line) + "\n"


def _upload(http: httpx.Client, source: Path) -> str:
    with source.open("rb") as file:
        answer = http.post("/v1/files", data={"purpose": "batch"}, files={"file": file})
    return str(answer.raise_for_status().json()["id"])


def _run(http: httpx.Client, file_id: str, lines: int) -> dict[str, Any]:
    asked = {"endpoint": "/v1/completions", "completion_window": "24h", "input_file_id": file_id}
    batch: dict[str, Any] = http.post("/v1/batches", json=asked).raise_for_status().json()
    while batch["status"] in ("validating", "in_progress", "finalizing"):
        time.sleep(1)
        batch = http.get(f"/v1/batches/{batch['id']}").json()
    if batch["request_counts"]["completed"] != lines:
        raise RuntimeError(f"it ended with {batch['request_counts']}")
    return batch


def _rows(http: httpx.Client, path: str, lines: int) -> None:
    with http.stream("GET", path) as response:
        told = sum(block.count(b"\n") for block in response.iter_raw())
    if told != lines:
        raise RuntimeError(f"{path} has {told} rows")


def tables(record: dict[str, Any]) -> str:
    found, asked = record["found"], record["asked"]["lines"]
    lines = [
        "| | seconds | lines/s | peak memory of the API | of 200 MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, each in found.items():
        if name == "bytes":
            continue
        took = f"{each['s']:.1f} | {asked / each['s']:,.0f}" if "s" in each else "| "
        lines.append(
            f"| {name} | {took} | {each['peak'] / 1e6:.0f} MB | {each['peak'] / TARGET:.0%} |"
        )
    facts = record["machine"]
    size = f"{asked:,} lines, {found['bytes'] / 1e6:.0f} MB"
    lines += [
        "",
        f"{size}, one worker of a simulated model; {facts['cpu']}, {facts['cores']} cores.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="50,000 lines")
    parser.add_argument("--lines", type=int)
    options = parser.parse_args(arguments)
    options.lines = options.lines or (50_000 if options.full else 10_000)
    measure.write("batch_files", run(options), vars(options))
    print(tables(measure.read("batch_files")))


if __name__ == "__main__":
    main()
