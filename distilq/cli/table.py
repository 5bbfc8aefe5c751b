"""The settings as a table for the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from distilq.settings import Settings


def settings_table(settings: Settings) -> str:
    """One line per variable: name, value, default, description."""
    rows = [("variable", "value", "default", "what it is for")]
    for name, field in Settings.model_fields.items():
        value = without_password(str(getattr(settings, name)))
        rows.append((f"DISTILQ_{name.upper()}", value, str(field.default), field.description or ""))
    return columns(rows)


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
