"""Records: what was planned, done, spent and seen."""

from threatspec.records._artefacts import ArtefactStore
from threatspec.records._environment import Environment, environment
from threatspec.records._labels import (
    AuditCount,
    Label,
    LabelBook,
    Pair,
    Stratum,
    audit,
    consensus,
    strata,
)
from threatspec.records._ledger import Attempt, Ledger
from threatspec.records._marks import ABSENT, MARKS, Marker, items_by_trial, marks_of_results
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
from threatspec.records._registration import REGISTER, Registration, claim_digests, register
from threatspec.records._restore import restore
from threatspec.records._results import (
    Generation,
    Outcome,
    Phases,
    Realised,
    Replies,
    Row,
    Spend,
    TrialResult,
    TrialStatus,
)
from threatspec.records._shipping import Shipper
from threatspec.records._storage import Storage, campaign_storage

__all__ = [
    "ABSENT",
    "MARKS",
    "REGISTER",
    "UNTOUCHED",
    "Arm",
    "ArtefactStore",
    "Attempt",
    "AuditCount",
    "Budget",
    "Cell",
    "Environment",
    "Execution",
    "Generation",
    "Label",
    "LabelBook",
    "Ledger",
    "Marker",
    "Outcome",
    "Overlap",
    "Pair",
    "Phases",
    "Plan",
    "PlannedClaim",
    "PlannedMeasure",
    "PlannedSlice",
    "Procedure",
    "Realised",
    "Registration",
    "Replies",
    "Row",
    "Shipper",
    "Spend",
    "Storage",
    "Stratum",
    "Stream",
    "Trial",
    "TrialKind",
    "TrialResult",
    "TrialStatus",
    "audit",
    "campaign_storage",
    "claim_digests",
    "consensus",
    "environment",
    "items_by_trial",
    "marks_of_results",
    "register",
    "restore",
    "strata",
]
