"""What a process of the API loads: it has to start fast and stay small."""

from __future__ import annotations

import json
import os
import subprocess
import sys

HEAVY = {"torch", "transformers", "safetensors", "celery", "kombu", "billiard", "numpy", "httpx"}


def test_the_api_loads_neither_torch_nor_celery() -> None:
    """Nor does it connect to Redis before the first request, nor make ready for traces."""
    code = "import api.wsgi, json, sys; print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "DISTILQ_REDIS_URL": "redis://127.0.0.1:1/0"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    names = json.loads(run.stdout)
    assert "distilq.spans" not in names  # redis-py loads OpenTelemetry where it is, for itself
    modules = {name.partition(".")[0] for name in names}
    assert "flask" in modules
    assert modules & HEAVY == set()
