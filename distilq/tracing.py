"""Traces by OpenTelemetry, where `DISTILQ_TRACES` asks for them.

This module and whoever calls it import nothing of OpenTelemetry before that: `spans.py` alone does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilq.settings import Settings

if TYPE_CHECKING:
    from distilq.spans import Traces


def begin(settings: Settings, service: str) -> Traces | None:
    """What a process makes spans with, under the name of `service` unless OTEL_* gives another."""
    if settings.traces == "off":
        return None
    from distilq.spans import Traces, exporting

    return Traces(exporting(service))
