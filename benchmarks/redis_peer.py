"""Raw commands through redis-py, pipelined: what a submission and a look are measured against.

Run as a process of its own, so that redis-py may be had without hiredis too, as pip installs it:
it takes one JSON object on its standard input and prints the seconds that the commands took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def seconds(asked: dict[str, Any]) -> float:
    """Have another process do it: `url`, `hiredis`, and `lpush` or `hmget`."""
    command = [sys.executable, "-m", "benchmarks.redis_peer"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(asked).encode(), capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return float(done.stdout)


def lpush(pipe: Any, values: list[str]) -> None:
    for value in values:
        pipe.lpush("distilq-benchmark:raw", value)


def hmget(pipe: Any, keys: list[str], fields: list[str]) -> None:
    for key in keys:
        pipe.hmget(key, fields)


def main() -> None:
    asked = json.load(sys.stdin)
    if not asked["hiredis"]:
        sys.modules["hiredis"] = None  # type: ignore[assignment]  # importing it fails from here on
    import redis

    with redis.Redis.from_url(asked["url"], socket_timeout=60) as client:
        client.ping()
        pipe: Any = client.pipeline(transaction=False)
        start = time.perf_counter()
        if "lpush" in asked:
            lpush(pipe, asked["lpush"])
        else:
            hmget(pipe, *asked["hmget"])
        pipe.execute()
        print(time.perf_counter() - start)
        client.delete("distilq-benchmark:raw")


if __name__ == "__main__":
    main()
