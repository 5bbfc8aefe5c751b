"""Tables for the terminal, and the same as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from distilq.settings import Settings


def settings_rows(settings: Settings) -> list[tuple[str, ...]]:
    """One row per variable: name, value, default, description; the first is the head."""
    rows: list[tuple[str, ...]] = [("variable", "value", "default", "what it is for")]
    for name, field in Settings.model_fields.items():
        value = without_password(str(getattr(settings, name)))
        rows.append((f"DISTILQ_{name.upper()}", value, str(field.default), field.description or ""))
    return rows


def table(rows: Sequence[tuple[str, ...]], *, as_json: bool) -> str:
    """Columns below their head; or an object per row, whose names are those of the head."""
    if not as_json:
        return columns(rows)
    names = [name.replace(" ", "_") for name in rows[0]]
    return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows[1:])


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """The rows below each other, all columns but the last padded to their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )


def without_password(url: str) -> str:
    """`redis://:secret@host` as `redis://:***@host`; other text as it is."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
