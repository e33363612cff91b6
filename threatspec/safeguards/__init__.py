"""Safeguards: one file per defence; each says at which stages it acts."""

from threatspec.safeguards.base import (
    SAFEGUARDS,
    Fitted,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)

__all__ = [
    "SAFEGUARDS",
    "Fitted",
    "Safeguard",
    "SafeguardConfig",
    "SafeguardContext",
    "Stage",
]
