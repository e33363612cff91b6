"""The design of a claim: what rules of admissibility read, from a spec or from a frozen plan alone.

Nothing of it depends on a result, and nothing on what is installed, so that `check` and a verdict
from records years later read the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import ValidationError

from threatspec.errors import ThreatspecError
from threatspec.records import Arm, Overlap, Plan, PlannedClaim, Procedure, Search, Stream
from threatspec.schema import (
    Adversary,
    Claim,
    Governance,
    Measure,
    Model,
    Serving,
    Subject,
    operands,
)

__all__ = ["Design", "DesignProcedure", "design_of_plan", "seeds_shown"]

M = TypeVar("M", bound=Model)
SAFEGUARD_SPLIT = "safeguard_train"
"""Split of a benchmark that holds what the safeguard was trained on."""


@dataclass(frozen=True, slots=True)
class DesignProcedure:
    """A procedure as rules read it."""

    name: str
    attack: str
    """Kind of the attack."""
    config: Mapping[str, Any]
    rows: Mapping[str, str]
    """Source of the rows that it reads (`BENCHMARK#SPLIT`), by role."""
    trainer: str
    search: Search | None = None
    seeds: tuple[Mapping[Stream, int], ...] = ()
    """Of each replicate that the claim needs; none if it has no seed streams."""

    @property
    def trains(self) -> bool:
        """Whether it trains on rows."""
        return bool(self.trainer)

    @property
    def knobs(self) -> Mapping[str, Any]:
        """Of a chain, those of all its attacks; the later one's where two have the same."""
        links = self.config.get("links")
        if links is None:
            return self.config
        return {name: value for link in links for name, value in link["config"].items()}

    def values(self, knob: str) -> frozenset[str]:
        """What a knob is set to: one value, or all that a search may try."""
        varied = self.search.varied.items() if self.search else ()
        found = next((v for name, v in varied if name.rpartition(".")[2] == knob), None)
        if found is None:
            given = self.knobs.get(knob)
            return frozenset(() if given is None else {repr(given)})
        if found.choices:
            return frozenset(map(repr, found.choices))
        tried = self.search.configurations if self.search else 0
        return frozenset(f"{found.low}..{found.high} #{number}" for number in range(tried))

    @property
    def adapter(self) -> bool:
        """Whether an adapter is trained and not the weights themselves."""
        return any(self.knobs.get(knob) is not None for knob in ("rank", "method"))


