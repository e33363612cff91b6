"""Compiler: spec -> procedures x replicates = planned cells + controls -> trial graph -> plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from threatspec.campaign._digests import PROGRAM, source_digest
from threatspec.campaign._resolution import Resolution, models_of, resolve
from threatspec.campaign._resolve import Resolved
from threatspec.campaign._seeds import replicate_seeds
from threatspec.campaign._trials import TrialBook
from threatspec.loading import LoadedSpec
from threatspec.measures import JUDGES
from threatspec.records import (
    UNTOUCHED,
    Arm,
    Cell,
    Execution,
    Plan,
    PlannedClaim,
    PlannedMeasure,
    Procedure,
    Spend,
)
from threatspec.schema import Claim, content_id, operands

__all__ = ["check_spec", "compile_plan"]


def check_spec(loaded: LoadedSpec) -> None:
    """Everything that can be said without the models' weights. Raises SpecErrors."""
    resolve(loaded, models_must_exist=False)


def compile_plan(loaded: LoadedSpec, execution: Execution | None = None) -> Plan:
    """Write down every cell and trial of the campaign. Raises SpecErrors for all that is wrong."""
    found = resolve(loaded, models_must_exist=True)
    return _Compiler(found, execution or Execution()).plan()


@dataclass
class _Draft:
    """A cell whose measures are still being collected."""

    resolved: Resolved | None
    procedure: Procedure | None
    subject: str
    replicate: int
    root: int
    charged: bool = False
    """Whether the adversary's budget bounds it; controls are ours."""
    measures: set[str] = field(default_factory=set)

    @property
    def key(self) -> tuple[str, str, int, int, bool]:
        """Drafts with equal keys are one cell."""
        name = self.procedure.id if self.procedure else UNTOUCHED
        return name, self.subject, self.replicate, self.root, self.charged


