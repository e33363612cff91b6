"""Claims: from evidence to verdicts. Pure functions over records; nothing heavy is imported."""

from threatspec.claims._bounds import (
    Bound,
    Lookup,
    bound_of,
    distinct_operands,
    evaluate,
    refutation_p,
    support_p,
)
from threatspec.claims._decide import decide, exit_code
from threatspec.claims._evidence import CellEvidence, CellState, Evidence, gather
from threatspec.claims._models import (
    CampaignVerdict,
    CellReading,
    ClaimVerdict,
    ControlReading,
    GateReading,
    MeasureReading,
    RuleKind,
    RuleReading,
    Truth,
    Witness,
)
from threatspec.claims._tally import Tally

__all__ = [
    "Bound",
    "CampaignVerdict",
    "CellEvidence",
    "CellReading",
    "CellState",
    "ClaimVerdict",
    "ControlReading",
    "Evidence",
    "GateReading",
    "Lookup",
    "MeasureReading",
    "RuleKind",
    "RuleReading",
    "Tally",
    "Truth",
    "Witness",
    "bound_of",
    "decide",
    "distinct_operands",
    "evaluate",
    "exit_code",
    "gather",
    "refutation_p",
    "support_p",
]
