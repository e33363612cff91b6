"""Records: what was planned, done, spent and seen."""

from threatspec.records._artefacts import ArtefactStore
from threatspec.records._ledger import Attempt, Ledger
from threatspec.records._plan import (
    UNTOUCHED,
    Arm,
    Budget,
    Cell,
    Execution,
    Overlap,
    Plan,
    PlannedClaim,
    PlannedMeasure,
    PlannedSlice,
    Procedure,
    Stream,
    Trial,
    TrialKind,
)
from threatspec.records._results import (
    Generation,
    Outcome,
    Realised,
    Row,
    Spend,
    TrialResult,
    TrialStatus,
)

__all__ = [
    "UNTOUCHED",
    "Arm",
    "ArtefactStore",
    "Attempt",
    "Budget",
    "Cell",
    "Execution",
    "Generation",
    "Ledger",
    "Outcome",
    "Overlap",
    "Plan",
    "PlannedClaim",
    "PlannedMeasure",
    "PlannedSlice",
    "Procedure",
    "Realised",
    "Row",
    "Spend",
    "Stream",
    "Trial",
    "TrialKind",
    "TrialResult",
    "TrialStatus",
]
