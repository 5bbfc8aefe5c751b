"""What a JSON schema allows, in words, for a cell of a table."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

#: The two ends of each range, and what they count.
RANGES = [
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " of them"),
    ("minProperties", "maxProperties", " entries"),
]
BOUNDS = {"exclusiveMinimum": "above", "exclusiveMaximum": "below"}


def plain(text: str) -> str:
    """A text of the code, safe in a table: neither a column's end nor attributes of the cell."""
    parts = text.replace("|", r"\|").split("`")
    parts[::2] = [part.replace("{", "&#123;") for part in parts[::2]]
    return "`".join(parts)


def code(value: Any) -> str:
    """A value as it stands in JSON, safe in a table."""
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", r"\|")


def words(schema: Json) -> str:
    """The type, a link where it has a name, and its bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](api-objects.md#{name})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            them = list(dict.fromkeys(words(each) for each in schema[several]))
            return ("<br>or " if len(them) > 2 else " or ").join(them)
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    return ", ".join([_kind(schema), *_bounds(schema)])


def _kind(schema: Json) -> str:
    kind: str = schema.get("format") or schema.get("type", "anything")
    if kind == "array":
        return f"list of {_inner(schema['items'])}" if schema.get("items") else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_inner(schema['additionalProperties'])}"
    return kind


def _inner(schema: Json) -> str:
    found = words(schema)
    return f"({found})" if ", " in found or " or " in found else found


def _bounds(schema: Json) -> list[str]:
    found = [f"{word} {schema[name]:,}" for name, word in BOUNDS.items() if name in schema]
    return found + [
        f"{_range(schema.get(least), schema.get(most))}{unit}"
        for least, most, unit in RANGES
        if least in schema or most in schema
    ]


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return f"at most {most:,}"
    return f"at least {least:,}" if most is None else f"{least:,} to {most:,}"
