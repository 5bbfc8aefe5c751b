"""CTranslate2's Generator. MODEL COMPUTE_TYPE WORKERS THREADS_PER_WORKER"""

from __future__ import annotations

import sys

from benchmarks.peers.channel import Channel


def main() -> None:
    channel = Channel()
    import ctranslate2

    path, compute_type, workers, threads = sys.argv[1:]
    generator = ctranslate2.Generator(
        path,
        device="cpu",
        compute_type=compute_type,
        inter_threads=int(workers),
        intra_threads=int(threads),
    )

    def generate(prompts: list[list[int]], new_tokens: int) -> int:
        found = generator.generate_batch(
            [[f"t{token}" for token in prompt] for prompt in prompts],
            # One batch for each worker.
            max_batch_size=-(-len(prompts) // int(workers)),
            max_length=new_tokens,
            min_length=new_tokens,  # and so no end of text
            sampling_topk=50,
            sampling_temperature=1,
            include_prompt_in_result=False,
        )
        return sum(len(result.sequences_ids[0]) for result in found)

    channel.serve(generate, {"ctranslate2": ctranslate2.__version__})


if __name__ == "__main__":
    main()
