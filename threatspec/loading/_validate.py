"""Validation: pydantic's errors as coded problems at the places where they stand."""

from __future__ import annotations

import json
from collections.abc import Collection
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from threatspec.errors import Problem, did_you_mean
from threatspec.loading._marks import Place, Source
from threatspec.schema import Model

__all__ = ["validate"]

M = TypeVar("M", bound=BaseModel)

_CODES = {
    "finite_number": "TS-NON-FINITE",
    "greater_than": "TS-OUT-OF-RANGE",
    "greater_than_equal": "TS-OUT-OF-RANGE",
    "less_than": "TS-OUT-OF-RANGE",
    "less_than_equal": "TS-OUT-OF-RANGE",
    "multiple_of": "TS-OUT-OF-RANGE",
    "unit": "TS-UNIT",
}
_RULES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "model_type": "must be a mapping",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "too_long": "must hold at most {max_length} entries",
    "too_short": "must hold {min_length} or more entries",
    "tuple_type": "must be a list",
}
_PATTERNS = {
    r"^[A-Za-z_][A-Za-z0-9_-]*$": "must be a name of letters, digits, - and _",
    r"^[a-z0-9]+(-[a-z0-9]+)*$": "must be lower case words joined by -",
    r"^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$": "must be lower case words joined by -",
    r"^[0-9a-f]{64}$": "must be 64 hexadecimal digits",
}


def validate(
    model: type[M],
    data: dict[str, Any],
    source: Source,
    place: Place = (),
    broken: Collection[Place] = (),
) -> tuple[M | None, list[Problem]]:
    """``data`` as ``model``, or everything wrong with it as if it stood at ``place``.

    ``broken`` are places that could not be read; they have a problem already.
    """
    try:
        # JSON, because strict models take lists for tuples and text for enums only there.
        return model.model_validate_json(json.dumps(data)), []
    except ValidationError as errors:
        found = [
            _problem(model, error, source, place, data)
            for error in errors.errors(include_url=False)
            if not _covered(place + tuple(error["loc"]), broken) and not _miscounted(error)
        ]
    return None, found


def _covered(place: Place, broken: Collection[Place]) -> bool:
    plain = tuple(part for part in place if part != "[key]")
    return any(plain[: len(other)] == other for other in broken)


def _miscounted(error: Any) -> bool:
    """pydantic counts valid entries only: a list is not too short because an entry is wrong."""
    short = error["type"] == "too_short" and isinstance(error["input"], (list, dict))
    return short and len(error["input"]) >= error["ctx"]["min_length"]


def _problem(
    model: type[BaseModel], error: Any, source: Source, place: Place, data: Any
) -> Problem:
    loc = tuple(error["loc"])
    where = place + _as_written(data, loc)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _extra(_model_at(model, loc[:-1]), str(loc[-1]), source, where)
    if kind == "missing":
        return _missing(str(loc[-1]), source, where)
    if "code" in context:
        return _custom(context, source, where)
    at_key = loc[-1:] == ("[key]",)
    code = _CODES.get(kind, "TS-WRONG-TYPE")
    where = where[:-1] if at_key else where
    return source.problem(code, _message(error, where), where, at="key" if at_key else "value")


def _as_written(data: Any, loc: Place) -> Place:
    """``loc`` without the index of what is written alone where a list may stand."""
    found: Place = ()
    for part in loc:
        alone = isinstance(part, int) and isinstance(data, dict)
        if not alone:
            found = (*found, part)
            data = _inside(data, part)
    return found


def _inside(data: Any, part: str | int) -> Any:
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None


def _extra(owner: Any, name: str, source: Source, where: Place) -> Problem:
    if name in getattr(owner, "not_evaluated", ()):
        text = f"{name} is not evaluated by this version"
        return source.problem("TS-NOT-EVALUATED", text, where, at="key")
    fields = owner.model_fields.items() if owner is not None else ()
    known = [info.alias or field for field, info in fields]
    text = f"unknown field {name!r}{did_you_mean(name, known)}"
    return source.problem("TS-UNKNOWN-FIELD", text, where, at="key")


def _missing(name: str, source: Source, where: Place) -> Problem:
    owner = _name(where[:-1])
    text = f"{owner} must have the field {name!r}, but it is missing"
    return source.problem("TS-MISSING-FIELD", text, where, at="key")


def _custom(context: dict[str, Any], source: Source, where: Place) -> Problem:
    """Errors of our own validators carry their code, a whole sentence and perhaps a finer place."""
    finer = tuple(context[key] for key in ("field", "index") if key in context)
    at, column = "key" if "field" in context else "value", context.get("column")
    hint = did_you_mean(context["name"], context["known"]) if "known" in context else ""
    text = context["message"] + hint
    return source.problem(context["code"], text, where + finer, at, column)


def _message(error: Any, where: Place) -> str:
    if error["type"] == "value_error":  # of a rule between fields, a sentence of its own
        return str(error["ctx"]["error"])
    name = "the key" if error["loc"][-1:] == ("[key]",) else _name(where)
    got = _shown(error["input"])
    hint = ""
    if error["type"] in {"enum", "literal_error"}:
        known = [part.strip("'") for part in _expected(error).split(", ")]
        hint = did_you_mean(str(error["input"]), known).partition(";")[0]
    return f"{name} {_rule(error)}, but got {got}{hint}"


def _rule(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in {"enum", "literal_error"}:
        return f"must be {'one of ' if ',' in _expected(error) else ''}{_expected(error)}"
    if kind == "string_pattern_mismatch" and context.get("pattern") in _PATTERNS:
        return _PATTERNS[context["pattern"]]
    if kind in _RULES:
        return _RULES[kind].format(**context)
    text = str(error["msg"])
    return text.replace("Input should be", "must be").replace("Input should", "must")


def _expected(error: Any) -> str:
    return str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ")


def _name(where: Place) -> str:
    if not where:
        return "the document"
    last = where[-1]
    return str(last) if isinstance(last, str) else f"{_name(where[:-1])}[{last}]"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _model_at(kind: Any, loc: Place) -> type[Model] | None:
    """The model that stands at ``loc`` inside ``kind``, following fields, mappings and lists."""
    kind = _bare(kind)
    if not loc:
        return kind if isinstance(kind, type) and issubclass(kind, Model) else None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, info in kind.model_fields.items():
            if loc[0] in (name, info.alias):
                return _model_at(info.annotation, loc[1:])
        return None
    inner = get_args(kind)
    if get_origin(kind) is dict:
        return _model_at(inner[1], loc[1:])
    return _model_at(inner[0], loc[1:]) if inner else None


def _bare(kind: Any) -> Any:
    """``kind`` without annotations and without ``| None``."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _bare(next(part for part in get_args(kind) if part is not type(None)))
    return kind