class _Compiler:
    def __init__(self, found: Resolution, execution: Execution) -> None:
        self.found = found
        self.spec = found.spec
        self.book = TrialBook(found, execution)
        self.drafts: dict[tuple[str, str, int, int, bool], _Draft] = {}
        self.procedures = {
            name: [(resolved, _procedure(name, resolved)) for resolved in attacks]
            for name, attacks in found.attacks.items()
        }

    def plan(self) -> Plan:
        drafted = [
            (claim, self._untouched(claim), self._attacked(claim)) for claim in self.spec.claims
        ]
        cells = {key: self._cell(draft) for key, draft in self.drafts.items()}
        used = {cell.procedure for cell in cells.values()}
        return Plan(
            spec_file=self.found.loaded.path.name,
            spec=self.spec.model_dump(mode="json", by_alias=True),
            execution=self.book.execution,
            digests=self._digests(),
            measures={name: self._measure(name) for name in self.spec.measures},
            procedures={
                p.id: p for found in self.procedures.values() for _, p in found if p.id in used
            },
            cells={cell.id: cell for cell in cells.values()},
            trials=self.book.trials,
            claims=tuple(
                self._claim(
                    claim,
                    {arm: cells[draft.key].id for arm, draft in untouched.items()},
                    {
                        arm: tuple(dict.fromkeys(cells[d.key].id for d in drafts))
                        for arm, drafts in attacked.items()
                    },
                )
                for claim, untouched, attacked in drafted
            ),
        )

    # which cells a claim needs

    def _untouched(self, claim: Claim) -> dict[Arm, _Draft]:
        read = self._measures_of(claim)
        models = models_of(self.found.subject(claim))
        return {arm: self._want(_Draft(None, None, ref, 0, 0), read) for arm, ref in models.items()}

    def _attacked(self, claim: Claim) -> dict[Arm, list[_Draft]]:
        read = self._measures_of(claim, attacked=True)
        models = models_of(self.found.subject(claim))
        return {
            arm: [
                self._want(draft, read)
                for draft in self._replicates(claim, models[arm], models[Arm.DEFENDED])
            ]
            for arm in (Arm.DEFENDED, Arm.CONTROL)
            if arm in models
        }

    def _replicates(self, claim: Claim, ref: str, defended: str) -> Iterator[_Draft]:
        """A control that is the defended model itself is the very same cell, charged once."""
        for resolved, procedure in self.procedures[claim.against]:
            count = 1 if resolved.deterministic else claim.seeds.replicates
            root = 0 if resolved.deterministic else claim.seeds.root
            for replicate in range(count):
                yield _Draft(resolved, procedure, ref, replicate, root, ref == defended)

    def _want(self, draft: _Draft, measures: set[str]) -> _Draft:
        known = self.drafts.setdefault(draft.key, draft)
        known.measures |= measures
        return known

    def _measures_of(self, claim: Claim, *, attacked: bool = False) -> set[str]:
        """Measures a claim reads, and those that share their prompts: they cost only judging."""
        own = {
            operand.measure
            for which in ("holds", "counts_if", "provided")
            if (predicate := claim.predicate(which)) and not (attacked and which == "provided")
            for operand in operands(predicate)
            if not (attacked and operand.arm)
        }
        asked = {self._prompts(name) for name in own}
        return {name for name in self.spec.measures if self._prompts(name) in asked}

    def _prompts(self, measure: str) -> tuple[str, str]:
        used = self.spec.measures[measure]
        return used.benchmark, used.split

    # what is written down

    def _cell(self, draft: _Draft) -> Cell:
        streams = draft.resolved.attack.streams if draft.resolved else ()
        seeds = replicate_seeds(draft.root, draft.replicate, streams)
        procedure = draft.procedure
        attack = (
            self.book.attack(procedure, draft.subject, seeds, charged=draft.charged)
            if procedure
            else None
        )
        measures = {
            name: self.book.judge(name, self.book.generate(name, draft.subject, attack)).id
            for name in sorted(draft.measures)
        }
        predicted = (
            self.found.predicted(draft.resolved, draft.subject) if draft.resolved else Spend()
        )
        attack_id = attack.id if attack else None
        return Cell(
            id=content_id("cell", [draft.key[0], draft.subject, attack_id, measures]),
            procedure=draft.key[0],
            subject=draft.subject,
            replicate=draft.replicate,
            seeds=seeds,
            attack=attack_id,
            measures=measures,
            predicted=predicted,
        )

    def _measure(self, name: str) -> PlannedMeasure:
        measure, benchmark = self.spec.measures[name], self.found.benchmarks[name]
        items = benchmark.items(measure.split)
        code = [source_digest("measures"), JUDGES.get(measure.judge.use).kind]
        return PlannedMeasure(
            id=content_id("measure", [benchmark.digest, measure.model_dump(mode="json"), code]),
            benchmark=measure.benchmark,
            split=measure.split,
            judge=measure.judge.model_dump(mode="json"),
            span=measure.span,
            cluster=measure.cluster,
            prompts=len(items),
            units=len({item.cluster for item in items}),
        )

    def _claim(
        self, claim: Claim, untouched: dict[Arm, str], attacked: dict[Arm, tuple[str, ...]]
    ) -> PlannedClaim:
        used = {r.card.name for r in self.found.attacks[claim.against] if r.card}
        allowed = self.found.resolver.allowed(self.spec.adversaries[claim.against])
        return PlannedClaim(
            claim=claim,
            subject=self.found.subject_name(claim),
            models=models_of(self.found.subject(claim)),
            untouched=untouched,
            attacked=attacked,
            not_run=tuple(name for name in allowed if name not in used),
        )

    def _digests(self) -> dict[str, str]:
        found = {ref: card.digest for ref, card in self.found.cards.items()}
        for name, measure in self.spec.measures.items():
            found[measure.benchmark] = self.found.benchmarks[name].digest
        found["threatspec"] = source_digest(*PROGRAM)
        return dict(sorted(found.items()))


def _procedure(adversary: str, resolved: Resolved) -> Procedure:
    config = resolved.config.model_dump(mode="json")
    data = {role.value: entry for role, entry in resolved.data.items()}
    return Procedure(
        id=content_id("procedure", [resolved.attack.kind, config, data, adversary]),
        name=resolved.name,
        attack=resolved.attack.kind,
        card=resolved.card.name if resolved.card else None,
        config=config,
        adversary=adversary,
        data=data,
        named=resolved.named,
        deterministic=resolved.deterministic,
    )
