"""Claims: from evidence to verdicts. Pure functions over records; nothing heavy is imported.

Names are imported when they are used: `check` reads rules of design and no evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from threatspec._lazy import lazy

if TYPE_CHECKING:
    from threatspec.claims._answers import limits_of
    from threatspec.claims._audits import audits, audits_of
    from threatspec.claims._bounds import (
        Bound,
        Lookup,
        bound_of,
        distinct_operands,
        evaluate,
        refutation_p,
        support_p,
    )
    from threatspec.claims._broken import broke_the_model
    from threatspec.claims._decide import decide, exit_code
    from threatspec.claims._design import Design, DesignProcedure, design_of_plan, seeds_shown
    from threatspec.claims._design_rules import design_readings, foreseen
    from threatspec.claims._evidence import (
        AuditKey,
        CellEvidence,
        CellState,
        Evidence,
        Reader,
        gather,
    )
    from threatspec.claims._flags import FLAGS
    from threatspec.claims._judge_error import Audit
    from threatspec.claims._models import (
        CampaignVerdict,
        CellReading,
        ClaimVerdict,
        ControlReading,
        CostCurve,
        CostPoint,
        FlagEffect,
        FlagReading,
        GateReading,
        MeasureReading,
        SeriesReading,
        Truth,
        Witness,
    )
    from threatspec.claims._rule import Rule, RuleKind, RuleReading
    from threatspec.claims._rulebook import RULES
    from threatspec.claims._scope import serving_words
    from threatspec.claims._tally import Basis, Tally
    from threatspec.claims._view import View

__all__ = [
    "FLAGS",
    "RULES",
    "Audit",
    "AuditKey",
    "Basis",
    "Bound",
    "CampaignVerdict",
    "CellEvidence",
    "CellReading",
    "CellState",
    "ClaimVerdict",
    "ControlReading",
    "CostCurve",
    "CostPoint",
    "Design",
    "DesignProcedure",
    "Evidence",
    "FlagEffect",
    "FlagReading",
    "GateReading",
    "Lookup",
    "MeasureReading",
    "Reader",
    "Rule",
    "RuleKind",
    "RuleReading",
    "SeriesReading",
    "Tally",
    "Truth",
    "View",
    "Witness",
    "audits",
    "audits_of",
    "bound_of",
    "broke_the_model",
    "decide",
    "design_of_plan",
    "design_readings",
    "distinct_operands",
    "evaluate",
    "exit_code",
    "foreseen",
    "gather",
    "limits_of",
    "refutation_p",
    "seeds_shown",
    "serving_words",
    "support_p",
]

__getattr__ = lazy(
    __name__,
    {
        "_answers": ("limits_of",),
        "_audits": ("audits", "audits_of"),
        "_bounds": (
            "Bound",
            "Lookup",
            "bound_of",
            "distinct_operands",
            "evaluate",
            "refutation_p",
            "support_p",
        ),
        "_broken": ("broke_the_model",),
        "_decide": ("decide", "exit_code"),
        "_design": ("Design", "DesignProcedure", "design_of_plan", "seeds_shown"),
        "_design_rules": ("design_readings", "foreseen"),
        "_evidence": ("AuditKey", "CellEvidence", "CellState", "Evidence", "Reader", "gather"),
        "_flags": ("FLAGS",),
        "_judge_error": ("Audit",),
        "_models": (
            "CampaignVerdict",
            "CellReading",
            "ClaimVerdict",
            "ControlReading",
            "CostCurve",
            "CostPoint",
            "FlagEffect",
            "FlagReading",
            "GateReading",
            "MeasureReading",
            "SeriesReading",
            "Truth",
            "Witness",
        ),
        "_rule": ("Rule", "RuleKind", "RuleReading"),
        "_rulebook": ("RULES",),
        "_scope": ("serving_words",),
        "_tally": ("Basis", "Tally"),
        "_view": ("View",),
    },
)
