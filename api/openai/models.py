"""/v1/models: what is served, and whether a name means it."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from distilq.errors import ModelNotFound

from ..answers import as_json
from ..context import settings, store
from .schemas import ModelList, ModelObject

blueprint = Blueprint("openai_models", __name__)

#: DistilGPT2 under its short name and under that of its repository: both mean one model to those
#: who load it, whichever the service was set up with.
ALIASES = {"distilgpt2": "distilbert/distilgpt2", "distilbert/distilgpt2": "distilgpt2"}


class NameConverter(BaseConverter):
    """A model's name may have slashes, and be a directory, which begins with one."""

    regex = ".+"
    part_isolating = False


@blueprint.record_once
def _know_names(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["name"] = NameConverter


@blueprint.get("/v1/models")
def models() -> Response:
    return as_json(ModelList(data=list(_served())))


@blueprint.get("/v1/models/<name:model>")
def model(model: str) -> Response:
    for served in _served():
        if _means(model, served.id) or _means(model, settings().model):
            return as_json(served)
    raise _not_found(model)


def refuse_others(name: str) -> None:
    """Let pass the names of what is served.

    Raises:
        ModelNotFound: it is none of them.
    """
    if _means(name, settings().model):  # without asking Redis, as is usual
        return
    if not any(_means(name, served.id) for served in _served()):
        raise _not_found(name)


def _served() -> Iterator[ModelObject]:
    """What live workers hold; without any, what they would be started with."""
    since: dict[str, int] = {}
    for worker in store().workers():
        started = int(worker.started_at.timestamp())
        since[worker.model] = min(started, since.get(worker.model, started))
    for name, created in (since or {settings().model: 0}).items():
        owner, _, rest = name.rpartition("/")
        yield ModelObject(id=name, created=created, owned_by=owner if owner and rest else "distilq")


def _means(name: str, served: str) -> bool:
    return name in (served, ALIASES.get(served))


def _not_found(name: str) -> ModelNotFound:
    return ModelNotFound(f"{name!r} is not served here; GET /v1/models says what is")
