"""LitServe around `generate`, with dynamic batching. MODEL THREADS MAX_ROWS PORT

Annotations are evaluated here: LitServe reads from `decode_request` what a body is.
"""

import sys
from typing import Any

import litserve

from benchmarks.peers.channel import end_with_parent
from benchmarks.peers.transformers_generate import generate_all, load

#: How long a batch waits to be filled; all requests of a round arrive within some ms.
BATCH_WAIT_S = 0.02


class Api(litserve.LitAPI):  # type: ignore[misc]  # it ships no types
    def setup(self, device: str) -> None:
        self.model = load(sys.argv[1], int(sys.argv[2]))

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        return request

    def predict(self, requests: list[dict[str, Any]]) -> list[list[int]]:
        new_tokens = requests[0]["new_tokens"]
        return generate_all(self.model, [each["prompt"] for each in requests], new_tokens)

    def encode_response(self, output: list[int]) -> dict[str, Any]:
        return {"tokens": output}

    # Batches are lists already; the default would make arrays of them.
    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return inputs

    def unbatch(self, output: list[list[int]]) -> list[list[int]]:
        return output


def main() -> None:
    end_with_parent()
    # With 1 it would call neither `batch` nor `unbatch`.
    api = Api(max_batch_size=max(2, int(sys.argv[3])), batch_timeout=BATCH_WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[4]), generate_client_file=False, num_api_servers=1
    )


if __name__ == "__main__":
    main()
