"""Compiler: spec -> procedures x replicates = planned cells + controls -> trial graph -> plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from threatspec.campaign._digests import code_digests, component_digest, source_digest
from threatspec.campaign._entries import procedure_id
from threatspec.campaign._expand import Expanded, expand
from threatspec.campaign._instruments import plan_instruments
from threatspec.campaign._overlap import overlaps
from threatspec.campaign._resolution import Resolution, models_of, resolve
from threatspec.campaign._resolve import Resolved
from threatspec.campaign._safeguards import in_place
from threatspec.campaign._search_trials import Aim, SearchBook
from threatspec.campaign._seeds import replicate_seeds
from threatspec.campaign._trials import TrialBook
from threatspec.loading import LoadedSpec
from threatspec.measures import JUDGES, Item, judge_use
from threatspec.records import (
    UNTOUCHED,
    Arm,
    Cell,
    Execution,
    Plan,
    PlannedClaim,
    PlannedMeasure,
    PlannedSlice,
    Procedure,
    Spend,
    Stream,
    Trial,
)
from threatspec.schema import Claim, Predicate, content_id, is_judge, operands
from threatspec.subjects import Offer

__all__ = ["check_spec", "compile_plan"]


def check_spec(loaded: LoadedSpec) -> None:
    """Everything that can be said without the models' weights. Raises SpecErrors."""
    resolve(loaded, models_must_exist=False)


def compile_plan(loaded: LoadedSpec, execution: Execution | None = None) -> Plan:
    """Write down every cell and trial of the campaign. Raises SpecErrors for all that is wrong."""
    found = resolve(loaded, models_must_exist=True)
    return _Compiler(found, execution or Execution()).plan()


_Key = tuple[str, str, int, int, bool, str]


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
    aim: Aim | None = None
    """What a searched procedure is searched for."""
    measures: set[str] = field(default_factory=set)
    beside: dict[_Key, None] = field(default_factory=dict)
    """Untouched cells that claims read together with this one."""

    @property
    def key(self) -> _Key:
        """Drafts with equal keys are one cell."""
        name = self.procedure.id if self.procedure else UNTOUCHED
        aim = str(self.aim) if self.aim else ""
        return name, self.subject, self.replicate, self.root, self.charged, aim


