"""What `distilq up` says once it serves."""

from __future__ import annotations

import shlex
from pathlib import Path

from distilq.cli.preflight import ModelFound
from distilq.cli.table import without_password
from distilq.settings import Settings

JSON, BEARER = "-H 'Content-Type: application/json'", "-H 'Authorization: Bearer KEY'"
SAMPLE = '{"inputs": "Once upon a time,", "parameters": {"max_new_tokens": 30}}'


def banner(url: str, model: ModelFound, settings: Settings, data_dir: Path | None) -> str:
    name = model.model.upper() if model.note else model.model
    keys, headers = _keys(settings, data_dir)
    lines = [
        "",
        f"distilq serves at {url}",
        "",
        f"  model      {name}, {model.precision} on {model.device}",
        *([f"             {model.note}"] if model.note else []),
        f"  jobs in    {data_dir or without_password(settings.redis_url)}",
        f"  keys       {keys}",
        f"  try        curl -s {url}/score {headers} -d '{SAMPLE}'",
        "  stop       Ctrl-C; running jobs are finished first",
        "",
    ]
    return "\n".join(lines)


def _keys(settings: Settings, data_dir: Path | None) -> tuple[str, str]:
    """Whether keys are required, and curl's options for a request."""
    if settings.auth == "off":
        return "not required: whoever reaches this address may do everything", JSON
    where = f"--data-dir {shlex.quote(str(data_dir))}" if data_dir else "--redis-url URL"
    return f"required; make one: distilq keys create NAME {where}", f"{BEARER} {JSON}"
