"""Attacks: measuring instruments. One file per attack; each asks for what it needs."""

from threatspec.attacks._chain import Chain, attack_of, parts_of
from threatspec.attacks._rows import SAFEGUARD_SPLITS, training_rows
from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Mounted,
    Surface,
)

__all__ = [
    "ATTACKS",
    "SAFEGUARD_SPLITS",
    "Answer",
    "Ask",
    "Attack",
    "AttackConfig",
    "AttackContext",
    "Chain",
    "DataCard",
    "Mounted",
    "Surface",
    "attack_of",
    "parts_of",
    "training_rows",
]
