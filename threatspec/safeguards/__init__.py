"""Safeguards: one file per defence; each says at which stages it acts."""

from threatspec.safeguards.base import (
    SAFEGUARDS,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    SafetyRow,
)

__all__ = ["SAFEGUARDS", "Safeguard", "SafeguardConfig", "SafeguardContext", "SafetyRow"]
