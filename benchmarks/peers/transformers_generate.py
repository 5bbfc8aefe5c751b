"""`transformers`' generate on all prompts as one batch. MODEL THREADS"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.peers.channel import Channel


def load(path: str, threads: int) -> Any:
    """The checkpoint, ready to generate in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)  # local
    return model.eval()


def generate_all(model: Any, prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
    """The new tokens of every prompt; the prompts are of one length."""
    import torch

    ids = torch.tensor(prompts)
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=True,
            top_k=50,
            pad_token_id=0,
        )
    new: list[list[int]] = out[:, ids.shape[1] :].tolist()
    return new


def main() -> None:
    channel = Channel()
    import torch
    import transformers

    model = load(sys.argv[1], int(sys.argv[2]))

    def generate(prompts: list[list[int]], new_tokens: int) -> int:
        return sum(len(row) for row in generate_all(model, prompts, new_tokens))

    channel.serve(generate, {"transformers": transformers.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    main()
