"""The page of every setting, from `distilq/settings.py`."""

from __future__ import annotations

from distilq.settings import Settings

from .wording import Json, plain, words

HEAD = """# Settings

Environment variables, as `distilq/settings.py` reads them; `distilq settings` lists them with
their present values. What they limit is in [Limits](limits.md).

| variable | default | what it is for | values |
|---|---|---|---|
"""


def markdown() -> str:
    schemas = Settings.model_json_schema()["properties"]
    return HEAD + "".join(_row(name, schemas[name]) for name in Settings.model_fields)


def _row(name: str, schema: Json) -> str:
    default = str(Settings.model_fields[name].default)
    values = ", ".join(schema.get("enum", [])) or words(schema)
    cells = [f"DISTILQ_{name.upper()}", default, plain(schema["description"]), values]
    cells[:2] = [f"`{cell}`" if cell else "" for cell in cells[:2]]
    return f"| {' | '.join(cells)} |\n"
