"""Compiler: spec -> procedures x replicates = planned cells + controls -> trial graph -> plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from threatspec.campaign._digests import PROGRAM, source_digest
from threatspec.campaign._resolve import Resolved, Resolver
from threatspec.campaign._seeds import replicate_seeds
from threatspec.errors import ThreatspecError
from threatspec.loading import LoadedSpec
from threatspec.measures import JUDGES
from threatspec.records import (
    UNTOUCHED,
    Arm,
    Budget,
    Cell,
    Execution,
    Plan,
    PlannedClaim,
    PlannedMeasure,
    Procedure,
    Spend,
    Stream,
    Trial,
    TrialKind,
)
from threatspec.schema import Adversary, Claim, Measure, Subject, content_id, operands
from threatspec.subjects import SubjectCard, describe

__all__ = ["check_spec", "compile_plan"]


def check_spec(loaded: LoadedSpec) -> None:
    """Everything that can be said without the models' weights. Raises SpecErrors."""
    compiler = _Compiler(loaded, Execution())
    compiler.resolve()
    for name, subject in loaded.spec.all_subjects.items():
        compiler.check_models(name, subject, must_exist=False)
    compiler.check_budgets()
    compiler.resolver.finish()


def compile_plan(loaded: LoadedSpec, execution: Execution | None = None) -> Plan:
    """Write down every cell and trial of the campaign. Raises SpecErrors for all that is wrong."""
    compiler = _Compiler(loaded, execution or Execution())
    compiler.resolve()
    for name, subject in loaded.spec.all_subjects.items():
        compiler.check_models(name, subject, must_exist=True)
    compiler.check_budgets()
    compiler.resolver.finish()
    return compiler.plan()


@dataclass
class _Draft:
    """A cell whose measures are still being collected."""

    procedure: Procedure | None
    subject: str
    replicate: int
    measures: set[str] = field(default_factory=set)


