"""Knobs that are given a list of values where one is meant: a finite set to search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

__all__ = ["each_value", "listed_values"]


def listed_values(model: type[BaseModel], knobs: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The values of every such knob of `model`; a knob that takes lists is given one value."""
    fields = model.model_fields
    return {
        name: tuple(value)
        for name, value in knobs.items()
        if isinstance(value, (list, tuple)) and value and name in fields
        and not _takes(fields[name], value)
    }  # fmt: skip


def _takes(field: FieldInfo, value: Any) -> bool:
    """Whether the list itself is one value of the knob."""
    annotation: Any = field.annotation
    try:
        TypeAdapter(annotation).validate_python(list(value), strict=False)
    except ValidationError as error:
        return all(one["type"] in {"too_long", "too_short"} for one in error.errors())
    return True


def each_value(model: type[BaseModel], knobs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Knobs with one value each, so that every value of a list comes once."""
    listed = listed_values(model, knobs)
    first = {**knobs, **{name: values[0] for name, values in listed.items()}}
    yield first
    for name, values in listed.items():
        yield from ({**first, name: value} for value in values[1:])
