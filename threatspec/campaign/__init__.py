"""Campaign: from a spec to a frozen plan, and what the plan could decide.

Names are imported when they are used: `check` compiles nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from threatspec._lazy import lazy

if TYPE_CHECKING:
    from threatspec.campaign._compile import check_spec, compile_plan
    from threatspec.campaign._design import ClaimCheck, check_design
    from threatspec.campaign._digests import check_code, source_digest
    from threatspec.campaign._entries import as_attack, procedure_id, procedure_ids
    from threatspec.campaign._expand import Expanded, expand
    from threatspec.campaign._forecast import (
        ClaimForecast,
        Forecast,
        forecast,
        require_decidable,
    )
    from threatspec.campaign._forecast_instruments import (
        InstrumentForecast,
        forecast_instruments,
    )
    from threatspec.campaign._resolution import models_of
    from threatspec.campaign._resolve import attack_cards
    from threatspec.campaign._seeds import replicate_seeds, search_seed

__all__ = [
    "ClaimCheck",
    "ClaimForecast",
    "Expanded",
    "Forecast",
    "InstrumentForecast",
    "as_attack",
    "attack_cards",
    "check_code",
    "check_design",
    "check_spec",
    "compile_plan",
    "expand",
    "forecast",
    "forecast_instruments",
    "models_of",
    "procedure_id",
    "procedure_ids",
    "replicate_seeds",
    "require_decidable",
    "search_seed",
    "source_digest",
]

__getattr__ = lazy(
    __name__,
    {
        "_compile": ("check_spec", "compile_plan"),
        "_design": ("ClaimCheck", "check_design"),
        "_digests": ("check_code", "source_digest"),
        "_entries": ("as_attack", "procedure_id", "procedure_ids"),
        "_resolution": ("models_of",),
        "_expand": ("Expanded", "expand"),
        "_forecast": ("ClaimForecast", "Forecast", "forecast", "require_decidable"),
        "_forecast_instruments": ("InstrumentForecast", "forecast_instruments"),
        "_resolve": ("attack_cards",),
        "_seeds": ("replicate_seeds", "search_seed"),
    },
)
