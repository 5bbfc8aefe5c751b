"""OpenVINO GenAI's continuous batching. MODEL THREADS MAX_ROWS"""

from __future__ import annotations

import sys
from importlib.metadata import version

from benchmarks.peers.channel import Channel

CACHE_GB = 1


def main() -> None:
    channel = Channel()
    import numpy as np
    import openvino
    import openvino_genai as genai

    path, threads, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = CACHE_GB
    scheduler.max_num_seqs = rows
    scheduler.max_num_batched_tokens = 16 * rows  # all prompts in one step
    properties = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "THROUGHPUT"}
    pipeline = genai.ContinuousBatchingPipeline(path, scheduler, "CPU", properties)

    def generate(prompts: list[list[int]], new_tokens: int) -> int:
        asked = genai.GenerationConfig()
        asked.max_new_tokens = new_tokens
        asked.ignore_eos = True
        asked.do_sample, asked.top_k, asked.temperature = True, 50, 1.0
        tensors = [openvino.Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts]
        found = pipeline.generate(tensors, [asked] * len(prompts))
        return sum(len(result.m_generation_ids[0]) for result in found)

    channel.serve(generate, {"openvino-genai": version("openvino-genai")})


if __name__ == "__main__":
    main()
