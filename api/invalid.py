"""What pydantic found wrong -> the `errors` of a problem, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_origin
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from distilq.errors import DistilqError, InvalidParameters, MalformedJson

#: A body with more mistakes than MOST_ERRORS has the first of them listed; one with more than
#: MOST_EXAMINED has none, as pydantic describes all or nothing, and a million take 10 s.
MOST_ERRORS, MOST_EXAMINED = 100, 10_000

#: Fields that may be written in several forms, and the tags of these; pydantic puts the one it
#: tried into the location of an error. Their descriptions begin with what they may be.
WITH_FORMS = frozenset({"inputs", "input_data", "prompt", "stop"})
FORMS = frozenset({"text", "card", "texts", "tokens", "token_lists", "strings"})
#: The same of whole bodies.
BODY_FORMS = frozenset({"of_inputs", "of_input_data"})

TYPE_WORDS = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "model_type": "an object",
    "string_type": "a string",
    "tuple_type": "an array",
}
SYMBOLS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}

Fields = dict[str, FieldInfo]


def body_error(error: ValidationError, model: type[BaseModel]) -> DistilqError:
    """The error of a JSON body that is no `model`: 400 if it is no JSON, else 422."""
    if error.error_count() > MOST_EXAMINED:
        return _invalid([], error.error_count())
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return malformed(found[0]["ctx"]["error"])
    for each in found:
        if BODY_FORMS.issuperset(each["loc"][:1]):
            each["loc"] = each["loc"][1:]
    spoilt = {e["loc"][:depth] for e in found for depth in range(len(e["loc"]))}
    # An array whose items are wrong also counts as too short: the wrong items are not counted.
    found = [e for e in found if e["type"] != "too_short" or e["loc"] not in spoilt]
    fields = _fields(model)
    entries = [{"pointer": pointer(_location(e))} | _entry(e, fields) for e in found[:MOST_ERRORS]]
    return _invalid(entries, len(found))


def query_error(error: ValidationError, model: type[BaseModel]) -> InvalidParameters:
    """The error of a query string."""
    found, fields = error.errors(include_url=False, include_input=False), _fields(model)
    entries = [{"parameter": str(_location(e)[0])} | _entry(e, fields) for e in found[:MOST_ERRORS]]
    return _invalid(entries, len(found))


def pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer as a URI fragment (RFC 6901)."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in location)
    return "#" + "".join("/" + quote(step, safe="~!$&'()*+,;=:@?") for step in steps)


def malformed(message: str) -> MalformedJson:
    place = re.search(r" at line (\d+) column (\d+)$", message)
    if place is None:
        return MalformedJson(message)
    return MalformedJson(message, line=int(place[1]), column=int(place[2]))


@cache
def _fields(model: type[BaseModel]) -> Fields:
    """The fields of a model and of those that are parts of it, by name."""
    found: Fields = {}
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            found |= _fields(part)
    return found | model.model_fields


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    # A `list[str]` passes for a type in Python 3.10, and then issubclass() will not have it.
    plain = get_origin(annotation) is None and isinstance(annotation, type)
    if plain and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _invalid(entries: list[dict[str, str]], count: int) -> InvalidParameters:
    detail = "1 field is invalid" if count == 1 else f"{count} fields are invalid"
    if count > len(entries):
        detail += f"; the first {len(entries)} are listed" if entries else ", too many to list"
    return InvalidParameters(detail, errors=entries)


def _location(error: ErrorDetails) -> tuple[int | str, ...]:
    """Where the client wrote what is wrong, without the steps that only our models have."""
    steps = error["loc"]
    for at in (0, 1, 2):  # a job's own body; that of a line of a file; a job in a batch
        if WITH_FORMS & set(steps[at : at + 1]) and set(steps[at + 1 : at + 2]) <= FORMS:
            steps = steps[: at + 1] + steps[at + 2 :]
    if steps[-1:] == ("[key]",):
        steps = steps[:-1]
    return (*steps, error["ctx"]["field"]) if error["type"] == "conflict" else steps


def _entry(error: ErrorDetails, fields: Fields) -> dict[str, str]:
    code, detail = _code_and_detail(error["type"], error, fields)
    return {"code": code, "detail": detail}


def _code_and_detail(kind: str, error: ErrorDetails, fields: Fields) -> tuple[str, str]:
    ctx: dict[str, Any] = error.get("ctx", {})
    name = _name(error)
    if kind == "missing":
        return "missing", "is required"
    if kind == "extra_forbidden":
        return "unknown_field", "there is no such field"
    if kind == "conflict":
        return "conflict", error["msg"]
    if kind in ("literal_error", "none_required"):
        return "not_offered", fields[name].description or "is not offered"
    if kind == "enum":
        return "unknown_value", f"must be {ctx['expected']}"
    if kind in TYPE_WORDS:
        return "wrong_type", _type_words(kind, error, fields)
    if kind in SYMBOLS or kind == "finite_number":
        return "out_of_range", f"must be {_bounds(fields.get(name)) or _bound(kind, ctx)}"
    if kind in ("too_long", "too_short", "string_too_long", "string_too_short"):
        return "out_of_range", _size_words(kind, ctx)
    return "invalid", error["msg"].removeprefix("Value error, ")


def _name(error: ErrorDetails) -> str:
    return str(error["loc"][-1]) if error["loc"] else ""


def _type_words(kind: str, error: ErrorDetails, fields: Fields) -> str:
    steps = _location(error)
    several = WITH_FORMS & set(steps[-1:]) and len(steps) < len(error["loc"])
    if kind == "tuple_type" and several:
        return f"must be {fields[str(steps[-1])].description}"
    return f"must be {TYPE_WORDS[kind]}"


def _bounds(field: FieldInfo | None) -> str:
    """Both bounds of a field, as in `> 0 and <= 1`."""
    metadata = field.metadata if field else []
    bounds = [
        f"{symbol} {getattr(bound, attribute):g}"
        if isinstance(getattr(bound, attribute), float)
        else f"{symbol} {getattr(bound, attribute)}"
        for attribute, symbol in SYMBOLS.values()
        for bound in metadata
        if hasattr(bound, attribute)
    ]
    return " and ".join(bounds)


def _bound(kind: str, ctx: dict[str, Any]) -> str:
    if kind not in SYMBOLS:
        return "a finite number"
    attribute, symbol = SYMBOLS[kind]
    bound = ctx[attribute]
    return f"{symbol} {bound:g}" if isinstance(bound, float) else f"{symbol} {bound}"


def _size_words(kind: str, ctx: dict[str, Any]) -> str:
    unit = "character" if kind.startswith("string") else "item"
    if "min_length" in ctx and kind.endswith("short"):
        count, words = ctx["min_length"], "at least"
    else:
        count, words = ctx["max_length"], "at most"
    return f"must have {words} {count} {unit}{'' if count == 1 else 's'}"
