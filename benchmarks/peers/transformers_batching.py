"""`transformers`' continuous batching. MODEL THREADS MAX_ROWS, or 0 rows: sized by itself.

Left to itself it takes a cache as large as the free memory, and a call without a persistent manager
makes that cache anew. Here the manager stays, and its cache is as large as the work.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.peers.channel import Channel
from benchmarks.peers.transformers_generate import load

#: Tokens of a page of the cache: a row here is 40 tokens, so it has one page.
PAGE = 64


def sizes(rows: int) -> dict[str, Any]:
    if not rows:
        return {}
    return {
        "page_size": PAGE,
        "num_blocks": 2 * rows,
        "max_batch_tokens": 4 * rows,
        "max_requests_per_batch": rows,
        "allow_block_sharing": False,  # no two prompts are alike
    }


def main() -> None:
    channel = Channel()
    import torch
    import transformers
    from transformers.generation.configuration_utils import (
        ContinuousBatchingConfig,
        GenerationConfig,
    )

    model, rows = load(sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
    sized = ContinuousBatchingConfig(**sizes(rows))

    def generate(prompts: list[list[int]], new_tokens: int) -> int:
        asked: Any = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=new_tokens,
            do_sample=True,
            top_k=50,
            eos_token_id=-1,  # none
            pad_token_id=0,
        )
        found = model.generate_batch(
            prompts,
            generation_config=asked,
            continuous_batching_config=sized,
            max_new_tokens=new_tokens,
            persistent_manager=bool(rows),
        )
        return sum(len(output.generated_tokens) for output in found.values())

    channel.serve(generate, {"transformers": transformers.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    main()
