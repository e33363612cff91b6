"""The knob `trigger`: a name, or a name with knobs; and a trigger with some knobs changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny
from pydantic_core import CoreSchema, PydanticCustomError

from threatspec.attacks.triggers.base import TRIGGERS, TriggerConfig
from threatspec.errors import ThreatspecError

__all__ = ["TriggerChoice", "changed"]


def _chosen(value: Any) -> Any:
    """`NAME` or `{use: NAME, knob: value}` as the trigger's own configuration."""
    data = {"use": value} if isinstance(value, str) else value
    if isinstance(data, TriggerConfig):
        return data
    if not isinstance(data, dict) or not isinstance(data.get("use"), str):
        text = "trigger must be a name or {use: NAME, ...}, but got "
        raise _complaint("TS-WRONG-TYPE", f"{text}{json.dumps(value, default=str)}")
    try:
        config = TRIGGERS.get(data["use"]).Config
    except ThreatspecError as error:
        raise _complaint(error.code, error.message) from None
    known = list(config.model_fields)
    for name in data:
        if name not in known:
            finer = {"field": name, "name": name, "known": known}
            raise _complaint("TS-UNKNOWN-FIELD", f"unknown field {name!r}", **finer)
    return config.model_validate_json(json.dumps(data))


def changed(config: TriggerConfig, knobs: Mapping[str, Any]) -> TriggerConfig:
    """The trigger with other values of these knobs. Raises what validating the knob raises."""
    found: TriggerConfig = _chosen({**config.model_dump(mode="json"), **knobs, "use": config.use})
    return found


def _complaint(code: str, message: str, **finer: Any) -> PydanticCustomError:
    """An error whose message is the whole sentence, as readers of files expect it."""
    context = {"message": message, "code": code, **finer}
    return PydanticCustomError("trigger", "{message}", context)


class _Offered:
    """What editors are told: names of triggers."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = dict(TRIGGERS)
        says = [trigger.says for trigger in found.values()]
        names = {"enum": list(found), "enumDescriptions": says}
        knobs = {"type": "object", "required": ["use"], "properties": {"use": names}}
        return {"anyOf": [names, knobs]}


TriggerChoice = Annotated[SerializeAsAny[TriggerConfig], BeforeValidator(_chosen), _Offered()]
"""Type of the knob; what is read is the configuration of the trigger that is named."""
