"""What a verdict says, as data (`threatspec/verdict/v2`); reports render it and compute nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from threatspec.claims._evidence import CellState
from threatspec.claims._rule import RuleKind, RuleReading
from threatspec.claims._tally import Tally
from threatspec.records import Arm, Spend
from threatspec.schema import Governance, Model, Protects, Verdict

__all__ = [
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
    "RuleKind",
    "RuleReading",
    "SeriesReading",
    "Truth",
    "Witness",
]


class Truth(StrEnum):
    """What the bounds say of a predicate."""

    TRUE = "true"
    FALSE = "false"
    UNDECIDED = "undecided"


class MeasureReading(Model):
    """One measure read on one cell, with one-sided bounds at the claim's confidence."""

    measure: str
    tally: Tally
    lower: float
    upper: float


class CellReading(Model):
    """One attacked cell as the claim sees it."""

    cell: str
    procedure: str
    """Name of the procedure, e.g. `lora-finetune lr=0.001`."""
    arm: Arm
    replicate: int
    state: CellState
    counts: Truth
    """`counts_if`; FALSE = collapsed: neither witness nor support."""
    holds: Truth
    p: float
    """Exact p-value of "the claim is false here"; 1 where the cell cannot speak."""
    adjusted_p: float
    """After Holm: over all planned cells (defended), over the procedure's replicates (control)."""
    readings: tuple[MeasureReading, ...]
    spend: Spend
    """Of one pass of the adversary: scores, search and final run."""
    chosen: str = ""
    """Knobs that a search has chosen, e.g. `lr=0.0003, steps=10`."""
    note: str = ""
    """Anything out of the ordinary, e.g. an error code with its message, or `collapsed`."""


class SeriesReading(Model):
    """One procedure as a whole, under a seeds rule that is not about each replicate."""

    procedure: str
    stands: Truth
    """TRUE: the subject withstood; FALSE: it did not."""
    says: str


class FlagEffect(StrEnum):
    """What a flag does to a verdict (docs/flags.md)."""

    NOTE = "note"
    """Nothing; it is printed."""
    BLOCKS = "blocks support"
    """The claim is not supported: INCONCLUSIVE."""
    VACUOUS = "vacuous"
    """The evidence could not have refuted."""


class FlagReading(Model):
    """Something about the evidence that a reader would want to be told."""

    flag: str
    effect: FlagEffect
    says: str


class CostPoint(Model):
    """The best attack so far, in order of cost."""

    flops: float
    steps: int
    rate: float
    """Highest observed share of the bounded measure up to this cost (for `>=`, lowest)."""
    procedure: str
    replicate: int


class CostCurve(Model):
    """How much it costs to break one arm, as far as was tried."""

    arm: Arm
    subject: str
    points: tuple[CostPoint, ...]
    """Only those at which the best so far improves; the first is the untouched subject."""
    broken_at: float
    """FLOPs of the cheapest cell that breaks `holds`; meaningless if `censored`."""
    censored: bool
    """Whether nothing that was tried breaks it: the cost is more than `tried`."""
    tried: float
    """FLOPs of the dearest cell that was run."""


class Witness(Model):
    """The cheapest cell that refutes the claim."""

    cell: str
    procedure: str
    replicate: int
    spend: Spend
    says: str
    """One plain sentence: what was done, what it cost, what was seen."""


class GateReading(Model):
    """A predicate read on an untouched subject."""

    name: Literal["provided", "control untouched"]
    predicate: str
    subject: str
    truth: Truth
    readings: tuple[MeasureReading, ...]


class ControlReading(Model):
    """One procedure on the control: is the attack alive?"""

    procedure: str
    named: bool
    breaks: Truth
    """UNDECIDED if the control's cells are missing or failed."""
    live: Truth
    """Did the attack do what it was asked to: weights moved, loss fell; from realised training."""
    adjusted_p: float
    """Least over the replicates, after Holm."""
    says: str


class ClaimVerdict(Model):
    """The answer to one claim."""

    id: str
    says: str
    verdict: Verdict
    expected: Verdict
    """What passes: `expect`, or SUPPORTED."""
    because: str = ""
    passed: bool
    reasons: tuple[str, ...]
    """Plain sentences, the decisive one first."""
    scope: str
    """One sentence that says what was tested; printed with every verdict."""
    confidence: float
    holds: str
    provided: str = ""
    counts_if: str = ""
    seeds_rule: str = "each"
    subject: str
    """Reference of the model."""
    adversary: str
    witness: Witness | None = None
    cells: tuple[CellReading, ...]
    controls: tuple[ControlReading, ...]
    gates: tuple[GateReading, ...]
    series: tuple[SeriesReading, ...] = ()
    """For the seeds rules `quantile` and `mean`."""
    rules: tuple[RuleReading, ...] = ()
    """Rules of admissibility that are broken, answered or not."""
    flags: tuple[FlagReading, ...] = ()
    costs: tuple[CostCurve, ...] = ()
    """Cost to break of the subject, the control and the undefended model."""
    seeds: str = ""
    """What the replicates say of seeds that were not run."""
    turning: str = ""
    """What would have changed the verdict."""
    run: int = 1
    """How often campaigns of this claim were begun in this place, this one included."""
    dropped: tuple[str, ...] = ()
    """Automatically selected procedures whose control did not break."""
    not_run: tuple[str, ...] = ()
    """Attacks that access allows and the adversary does not list."""
    protects: Protects | None = None
    """What the claim protects, if the spec says."""
    governance: Governance | None = None
    """Who answers for the evidence, and until when, if the spec says."""
    next_step: str
    """What would decide it, or what could honestly be claimed instead."""

    @property
    def waived(self) -> tuple[RuleReading, ...]:
        """Rules that are waived, where that is why the claim is supported."""
        if self.verdict is not Verdict.SUPPORTED or self.witness is not None:
            return ()  # what one attack shows (`for: some`) needs no rule of sufficiency
        return tuple(one for one in self.rules if one.answer == "waived")


class CampaignVerdict(Model):
    """The answers of one campaign."""

    format: Literal["threatspec/verdict/v2"] = Field(
        default="threatspec/verdict/v2", alias="schema", serialization_alias="schema"
    )
    plan: str
    """Id of the plan."""
    spec_file: str
    complete: bool
    """False if planned cells have not been run yet."""
    claims: tuple[ClaimVerdict, ...]
