"""The settings as a table for the terminal."""

from __future__ import annotations

import re

from distilq.settings import Settings


def settings_table(settings: Settings) -> str:
    """One line per variable: name, value, default, description."""
    rows = [("variable", "value", "default", "what it is for")]
    for name, field in Settings.model_fields.items():
        value = without_password(str(getattr(settings, name)))
        rows.append((f"DISTILQ_{name.upper()}", value, str(field.default), field.description or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )


def without_password(url: str) -> str:
    """`redis://:secret@host` as `redis://:***@host`; other text as it is."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
