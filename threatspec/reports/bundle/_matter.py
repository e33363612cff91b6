"""A bundle with what its checks look up again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from threatspec import attacks
from threatspec.attacks import Attack
from threatspec.campaign import Expanded, expand
from threatspec.errors import ThreatspecError
from threatspec.measures import BENCHMARKS, JUDGES, Benchmark, Judge
from threatspec.records import (
    Arm,
    Cell,
    Plan,
    PlannedClaim,
    Procedure,
    Stream,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.reports.bundle._bundle import Bundle
from threatspec.safeguards import SAFEGUARDS, Stage
from threatspec.schema import Capability, Claim, Spec

__all__ = ["Matter", "attack_of", "benchmark_of", "judge_of", "streams_of"]


@dataclass(frozen=True)
class Matter:
    """What is verified."""

    bundle: Bundle

    @property
    def plan(self) -> Plan:
        """The plan as the bundle has it."""
        return self.bundle.plan

    @cached_property
    def plan_id(self) -> str:
        """Id of the plan's content, which is long to compute."""
        return self.plan.id

    @property
    def spec(self) -> Spec:
        """The spec inside the plan."""
        return self.bundle.spec

    @cached_property
    def expanded(self) -> dict[str, Expanded]:
        """What the spec says should be answered, by id."""
        return {one.id: one for one in self._expanded()}

    def _expanded(self) -> list[Expanded]:
        return [one for claim in self.spec.claims for one in expand(claim, self._met_by(claim))]

    def _met_by(self, claim: Claim) -> dict[str, list[str]]:
        """Names of the procedures that each subject of a claim meets."""
        subjects = self.spec.all_subjects
        return {
            name: [
                procedure.name
                for procedure in self.of(claim.against)
                if not procedure.against or procedure.against in subjects[name].guarded_by
            ]
            for name in claim.subject or subjects
        }

    def of(self, adversary: str) -> list[Procedure]:
        """Procedures of an adversary, in the order of the plan."""
        return [one for one in self.plan.procedures.values() if one.adversary == adversary]

    @cached_property
    def planned(self) -> dict[str, PlannedClaim]:
        """Planned claims by id."""
        return {claim.id: claim for claim in self.plan.claims}

    @cached_property
    def done(self) -> Mapping[str, TrialResult]:
        """Results of trials that ended well."""
        results = self.bundle.results
        return {t: found for t, found in results.items() if found.status is TrialStatus.DONE}

    def results(self, kind: TrialKind) -> Mapping[str, TrialResult]:
        """Results of one kind of trials that ended well."""
        return {t: found for t, found in self.done.items() if self.plan.trials[t].kind is kind}

    def provides(self, cell: Cell) -> bool | None:
        """Whether the spec has a provider impose something where the cell is trained; None: that
        hangs on a safeguard that this program does not have."""
        name = self._named.get(cell.subject)
        procedure = self.plan.procedures.get(cell.procedure)
        if name is None or procedure is None:
            return False
        holds = self.spec.adversaries[procedure.adversary].capabilities
        kinds = [use.kind for use in self.spec.all_subjects[name].unfitted]
        if Capability.WEIGHTS_WRITE in holds or not kinds:
            return False
        if any(kind not in SAFEGUARDS.names() for kind in kinds):
            return None
        return any(Stage.TRAINING in SAFEGUARDS.get(kind).stages for kind in kinds)

    def own_rows(self, cell: Cell) -> int:
        """Rows of the safeguards of a cell's subject, which a provider may add to those of a
        customer."""
        name = self._named.get(cell.subject)
        uses = self.spec.all_subjects[name].unfitted if name is not None else ()
        return sum(source.n for use in uses for source in use.data.values())

    @cached_property
    def _named(self) -> dict[str, str]:
        """Name of the subject in the spec by reference of its model."""
        return {one.models[Arm.DEFENDED]: one.subject for one in self.plan.claims}

    def name(self, cell: Cell) -> str:
        """How a cell is called in a sentence."""
        procedure = self.plan.procedures.get(cell.procedure)
        how = f"{procedure.name} on " if procedure else "untouched "
        return f"{how}{cell.subject} (replicate {cell.replicate})"


def attack_of(kind: str) -> Attack | None:
    """The attack, if this program has it."""
    try:
        return attacks.attack_of(kind)
    except ThreatspecError:
        return None


def streams_of(procedure: Procedure) -> frozenset[Stream] | None:
    """Seed streams of a procedure's attack, if this program has it; all where its knobs are not
    of that attack, which is complained of elsewhere, or are searched."""
    attack = attack_of(procedure.attack)
    if attack is None:
        return None
    if procedure.search:
        return attack.streams
    try:
        config = attack.Config.model_validate(procedure.config, strict=False)
    except (ThreatspecError, ValueError, KeyError, TypeError):
        return attack.streams
    return attack.streams_of(config)


def judge_of(kind: str) -> Judge | None:
    """The judge, if this program has it."""
    try:
        return JUDGES.get(kind)
    except ThreatspecError:
        return None


def benchmark_of(name: str) -> Benchmark | None:
    """The benchmark, if it comes with this program; nothing else that a stranger names is read."""
    if name not in BENCHMARKS.names():  # a file, a data set of a hub, the user's own copy
        return None
    try:
        return BENCHMARKS.get(name)
    except ThreatspecError:
        return None
