"""Campaign: from a spec to a frozen plan, and what the plan could decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threatspec.campaign._compile import check_spec, compile_plan
from threatspec.campaign._design import ClaimCheck, check_design
from threatspec.campaign._digests import check_code, source_digest
from threatspec.campaign._resolve import attack_cards

if TYPE_CHECKING:
    from threatspec.campaign._forecast import (
        ClaimForecast,
        Forecast,
        forecast,
        require_decidable,
    )

__all__ = [
    "ClaimCheck",
    "ClaimForecast",
    "Forecast",
    "attack_cards",
    "check_code",
    "check_design",
    "check_spec",
    "compile_plan",
    "forecast",
    "require_decidable",
    "source_digest",
]


def __getattr__(name: str) -> Any:
    if name not in {"ClaimForecast", "Forecast", "forecast", "require_decidable"}:
        raise AttributeError(f"module 'threatspec.campaign' has no attribute {name!r}")
    from threatspec.campaign import _forecast  # brings statistics, which `check` does without

    return getattr(_forecast, name)
