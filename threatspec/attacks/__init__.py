"""Attacks: measuring instruments. One file per attack; each asks for what it needs."""

from threatspec.attacks._rows import training_rows
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)

__all__ = [
    "ATTACKS",
    "Answer",
    "Ask",
    "Attack",
    "AttackConfig",
    "AttackContext",
    "DataCard",
    "Surface",
    "training_rows",
]
