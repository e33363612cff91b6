"""The knob `trigger`: a name, or a name with knobs; and a trigger with some knobs changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny
from pydantic_core import PydanticCustomError

from threatspec.attacks._choice import Offered, chosen
from threatspec.attacks.triggers.base import TRIGGERS, TriggerConfig

__all__ = ["TriggerChoice", "changed"]


def _chosen(value: Any) -> Any:
    """`NAME` or `{use: NAME, knob: value}` as the trigger's own configuration."""
    return chosen(value, "trigger", TRIGGERS, TriggerConfig)


def changed(config: TriggerConfig, knobs: Mapping[str, Any]) -> TriggerConfig:
    """The trigger with other values of these knobs. Raises what validating the knob raises, and
    PydanticCustomError for `use`: it stays the same trigger."""
    if "use" in knobs:
        text = (
            f"unknown field 'use': other knobs of {config.use} may be given, but no other trigger"
        )
        context: dict[str, Any] = {"message": text, "code": "TS-UNKNOWN-FIELD"}
        raise PydanticCustomError("trigger", "{message}", context)
    found: TriggerConfig = _chosen({**config.model_dump(mode="json"), **knobs})
    return found


TriggerChoice = Annotated[
    SerializeAsAny[TriggerConfig], BeforeValidator(_chosen), Offered(lambda: dict(TRIGGERS))
]
"""Type of the knob; what is read is the configuration of the trigger that is named."""
