"""The `distilq` command."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script; imported late, so that siblings stay cheap to import."""
    from distilq.cli.app import app

    app()
