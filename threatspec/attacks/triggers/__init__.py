"""Triggers: changes of an image that a backdoored classifier answers to, as a table."""

from threatspec.attacks.triggers._choice import TriggerChoice, changed
from threatspec.attacks.triggers._tamper import TriggerTamper, trigger_tamper
from threatspec.attacks.triggers.base import TRIGGERS, Trigger, TriggerConfig

__all__ = [
    "TRIGGERS",
    "Trigger",
    "TriggerChoice",
    "TriggerConfig",
    "TriggerTamper",
    "changed",
    "trigger_tamper",
]