class _Compiler:
    def __init__(self, found: Resolution, execution: Execution) -> None:
        self.found = found
        self.spec = found.spec
        self.book = TrialBook(found, execution)
        self.searches = SearchBook(found, self.book)
        self.drafts: dict[_Key, _Draft] = {}
        self.cells: dict[_Key, Cell] = {}
        self.procedures = {
            name: [(resolved, _procedure(name, resolved)) for resolved in attacks]
            for name, attacks in found.attacks.items()
        }

    def plan(self) -> Plan:
        drafted = [(one, *self._drafts(one)) for one in self.expanded]
        for draft in sorted(self.drafts.values(), key=lambda draft: draft.procedure is not None):
            self.cells[draft.key] = self._cell(draft)  # untouched ones first: others wait for them
        cells = self.cells
        instruments = plan_instruments(self.found, self.book)  # after all that decides a claim
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
            overlaps=overlaps(self.found),
            claims=tuple(
                self._claim(
                    one,
                    {arm: cells[draft.key].id for arm, draft in untouched.items()},
                    {
                        arm: tuple(dict.fromkeys(cells[d.key].id for d in drafts))
                        for arm, drafts in attacked.items()
                    },
                )
                for one, untouched, attacked in drafted
            ),
            instruments=instruments,
        )

    # which cells a claim needs

    @cached_property
    def expanded(self) -> tuple[Expanded, ...]:
        """Every claim that gets a verdict, in the order of the file."""
        return tuple(one for claim in self.spec.claims for one in self._expanded(claim))

    def _expanded(self, claim: Claim) -> Iterator[Expanded]:
        return expand(claim, self.found.met_by(claim))

    def _models_of(self, one: Expanded) -> dict[Arm, str]:
        return models_of(self.spec.all_subjects[one.subject], one.subject)

    def _drafts(self, one: Expanded) -> tuple[dict[Arm, _Draft], dict[Arm, list[_Draft]]]:
        untouched, attacked = self._untouched(one), self._attacked(one)
        for draft in (draft for drafts in attacked.values() for draft in drafts):
            draft.beside.update(dict.fromkeys(bare.key for bare in untouched.values()))
        return untouched, attacked

    def _untouched(self, one: Expanded) -> dict[Arm, _Draft]:
        read = self._measures_of(one.claim)
        models = self._models_of(one)
        return {arm: self._want(_Draft(None, None, ref, 0, 0), read) for arm, ref in models.items()}

    def _attacked(self, one: Expanded) -> dict[Arm, list[_Draft]]:
        read = self._measures_of(one.claim, attacked=True)
        models = self._models_of(one)
        return {
            arm: [
                self._want(draft, read)
                for draft in self._replicates(one, models[arm], models[Arm.DEFENDED])
            ]
            for arm in models
        }

    def _replicates(self, one: Expanded, ref: str, defended: str) -> Iterator[_Draft]:
        """A control that is the defended model itself is the very same cell, charged once."""
        for resolved, procedure in self.procedures[one.claim.against]:
            if one.procedure not in {None, resolved.name}:
                continue
            if not in_place(self.spec.all_subjects[one.subject], resolved.against):
                continue
            count = 1 if resolved.deterministic else one.claim.seeds.replicates
            root = 0 if resolved.deterministic else one.claim.seeds.root
            aim = _aim(one) if procedure.search else None
            for replicate in range(count):
                yield _Draft(resolved, procedure, ref, replicate, root, ref == defended, aim)

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

    def _prompts(self, measure: str) -> tuple[str, str, str]:
        used = self.spec.measures[measure]
        return used.benchmark, used.split, used.requests

    # what is written down

    def _cell(self, draft: _Draft) -> Cell:
        streams = draft.resolved.streams if draft.resolved else ()
        seeds = replicate_seeds(draft.root, draft.replicate, streams)
        attack = self._attack(draft, seeds)
        measures = self._read(draft, attack, seeds.get(Stream.EVAL, 0))
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

    def _attack(self, draft: _Draft, seeds: dict[Stream, int]) -> Trial | None:
        """The trial that makes the tampers; a searched one after all that its search tries."""
        if draft.procedure is None:
            return None
        if draft.aim is None:
            return self.book.attack(draft.procedure, draft.subject, seeds, charged=draft.charged)
        return self.searches.winner(
            draft.procedure, draft.subject, draft.aim, draft.replicate, seeds,
            charged=draft.charged,
        )  # fmt: skip

    def _read(self, draft: _Draft, attack: Trial | None, seed: int) -> dict[str, tuple[str, ...]]:
        """Judging trials by measure: an untouched cell is read at once, an attacked one by looks.

        Every look waits for what all measures found at the one before, and on untouched cells: this
        may settle the cell, so that whoever runs the plan runs the same trials.
        """
        found: dict[str, tuple[str, ...]] = dict.fromkeys(sorted(draft.measures), ())
        spans = {name: self._spans(name, at_once=attack is None) for name in found}
        for look in range(max(map(len, spans.values()), default=0)):
            before = dict.fromkeys(self._before(draft, found, look))
            for name in [name for name in found if look < len(spans[name])]:
                asked = self.book.generate(
                    name,
                    draft.subject,
                    attack,
                    spans[name][look],
                    tuple(before),
                    seed=seed,
                )
                found[name] = (*found[name], self.book.judge(name, asked).id)
        return found

    def _before(self, draft: _Draft, found: dict[str, tuple[str, ...]], look: int) -> Iterator[str]:
        """Judging trials that may make a look needless."""
        if look:
            yield from (trials[look - 1] for trials in found.values() if look <= len(trials))
            for key in draft.beside:
                yield from (t for trials in self.cells[key].measures.values() for t in trials)

    def _spans(self, measure: str, *, at_once: bool) -> list[tuple[int, int]]:
        """First and last unit of each look, in reading order."""
        units = len(self._order(measure))
        ends = (units,) if at_once else self._looks(units)
        return list(zip((0, *ends), ends, strict=False))

    def _looks(self, units: int) -> tuple[int, ...]:
        from threatspec.statistics import looks  # here, because `check` does without

        return (units,) if self.book.execution.exhaustive else looks(units)

    def _order(self, measure: str) -> tuple[tuple[Item, ...], ...]:
        """Clusters in reading order; measures of the same prompts share it."""
        return self.found.benchmarks[measure].reading_order(self.spec.measures[measure].split)

    def _measure(self, name: str) -> PlannedMeasure:
        measure, benchmark = self.spec.measures[name], self.found.benchmarks[name]
        items = benchmark.items(measure.split)
        order = self._order(name)
        code = [source_digest("measures"), component_digest(JUDGES, measure.judge.use)]
        read = self.found.resolver.judged_by.get(name, {})
        return PlannedMeasure(
            id=content_id(
                "measure", [benchmark.digest, measure.model_dump(mode="json"), code, read]
            ),
            benchmark=measure.benchmark,
            split=measure.split,
            judge=measure.judge.model_dump(mode="json"),
            span=measure.span,
            cluster=measure.cluster,
            query=measure.query,
            requests=measure.requests,
            aggregation=measure.aggregation,
            prompts=len(items),
            units=len(order),
            calibration=measure.calibration,
            exact=JUDGES.get(measure.judge.use).exact,
            order=tuple(tuple(item.id for item in cluster) for cluster in order),
            looks=self._looks(len(order)),
            slices={key: _planned_slice(items, key) for key in self._slices_of(name, items)},
            images=all(item.image for item in items),
        )

    def _slices_of(self, name: str, items: Sequence[Item]) -> list[str]:
        """Slices that a claim reads, or that the measure is shown by."""
        read = {
            operand.slice
            for one in self.expanded
            for which in ("holds", "provided", "counts_if")
            for operand in operands(one.claim.predicate(which) or Predicate((), ""))
            if operand.measure == name and operand.slice
        }
        shown = self.spec.measures[name].by
        values = {f"{k}={v}" for item in items for k, v in item.all_slices.items() if k in shown}
        return sorted(read | values)

    def _claim(
        self, one: Expanded, untouched: dict[Arm, str], attacked: dict[Arm, tuple[str, ...]]
    ) -> PlannedClaim:
        against, models = one.claim.against, self._models_of(one)
        return PlannedClaim(
            id=one.id,
            claim=one.claim,
            subject=one.subject,
            models=models,
            untouched=untouched,
            attacked=attacked,
            not_run=self.found.not_run(against, self.spec.all_subjects[one.subject]),
            classifies=Offer.CLASSES in self.found.cards[models[Arm.DEFENDED]].offers,
        )

    def _digests(self) -> dict[str, str]:
        found = {ref: card.digest for ref, card in self.found.cards.items()}
        for name, measure in self.spec.measures.items():
            found[measure.benchmark] = self.found.benchmarks[name].digest
        for one in self.found.instruments.values():
            found |= {name: known.digest for name, known in one.benchmarks.items()}
        made = [procedure for listed in self.procedures.values() for _, procedure in listed]
        kinds = {one.instrument.kind for one in self.found.instruments.values()}
        judges = {m.judge.use for m in self.spec.measures.values()}
        judges |= {judge_use(ref).use for ref in self.found.cards if is_judge(ref)}
        found |= code_digests(made, judges, kinds)
        return dict(sorted(found.items()))


