"""How to generate, as options."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from distilq.parameters import Parameters


@dataclass(frozen=True)
class Sampling:
    """Options of every command that submits jobs; the service checks their values."""

    n: Annotated[int | None, typer.Option("-n", help="Texts per prompt.")] = None
    max_new_tokens: Annotated[int | None, typer.Option(help="Tokens to add; default: 50.")] = None
    temperature: Annotated[float | None, typer.Option(help="Default: 1.")] = None
    top_k: Annotated[int | None, typer.Option(help="0: all tokens; default: 50.")] = None
    top_p: Annotated[float | None, typer.Option(help="Default: 1.")] = None
    seed: Annotated[int | None, typer.Option(help="The same gives the same text.")] = None
    stop: Annotated[
        list[str] | None, typer.Option(help="The text ends before it; may be given repeatedly.")
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any other parameter, its value as JSON."),
    ] = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Raises BadParameter: there is no parameter of that name."""
        given = {
            "num_return_sequences": self.n,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": self.stop or None,
        }
        others = dict(map(_pair, self.param or ()))
        return {name: value for name, value in given.items() if value is not None} | others


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or name not in Parameters.model_fields:
        known = ", ".join(Parameters.model_fields)
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE with a NAME of {known}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
