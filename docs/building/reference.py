"""The page of every operation, from the OpenAPI document."""

from __future__ import annotations

from api.openapi import document

from .curl import command
from .wording import Json, plain, words

HEAD = """# API reference

Every operation, made from the document that the service gives at `/openapi.json`. Where
[keys](security.md) are asked for, the examples need `-H "Authorization: Bearer $DISTILQ_API_KEY"`.
Every request may bear an `X-Request-Id` (1 to 128 visible ASCII characters), and every answer has
one. How it all goes together is in [Clients](clients.md).
"""

#: Title -> how its paths begin. A path belongs to the first that fits.
GROUPS = {
    "Jobs": ("/v1/jobs",),
    "The model's card": ("/score",),
    "OpenAI": ("/v1/completions", "/v1/models"),
    "Files and batches": ("/v1/files", "/v1/batches"),
    "Queue and workers": ("/v1/", "/metrics", "/livez", "/readyz"),
    "The document and the pages": ("/openapi.json", "/about", "/web/", "GET /"),
    "Text Generation Inference": ("",),
}
OF_ALL = "X-Request-Id"


def markdown() -> str:
    groups: dict[str, list[str]] = {title: [] for title in GROUPS}
    for path, item in document()["paths"].items():
        for method in item:
            if method != "parameters":
                groups[_group(method, path)].append(_section(method, path, item))
    return HEAD + "".join(f"\n## {title}\n{''.join(them)}" for title, them in groups.items())


def _group(method: str, path: str) -> str:
    name = f"{method.upper()} {path}" if path == "/" else path
    return next(title for title, begins in GROUPS.items() if name.startswith(begins))


def _section(method: str, path: str, item: Json) -> str:
    operation = item[method]
    bodies = operation.get("requestBody", {}).get("content", {})
    parts = [
        f"\n### {operation['summary']} {{ #{operation['operationId']} }}\n",
        f"\n`{method.upper()} {path}` · {_access(operation)}\n",
        f"\n```sh\n{command(method, path, operation)}\n```\n",
        _parameters([*item["parameters"], *operation["parameters"]]),
        *(f"\nBody: {_content(kind, it)}\n" for kind, it in bodies.items()),
        "\n| status | answer | body |\n|---|---|---|\n",
        *(_answer(status, answer) for status, answer in operation["responses"].items()),
        _headers(operation["responses"]),
    ]
    return "".join(parts)


def _access(operation: Json) -> str:
    if not operation["security"]:
        return "open to everybody"
    return "a key with the admin scope" if "403" in operation["responses"] else "a key"


def _parameters(parameters: list[Json]) -> str:
    rows = [
        f"| `{it['name']}` | {it['in']}: {words(it['schema'])} | {plain(_meaning(it))} |\n"
        for it in parameters
        if it["name"] != OF_ALL
    ]
    return "".join(["\n| parameter | type | |\n|---|---|---|\n", *rows]) if rows else ""


def _meaning(parameter: Json) -> str:
    meaning: str = parameter.get("description") or parameter["schema"].get("description", "")
    return meaning


def _content(kind: str, content: Json) -> str:
    """An object, or what comes instead, and as what unless that goes without saying."""
    unsaid = kind in ("application/json", "application/problem+json")
    return " ".join(
        [words(content["schema"])] * bool(content["schema"]) + [f"`{kind}`"] * (not unsaid)
    )


def _answer(status: str, answer: Json) -> str:
    bodies = [_content(kind, it) for kind, it in answer.get("content", {}).items()]
    return f"| {status} | {plain(answer['description'])} | {' or '.join(bodies)} |\n"


def _headers(answers: Json) -> str:
    """Which answers have which, by their status where not all of them have it."""
    found: dict[str, list[str]] = {}
    for status, answer in answers.items():
        for name in answer["headers"].keys() - {OF_ALL}:
            found.setdefault(name, []).append(status)
    them = [
        f"`{name}`" + (f" ({', '.join(statuses)})" if len(statuses) < len(answers) else "")
        for name, statuses in sorted(found.items())
    ]
    return f"\nHeaders: {', '.join(them)}.\n" if them else ""