def _aim(one: Expanded) -> Aim:
    claim = one.claim
    return Aim(one.subject, claim.holds, claim.counts_if, claim.quantifier, claim.seeds.root)


def _planned_slice(items: Sequence[Item], key: str) -> PlannedSlice:
    name, _, value = key.partition("=")
    own = [item for item in items if item.all_slices.get(name) == value]
    return PlannedSlice(
        items=tuple(item.id for item in own), units=len({item.cluster for item in own})
    )


def _procedure(adversary: str, resolved: Resolved) -> Procedure:
    config = resolved.config.model_dump(mode="json")
    data = {role.value: entry for role, entry in resolved.data.items()}
    card = resolved.card
    return Procedure(
        id=procedure_id(
            resolved.attack.kind, config, data, adversary, resolved.trainer, resolved.search
        ),
        name=resolved.name,
        attack=resolved.attack.kind,
        card=card.name if card else None,
        source=f"{card.source.work}, {card.source.section} ({card.source.provenance})"
        if card
        else "",
        config=config,
        adversary=adversary,
        data=data,
        named=resolved.named,
        deterministic=resolved.deterministic,
        trainer=resolved.trainer,
        runs=() if resolved.search else resolved.config.runs,
        search=resolved.search,
        against=resolved.against or "",
    )
