"""An operation's example as a command for the shell, its ids in variables."""

from __future__ import annotations

import json
import re
import shlex

from .wording import Json

URL = "http://127.0.0.1:8000"


def command(method: str, path: str, operation: Json) -> str:
    """The curl command, on as many lines as it is good to read."""
    streamed = any(
        "text/event-stream" in it.get("content", {}) for it in operation["responses"].values()
    )
    words = ["curl", "-sN" if streamed else "-s"]
    contents = operation.get("requestBody", {}).get("content", {})
    if method != ("post" if contents else "get"):
        words += ["-X", method.upper()]
    lines = [" ".join([*words, _address(path)])]
    for kind, content in contents.items():
        lines += _body(kind, content["example"])
    return " \\\n  ".join(lines)


def _address(path: str) -> str:
    """`{job_id}` as `${JOB_ID}`, quoted since a query or a space may come of it."""
    path = re.sub(r"{(\w+)}", lambda name: f"${{{name[1].upper()}}}", path)
    return f'"{URL}{path}"' if "$" in path else URL + path


def _body(kind: str, example: Json) -> list[str]:
    if kind == "application/json":
        members = [f"{json.dumps(name)}: {json.dumps(it)}" for name, it in example.items()]
        text = "{\n    " + ",\n    ".join(members) + "\n  }"
        return [f"-H 'Content-Type: {kind}'", f"-d {shlex.quote(text)}"]
    return [" ".join(f"-F {shlex.quote(f'{name}={value}')}" for name, value in example.items())]