@dataclass(frozen=True)
class Design:
    """What is planned for one claim."""

    claim: Claim
    """With its perspective written out."""
    subject: Subject
    adversary: Adversary
    measures: Mapping[str, Measure]
    serving: tuple[Serving, ...]
    governance: Governance | None
    procedures: tuple[DesignProcedure, ...]
    """All of the adversary's: a claim `for: each` attack is one of a table."""
    exact: Mapping[str, bool]
    """Whether its judge cannot err, by measure."""
    overlaps: tuple[Overlap, ...]
    described: frozenset[str]
    """Benchmarks of which only a description is there; a plan has none."""
    not_run: tuple[str, ...]
    """Attacks that the access admits and the adversary does not list."""
    seeds_shown: int = 1
    """With how many seeds its safeguards are fitted, over the claim's subjects."""

    @property
    def training(self) -> tuple[DesignProcedure, ...]:
        """The procedures that train."""
        return tuple(one for one in self.procedures if one.trains)

    @property
    def random(self) -> tuple[DesignProcedure, ...]:
        """The procedures with randomness that this claim is about."""
        return tuple(one for one in self.procedures if one.seeds)

    @property
    def replicates(self) -> tuple[int, ...]:
        """How often each of these is run."""
        return tuple(len(one.seeds) for one in self.random)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of attack that are made; doing nothing is none."""
        return tuple(sorted({one.attack for one in self.procedures} - {"none"}))

    @property
    def trainers(self) -> tuple[str, ...]:
        """Back-ends that train."""
        return tuple(sorted({one.trainer for one in self.training}))

    @property
    def safeguarded(self) -> bool:
        """Whether the subject has a safeguard that it can be told from."""
        undefended, model = self.subject.undefended, self.subject.model
        return undefended is not None and (undefended != model or bool(self.subject.unfitted))

    @property
    def templates(self) -> tuple[str, ...]:
        """Templates that every prompt is asked with, whatever the attack."""
        return tuple(sorted({one.template for one in self.serving}))

    @property
    def elicitations(self) -> tuple[str, ...]:
        """Ways of asking, of the measures that decide."""
        return tuple(sorted({self.measures[name].query for name in self.decided_by}))

    @property
    def decided_by(self) -> frozenset[str]:
        """Measures that `holds` reads on attacked cells."""
        return _read(self.claim, "holds", "")

    @cached_property
    def utility(self) -> tuple[str, ...]:
        """Measures that are read before the attack and after it, beside those of `holds`."""
        before = _read(self.claim, "provided", "", "before")
        after = _read(self.claim, "counts_if", "")
        return tuple(sorted((before & after) - self.decided_by))

    def source(self, measure: str) -> str:
        """The prompts of a measure, as `BENCHMARK#SPLIT`."""
        used = self.measures[measure]
        return f"{used.benchmark}#{used.split}"

    def between(self, left: str, right: Iterable[str]) -> tuple[Overlap, ...]:
        """How much of `left` stands in each of the sets `right`, as far as that is known."""
        wanted = set(right)
        return tuple(o for o in self.overlaps if o.left == left and o.right in wanted)


def seeds_shown(subject: Subject, beside: Iterable[Subject]) -> int:
    """With how many seeds a subject is fitted: others differ from it by `build_seed` only."""
    if not subject.unfitted:
        return 1
    alike = [one for one in beside
             if one.model_copy(update={"build_seed": subject.build_seed}) == subject]  # fmt: skip
    return len({one.build_seed for one in alike} | {subject.build_seed})


def design_of_plan(plan: Plan, planned: PlannedClaim) -> Design:
    """The design of a claim from its frozen plan. Raises ThreatspecError TS-RECORDS."""
    spec, claim = plan.spec, planned.claim
    subjects = spec.get("subjects") or {"subject": spec.get("subject")}
    try:
        named = [_model(Subject, subjects[name]) for name in claim.subject or subjects]
        subject = _model(Subject, subjects[planned.subject])
        return Design(
            claim=claim,
            subject=subject,
            seeds_shown=seeds_shown(subject, named),
            adversary=_model(Adversary, spec["adversaries"][claim.against]),
            measures={name: _model(Measure, spec["measures"][name]) for name in plan.measures},
            serving=tuple(_model(Serving, one) for one in spec.get("serving") or [{}]),
            governance=_model(Governance, found) if (found := spec.get("governance")) else None,
            procedures=tuple(
                _procedure(plan, planned, procedure)
                for procedure in plan.procedures.values()
                if procedure.adversary == claim.against
                and (not procedure.against or procedure.against in subject.guarded_by)
            ),
            exact={name: measure.exact for name, measure in plan.measures.items()},
            overlaps=plan.overlaps,
            described=frozenset(),
            not_run=planned.not_run,
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        text = f"the plan must hold the spec that it was made from, but: {error}"
        raise ThreatspecError("TS-RECORDS", text.splitlines()[0]) from None


def _procedure(plan: Plan, planned: PlannedClaim, found: Procedure) -> DesignProcedure:
    cells = (plan.cells[name] for name in dict.fromkeys(planned.attacked.get(Arm.DEFENDED, ())))
    return DesignProcedure(
        name=found.name,
        attack=found.attack,
        config=found.config,
        rows={role: entry["source"] for role, entry in found.data.items()},
        trainer=found.trainer,
        search=found.search,
        seeds=tuple(c.seeds for c in cells if c.procedure == found.id and c.seeds),
    )


def _model(model: type[M], value: Any) -> M:
    return model.model_validate_json(json.dumps(value))


def _read(claim: Claim, which: Any, *arms: str) -> frozenset[str]:
    """Measures that a predicate of a claim reads on some arms."""
    predicate = claim.predicate(which)
    found = operands(predicate) if predicate else ()
    return frozenset(operand.measure for operand in found if operand.arm in arms)