class _Compiler:
    def __init__(self, loaded: LoadedSpec, execution: Execution) -> None:
        self.loaded = loaded
        self.spec = loaded.spec
        self.execution = execution
        self.resolver = Resolver(loaded)
        self.attacks: dict[str, list[Resolved]] = {}
        self.cards: dict[str, SubjectCard] = {}
        self.drafts: dict[tuple[str, str, int, int], _Draft] = {}
        self.trials: dict[str, Trial] = {}
        self.cells: dict[str, Cell] = {}
        self.seeds: dict[tuple[str, str, int, int], dict[Stream, int]] = {}

    # what the spec names

    def resolve(self) -> None:
        self.benchmarks = self.resolver.benchmarks
        used = {claim.against for claim in self.spec.claims}
        for name, adversary in self.spec.adversaries.items():
            found = self.resolver.attacks(name, adversary)
            if not found and name in used and not self.resolver.problems:
                text = "no shipped attack fits this adversary's access, data and compute"
                self.resolver.complain("TS-ACCESS", text, "adversaries", name, key=True)
            self.attacks[name] = found

    def check_models(self, name: str, subject: Subject, *, must_exist: bool) -> None:
        place = ("subject",) if self.spec.subject else ("subjects", name)
        for arm, ref in _models(subject).items():
            try:
                self.cards[ref] = describe(ref)
            except ThreatspecError as error:
                if must_exist or ref.startswith("specimen:") or ":" not in ref:
                    key = "model" if arm is Arm.DEFENDED else arm.value
                    self.resolver.complain(error.code, error.message, *place, key)

    def check_budgets(self) -> None:
        for claim in self.spec.claims:
            adversary = self.spec.adversaries[claim.against]
            for index, resolved in enumerate(self.attacks[claim.against]):
                place: tuple[str | int, ...] = ("adversaries", claim.against)
                place += ("attacks", index) if resolved.named else ()
                for ref in _models(self._subject(claim)).values():
                    self._check_budget(resolved, adversary, ref, place)

    def _check_budget(
        self, resolved: Resolved, adversary: Adversary, ref: str, place: tuple[str | int, ...]
    ) -> None:
        predicted = self.predicted(resolved, ref)
        for what, need, limit in (
            ("steps", predicted.steps, adversary.compute.steps),
            ("FLOPs", predicted.flops, adversary.compute.flops),
        ):
            if limit is not None and need > limit:
                text = (
                    f"{what} of {resolved.name} on {ref} must stay within the adversary's "
                    f"{limit:g}, but {need:.3g} are predicted"
                )
                return self.resolver.complain("TS-BUDGET", text, *place)

    def predicted(self, resolved: Resolved, ref: str) -> Spend:
        """Predicted spend; steps are known even where the model is not there."""
        data = self.resolver.data_card(resolved.data)
        card = self.cards.get(ref)
        if card is None:
            return Spend(steps=getattr(resolved.config, "steps", 0))
        return resolved.attack.cost(card, resolved.config, data)

    def _subject(self, claim: Claim) -> Subject:
        return self.spec.all_subjects[self._subject_name(claim)]

    def _subject_name(self, claim: Claim) -> str:
        return claim.subject or next(iter(self.spec.all_subjects))

    # what is planned

    def plan(self) -> Plan:
        procedures = {
            name: [(r, self._procedure(name, r)) for r in found]
            for name, found in self.attacks.items()
        }
        drafted = [self._draft(claim, procedures[claim.against]) for claim in self.spec.claims]
        ids = {key: self._cell(key, draft) for key, draft in self.drafts.items()}
        claims = tuple(
            self._claim(claim, untouched, attacked, ids)
            for claim, (untouched, attacked) in zip(self.spec.claims, drafted, strict=True)
        )
        used = {cell.procedure for cell in self.cells.values()}
        return Plan(
            spec_file=self.loaded.path.name,
            spec=self.spec.model_dump(mode="json", by_alias=True),
            execution=self.execution,
            digests=self._digests(),
            measures={name: self._measure(name) for name in self.spec.measures},
            procedures={
                p.id: p for found in procedures.values() for _, p in found if p.id in used
            },
            cells=self.cells,
            trials=self.trials,
            claims=claims,
        )

    def _procedure(self, adversary: str, resolved: Resolved) -> Procedure:
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

    def _draft(
        self, claim: Claim, procedures: list[tuple[Resolved, Procedure]]
    ) -> tuple[dict[Arm, Any], dict[Arm, list[Any]]]:
        models = _models(self._subject(claim))
        read = self._measures_of(claim)
        untouched = {
            arm: self._want(None, None, ref, 0, 0, read) for arm, ref in models.items()
        }
        attacked: dict[Arm, list[Any]] = {}
        own = self._measures_of(claim, attacked=True)
        for arm in (Arm.DEFENDED, Arm.CONTROL):
            if arm in models:
                attacked[arm] = [
                    self._want(resolved, procedure, models[arm], replicate, claim.seeds.root, own)
                    for resolved, procedure in procedures
                    for replicate in range(1 if resolved.deterministic else claim.seeds.replicates)
                ]
        return untouched, attacked

    def _measures_of(self, claim: Claim, *, attacked: bool = False) -> set[str]:
        """Measures a claim reads, and those that cost only judging because they share the prompts."""
        names = ("holds", "counts_if") if attacked else ("holds", "counts_if", "provided")
        found = [claim.predicate(name) for name in names]  # type: ignore[arg-type]
        own = {
            operand.measure
            for predicate in found
            if predicate
            for operand in operands(predicate)
            if not attacked or not operand.arm
        }
        asked = {_asked(self.spec.measures[name]) for name in own}
        return {name for name, measure in self.spec.measures.items() if _asked(measure) in asked}

    def _want(
        self,
        resolved: Resolved | None,
        procedure: Procedure | None,
        ref: str,
        replicate: int,
        root: int,
        measures: set[str],
    ) -> tuple[str, str, int, int]:
        key = (procedure.id if procedure else UNTOUCHED, ref, replicate, root)
        draft = self.drafts.setdefault(key, _Draft(procedure, ref, replicate))
        draft.measures |= measures
        streams = resolved.streams if resolved else frozenset[Stream]()
        self.seeds[key] = replicate_seeds(root, replicate, streams)
        return key

    def _cell(self, key: tuple[str, str, int, int], draft: _Draft) -> str:
        attack = self._attack_trial(draft, self.seeds[key]) if draft.procedure else None
        measures = {
            name: self._judge_trial(name, self._generate_trial(name, draft.subject, attack))
            for name in sorted(draft.measures)
        }
        cell_id = content_id("cell", [key[0], draft.subject, attack and attack.id, measures])
        self.cells[cell_id] = Cell(
            id=cell_id,
            procedure=key[0],
            subject=draft.subject,
            replicate=draft.replicate,
            seeds=self.seeds[key],
            attack=attack.id if attack else None,
            measures=measures,
            predicted=self._predicted_for(draft),
        )
        return cell_id

    def _predicted_for(self, draft: _Draft) -> Spend:
        if draft.procedure is None:
            return Spend()
        found = next(
            r
            for r in self.attacks[draft.procedure.adversary]
            if self._procedure(draft.procedure.adversary, r).id == draft.procedure.id
        )
        return self.predicted(found, draft.subject)

    def _trial(
        self,
        kind: TrialKind,
        subject: str,
        needs: tuple[str, ...],
        work: dict[str, Any],
        determined_by: list[str],
        budget: Budget | None = None,
    ) -> Trial:
        identity = [kind, subject, self.cards[subject].digest, needs, work, determined_by,
                    self.execution, budget]  # fmt: skip
        trial = Trial(
            id=content_id(kind.value, identity),
            kind=kind,
            subject=subject,
            needs=needs,
            work=work,
            budget=budget,
        )
        self.trials.setdefault(trial.id, trial)
        return trial

    def _attack_trial(self, draft: _Draft, seeds: dict[Stream, int]) -> Trial:
        procedure = draft.procedure
        assert procedure is not None
        compute = self.spec.adversaries[procedure.adversary].compute
        rows = [content_id("rows", list(self.resolver.rows(entry["source"])))
                for entry in procedure.data.values()]  # fmt: skip
        module = f"attacks.{procedure.attack.replace('-', '_')}"
        return self._trial(
            TrialKind.ATTACK,
            draft.subject,
            (),
            {"attack": procedure.attack, "config": procedure.config, "data": procedure.data,
             "seeds": {stream.value: seed for stream, seed in seeds.items()}},
            [*rows, source_digest(module, "attacks.base", "training", "subjects")],
            Budget(steps=compute.steps, flops=compute.flops),
        )  # fmt: skip

    def _generate_trial(self, name: str, subject: str, attack: Trial | None) -> Trial:
        measure = self.spec.measures[name]
        return self._trial(
            TrialKind.GENERATE,
            subject,
            (attack.id,) if attack else (),
            {"benchmark": measure.benchmark, "split": measure.split,
             "serving": self.spec.serving.model_dump(mode="json")},
            [self.benchmarks[name].digest, source_digest("subjects", "measures")],
        )  # fmt: skip

    def _judge_trial(self, name: str, generate: Trial) -> str:
        measure = self.spec.measures[name]
        work = {"benchmark": measure.benchmark, "split": measure.split, "span": measure.span,
                "judge": measure.judge.model_dump(mode="json")}  # fmt: skip
        code = [source_digest("measures")]
        return self._trial(TrialKind.JUDGE, generate.subject, (generate.id,), work, code).id

    def _measure(self, name: str) -> PlannedMeasure:
        measure = self.spec.measures[name]
        items = self.benchmarks[name].items(measure.split)
        identity = [self.benchmarks[name].digest, measure.model_dump(mode="json"),
                    source_digest("measures"), JUDGES.get(measure.judge.use).kind]  # fmt: skip
        return PlannedMeasure(
            id=content_id("measure", identity),
            benchmark=measure.benchmark,
            split=measure.split,
            judge=measure.judge.model_dump(mode="json"),
            span=measure.span,
            cluster=measure.cluster,
            prompts=len(items),
            units=len({item.cluster for item in items}),
        )

    def _claim(
        self,
        claim: Claim,
        untouched: dict[Arm, Any],
        attacked: dict[Arm, list[Any]],
        ids: dict[tuple[str, str, int, int], str],
    ) -> PlannedClaim:
        adversary = self.spec.adversaries[claim.against]
        used = {r.card.name for r in self.attacks[claim.against] if r.card}
        return PlannedClaim(
            claim=claim,
            subject=self._subject_name(claim),
            models=_models(self._subject(claim)),
            untouched={arm: ids[key] for arm, key in untouched.items()},
            attacked={arm: tuple(ids[key] for key in keys) for arm, keys in attacked.items()},
            not_run=tuple(name for name in self.resolver.allowed(adversary) if name not in used),
        )

    def _digests(self) -> dict[str, str]:
        found = {ref: card.digest for ref, card in self.cards.items()}
        found |= {m.benchmark: self.benchmarks[n].digest for n, m in self.spec.measures.items()}
        found["threatspec"] = source_digest(*PROGRAM)
        return dict(sorted(found.items()))


def _models(subject: Subject) -> dict[Arm, str]:
    arms = {
        Arm.DEFENDED: subject.model,
        Arm.CONTROL: subject.control,
        Arm.UNDEFENDED: subject.undefended,
    }
    return {arm: ref for arm, ref in arms.items() if ref}


def _asked(measure: Measure) -> tuple[str, str]:
    return measure.benchmark, measure.split
