"""What `distilq up` says once it serves."""

from __future__ import annotations

from pathlib import Path

from distilq.cli.preflight import ModelFound
from distilq.cli.table import without_password
from distilq.settings import Settings

SAMPLE = '{"inputs": "Once upon a time,", "parameters": {"max_new_tokens": 30}}'


def banner(url: str, model: ModelFound, settings: Settings, data_dir: Path | None) -> str:
    name = model.model.upper() if model.note else model.model
    lines = [
        "",
        f"distilq serves at {url}",
        "",
        f"  model      {name}, {model.precision} on {model.device}",
        *([f"             {model.note}"] if model.note else []),
        f"  jobs in    {data_dir or without_password(settings.redis_url)}",
        f"  try        curl -s {url}/score -H 'Content-Type: application/json' -d '{SAMPLE}'",
        "  stop       Ctrl-C; running jobs are finished first",
        "",
    ]
    return "\n".join(lines)
