"""Concurrent requests to a LitServe server, one per prompt. MODEL THREADS MAX_ROWS"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

from benchmarks.peers.channel import Channel

START_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    late = time.monotonic() + START_S
    while time.monotonic() < late and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health"):  # this machine  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise RuntimeError("the LitServe server did not start")


def main() -> None:
    channel = Channel()
    port, rows = free_port(), int(sys.argv[3])
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.litserve_app", *sys.argv[1:], str(port)]
    )
    url = f"http://127.0.0.1:{port}"
    wait_for(url, server)
    clients = ThreadPoolExecutor(rows)

    def one(prompt: list[int], new_tokens: int) -> int:
        body = json.dumps({"prompt": prompt, "new_tokens": new_tokens}).encode()
        asked = urllib.request.Request(  # noqa: S310 - this machine
            f"{url}/predict", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:  # noqa: S310
            return len(json.load(answer)["tokens"])

    def generate(prompts: list[list[int]], new_tokens: int) -> int:
        return sum(clients.map(one, prompts, [new_tokens] * len(prompts)))

    about = {name: version(name) for name in ("litserve", "transformers", "torch")}
    channel.serve(generate, about)


if __name__ == "__main__":
    main()
