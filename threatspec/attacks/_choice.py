"""Knobs that name an entry of a registry: a name alone, or `{use: NAME, knob: value}`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from threatspec.errors import ThreatspecError
from threatspec.registry import Registry

__all__ = ["Offered", "chosen"]


class _Said(Protocol):
    says: Any


def chosen(value: Any, knob: str, registry: Registry[Any], base: type[Any]) -> Any:
    """The configuration that `value` means, of the class `Config` of the entry that it names.

    Raises PydanticCustomError, whose message is the whole sentence, as readers of files expect it.
    """
    data = {"use": value} if isinstance(value, str) else value
    if isinstance(data, base):
        return data
    if not isinstance(data, dict) or not isinstance(data.get("use"), str):
        text = f"{knob} must be a name or {{use: NAME, ...}}, but got "
        raise _complaint(knob, "TS-WRONG-TYPE", f"{text}{json.dumps(value, default=str)}")
    try:
        config = registry.get(data["use"]).Config
    except ThreatspecError as error:
        raise _complaint(knob, error.code, error.message) from None
    known = list(config.model_fields)
    for name in data:
        if name not in known:
            finer = {"field": name, "name": name, "known": known}
            raise _complaint(knob, "TS-UNKNOWN-FIELD", f"unknown field {name!r}", **finer)
    return config.model_validate_json(json.dumps(data))


def _complaint(knob: str, code: str, message: str, **finer: Any) -> PydanticCustomError:
    context = {"message": message, "code": code, **finer}
    return PydanticCustomError(knob, "{message}", context)


class Offered:
    """What editors are told: the names that there are when they ask."""

    def __init__(self, found: Callable[[], Mapping[str, _Said]]) -> None:
        self._found = found

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = self._found()
        says = [entry.says for entry in found.values()]
        names = {"enum": list(found), "enumDescriptions": says}
        knobs = {"type": "object", "required": ["use"], "properties": {"use": names}}
        return {"anyOf": [names, knobs]}
