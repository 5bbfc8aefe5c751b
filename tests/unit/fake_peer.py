"""A peer without a model, for test_peers.py: it does what its argument says."""

from __future__ import annotations

import os
import sys
import time

from benchmarks.peers.channel import Channel


def main() -> None:
    channel = Channel()
    behaviour = sys.argv[1]
    if behaviour == "absent":
        raise SystemExit("no module named peer")
    print("what libraries print")

    def generate(prompts: list[list[int]], new_tokens: int) -> int:
        print("more of it")
        if behaviour == "raises":
            raise ValueError("no such token")
        if behaviour == "dies":
            os._exit(3)
        if behaviour == "hangs":
            time.sleep(60)
        return len(prompts) * new_tokens - (behaviour == "short")

    channel.serve(generate, {"fake": "1.0", "pid": os.getpid()})


if __name__ == "__main__":
    main()
