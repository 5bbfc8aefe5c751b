"""The page of every object that requests and answers are made of."""

from __future__ import annotations

from api.openapi import document

from .wording import Json, code, plain, words

HEAD = """# Objects of the API

What the [requests and answers](api.md) are made of, in alphabetical order. A field without a
default is required in a request, and always there in an answer.
"""


def markdown() -> str:
    schemas = document()["components"]["schemas"]
    return HEAD + "".join(_section(name, schemas[name]) for name in sorted(schemas))


def _section(name: str, schema: Json) -> str:
    parts = [f"\n## {name} {{ #{name} }}\n", f"\n{schema.get('description', '')}\n"]
    if "properties" in schema:
        required = schema.get("required", [])
        parts.append("\n| field | type | default | |\n|---|---|---|---|\n")
        parts += [_row(field, it, required) for field, it in schema["properties"].items()]
    else:
        parts.append(f"\n{words(schema)}\n")
    return "".join(parts)


def _row(name: str, schema: Json, required: list[str]) -> str:
    default = "" if name in required or "default" not in schema else code(schema["default"])
    return f"| `{name}` | {words(schema)} | {default} | {plain(schema.get('description', ''))} |\n"
