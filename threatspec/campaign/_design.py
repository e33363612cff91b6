"""Rules of admissibility that a spec breaks as it is stated, before anything runs."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from threatspec.campaign._expand import Expanded, expand
from threatspec.campaign._overlap import overlaps
from threatspec.campaign._resolution import Resolution, resolve
from threatspec.campaign._resolve import Resolved
from threatspec.campaign._safeguards import in_place
from threatspec.campaign._seeds import replicate_seeds
from threatspec.claims import (
    Design,
    DesignProcedure,
    RuleReading,
    design_readings,
    foreseen,
    limits_of,
    seeds_shown,
)
from threatspec.loading import LoadedSpec
from threatspec.measures import JUDGES
from threatspec.schema import Claim, Verdict

__all__ = ["ClaimCheck", "check_design"]

_NOT_RELIED_ON = frozenset({Verdict.VACUOUS, Verdict.INADMISSIBLE})
"""Verdicts that say nothing for a claim, for which evidence need not be sufficient."""


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """One claim that gets a verdict, with the rules that its design breaks."""

    id: str
    claim: Claim
    place: tuple[str | int, ...]
    """Where the claim's id stands in the spec."""
    readings: tuple[RuleReading, ...]
    foreseen: tuple[RuleReading, ...]
    """What only the run can meet, and for which nothing has been done yet."""
    limits: Mapping[str, Any]
    """Entries of a `scope` that would answer open rules."""

    @property
    def open(self) -> tuple[RuleReading, ...]:
        """Broken rules that nothing answers."""
        return tuple(reading for reading in self.readings if reading.answer == "open")

    @property
    def expects(self) -> Verdict:
        """The verdict that passes."""
        return self.claim.expect.verdict if self.claim.expect else Verdict.SUPPORTED

    @property
    def reachable(self) -> str:
        """What one attack can decide, however narrow the evidence: `refuted`, or `supported`."""
        return "supported" if self.claim.quantifier == "some" else "refuted"

    @property
    def refused(self) -> bool:
        """Whether no evidence of this design could give the verdict that passes."""
        by_one = Verdict.SUPPORTED if self.claim.quantifier == "some" else Verdict.REFUTED
        return bool(self.open) and self.expects not in {by_one, *_NOT_RELIED_ON}


def check_design(
    spec: Resolution | LoadedSpec, at: datetime.date | None = None
) -> tuple[ClaimCheck, ...]:
    """What each claim's design breaks on a day (today), in the order of verdicts.

    Raises SpecErrors for all that is wrong with the spec itself.
    """
    found = resolve(spec, models_must_exist=False) if isinstance(spec, LoadedSpec) else spec
    day = at or datetime.datetime.now(datetime.UTC).date()
    return tuple(
        _check(found, one, index, day)
        for index, claim in enumerate(found.spec.claims)
        for one in _expanded(found, claim)
    )


def _expanded(found: Resolution, claim: Claim) -> Iterator[Expanded]:
    return expand(claim, found.met_by(claim))


def _check(found: Resolution, one: Expanded, index: int, day: datetime.date) -> ClaimCheck:
    design = _design(found, one)
    readings = design_readings(design, day)
    return ClaimCheck(
        id=one.id,
        claim=one.claim,
        place=("claims", index, "id"),
        readings=readings,
        foreseen=foreseen(design),
        limits=limits_of(design, readings),
    )


def _design(found: Resolution, one: Expanded) -> Design:
    claim, spec = one.claim, found.spec
    adversary = spec.adversaries[claim.against]
    subject = spec.all_subjects[one.subject]
    made = [one for one in found.attacks[claim.against] if in_place(subject, one.against)]
    return Design(
        claim=claim,
        subject=subject,
        seeds_shown=seeds_shown(subject, found.subjects(claim).values()),
        adversary=adversary,
        measures=spec.measures,
        serving=spec.serving,
        governance=spec.governance,
        procedures=tuple(_procedure(one, resolved) for resolved in made),
        exact=_exact(found),
        overlaps=overlaps(found),
        described=_described(found),
        not_run=found.not_run(claim.against, subject),
    )


def _procedure(one: Expanded, resolved: Resolved) -> DesignProcedure:
    """A claim `for: each` attack replicates one of the adversary's."""
    seeds = one.claim.seeds
    random = not resolved.deterministic and one.procedure in {None, resolved.name}
    return DesignProcedure(
        name=resolved.name,
        attack=resolved.attack.kind,
        config=resolved.config.model_dump(mode="json"),
        rows={role.value: entry["source"] for role, entry in resolved.data.items()},
        trainer=resolved.trainer,
        search=resolved.search,
        seeds=tuple(
            replicate_seeds(seeds.root, replicate, resolved.streams)
            for replicate in range(seeds.replicates if random else 0)
        ),
    )


def _described(found: Resolution) -> frozenset[str]:
    measures = found.spec.measures.items()
    return frozenset(m.benchmark for name, m in measures if name not in found.benchmarks)


def _exact(found: Resolution) -> Mapping[str, bool]:
    """A judge that is only described is never taken to be exact."""
    used = {name: measure.judge.use for name, measure in found.spec.measures.items()}
    return {name: judge in JUDGES and JUDGES.get(judge).exact for name, judge in used.items()}
