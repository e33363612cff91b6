"""Campaign: from a spec to a frozen plan, and what the plan could decide."""

from threatspec.campaign._compile import check_spec, compile_plan
from threatspec.campaign._digests import check_code, source_digest
from threatspec.campaign._forecast import ClaimForecast, Forecast, forecast, require_decidable
from threatspec.campaign._resolve import attack_cards

__all__ = [
    "ClaimForecast",
    "Forecast",
    "attack_cards",
    "check_code",
    "check_spec",
    "compile_plan",
    "forecast",
    "require_decidable",
    "source_digest",
]
