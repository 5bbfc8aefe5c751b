"""Logs of every program: lines for people, or one JSON object per line for machines.

Whatever a record has in `extra` is a field of its own in JSON: `job_id` and `request_id` above all,
by which a job is followed from the request that made it through queue and worker.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from distilq.settings import Settings

#: On whose behalf jobs are submitted here: the request's id, or a batch's. It goes into the record.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

#: The span, where there are traces, of what is done here, as W3C Trace Context writes it. It goes
#: into the record as well.
TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")

TEXT = "%(levelname)s %(message)s"


def trace_id(traceparent: str) -> str:
    """The trace that a span is a part of."""
    return traceparent[3:35]


class WithRequestId(logging.Filter):
    """Gives every record the ids of the request, and of the trace, on whose behalf it was made."""

    def filter(self, record: logging.LogRecord) -> bool:
        if (known := REQUEST_ID.get()) and not hasattr(record, "request_id"):
            record.request_id = known
        if (span := TRACEPARENT.get()) and not hasattr(record, "trace_id"):
            record.trace_id = trace_id(span)
        return True


def json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp=True,
    )


def config(settings: Settings, *others: str) -> dict[str, Any]:
    """For logging.config: to standard output, this project's from `log_level` on.

    `others` are loggers that have handlers of their own, to be replaced.
    """
    in_json = settings.log_format == "json"
    kind = {"()": "distilq.logs.json_formatter"} if in_json else {"format": TEXT}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": kind},
        "filters": {"request": {"()": "distilq.logs.WithRequestId"}},
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "formatter": "chosen",
                "filters": ["request"],
                "stream": "ext://sys.stdout",
            }
        },
        "root": {"level": "WARNING", "handlers": ["out"]},
        "loggers": {
            "distilq": {"level": settings.log_level.upper()},
            # It warns of broken `traceparent` and `tracestate`, in the words of whoever sent them.
            "opentelemetry.trace": {"level": "ERROR"},
            **{name: {"handlers": ["out"], "propagate": False} for name in others},
        },
    }
