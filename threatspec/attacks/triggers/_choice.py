"""The knob `trigger`: a name, or a name with knobs; and a trigger with some knobs changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from threatspec.attacks._choice import Offered, chosen
from threatspec.attacks.triggers.base import TRIGGERS, TriggerConfig

__all__ = ["TriggerChoice", "changed"]


def _chosen(value: Any) -> Any:
    """`NAME` or `{use: NAME, knob: value}` as the trigger's own configuration."""
    return chosen(value, "trigger", TRIGGERS, TriggerConfig)


def changed(config: TriggerConfig, knobs: Mapping[str, Any]) -> TriggerConfig:
    """The trigger with other values of these knobs. Raises what validating the knob raises."""
    found: TriggerConfig = _chosen({**config.model_dump(mode="json"), **knobs, "use": config.use})
    return found


TriggerChoice = Annotated[
    SerializeAsAny[TriggerConfig], BeforeValidator(_chosen), Offered(lambda: dict(TRIGGERS))
]
"""Type of the knob; what is read is the configuration of the trigger that is named."""
