"""Trials by content: what determines a result is in its id, so equal work is planned once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from threatspec.attacks import ATTACKS, SAFEGUARD_SPLITS, attack_of, parts_of, training_rows
from threatspec.attacks.recipes import RECIPES
from threatspec.campaign._digests import component_digest, recipes_of, source_digest
from threatspec.campaign._resolution import Resolution
from threatspec.campaign._safeguards import Applied
from threatspec.measures import JUDGES, benchmark
from threatspec.records import Budget, Execution, Procedure, Stream, Trial, TrialKind
from threatspec.safeguards import SAFEGUARDS
from threatspec.schema import AdaptStep, Capability, content_id
from threatspec.training import TRAINERS, ScoreRequest

__all__ = ["TrialBook"]


_BEFORE_REPAIR = frozenset({TrialKind.BUILD, TrialKind.SCORE, TrialKind.ATTACK})
"""Trials to which a repaired subject is the same as one that is not repaired."""


@dataclass
class TrialBook:
    """All trials of a plan; every method enters a trial, or finds the equal one, and returns it."""

    found: Resolution
    execution: Execution
    trials: dict[str, Trial] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    """Content id by source of training rows."""

    def attack(
        self,
        procedure: Procedure,
        subject: str,
        seeds: dict[Stream, int],
        *,
        charged: bool,
        search: dict[str, Any] | None = None,
        history: tuple[str, ...] = (),
    ) -> Trial:
        """Make the tampers of a procedure on a subject, within the budget if it is charged. A
        control to which the attack is the very same work (only repairs differ) shares the trial.

        With `search`, knobs are proposed or chosen from what `history` found.
        """
        compute = self.found.spec.adversaries[procedure.adversary].compute
        most = Budget(steps=compute.steps, flops=compute.flops, queries=compute.queries)
        work: dict[str, Any] = {
            "attack": procedure.attack,
            "config": procedure.config,
            "data": procedure.data,
            "seeds": {stream.value: seed for stream, seed in seeds.items()},
        }
        if reads := self._reads(procedure):
            work["reads"] = reads
        if procedure.trainer:
            work["trainer"] = procedure.trainer
            if self._at_provider(procedure, subject):
                work["provider"] = True
        if search is not None:
            work["search"] = search
        scores = tuple(score.id for score in self._scores(procedure, subject))
        determined = [*self._made_of(procedure), *self._searched_by(search)]
        made = (TrialKind.ATTACK, subject, scores, work, determined)
        paid = self._trial(*made, most, history=history)
        if charged or paid.id in self.trials:  # the adversary makes the very same elsewhere
            return self.trials.setdefault(paid.id, paid)
        return self.enter(*made, history=history)

    def _at_provider(self, procedure: Procedure, subject: str) -> bool:
        """Whether rows are trained on under the policies of the subject's provider."""
        recipe = self.found.builds.get(subject)
        holds = self.found.spec.adversaries[procedure.adversary].capabilities
        return bool(recipe and recipe.at_provider) and Capability.WEIGHTS_WRITE not in holds

    def _reads(self, procedure: Procedure) -> dict[str, str]:
        """Digests of files and models that knobs name."""
        attack = attack_of(procedure.attack)
        config = attack.Config.model_validate(procedure.config, strict=False)
        return attack.reads(config, self.found.loaded.folder)

    def _made_of(self, procedure: Procedure) -> list[str]:
        """Rows and source that decide what an attack does."""
        rows = [self._rows_id(entry["source"]) for entry in procedure.data.values()]
        own = [component_digest(ATTACKS, part) for part in parts_of(procedure.attack)]
        shared = ("attacks.base", "attacks._finetune", "attacks._suffix", "attacks._surgery",
                  "attacks._rows", "attacks._rewriter", "attacks.mutations", "attacks.recipes",
                  "attacks._choice", "attacks._implant", "attacks._pixels", "attacks._poison",
                  "attacks._surrogate", "attacks.triggers", "training", "subjects")  # fmt: skip
        trainer = [component_digest(TRAINERS, procedure.trainer)] if procedure.trainer else []
        recipes = [component_digest(RECIPES, name) for name in recipes_of(procedure)]
        return [*rows, *own, *trainer, *recipes, source_digest(*shared)]

    def _searched_by(self, search: dict[str, Any] | None) -> list[str]:
        return [source_digest("campaign._search", "runners._searching")] if search else []

    def _scores(self, procedure: Procedure, subject: str) -> list[Trial]:
        """Scores that the attack reads: each is made once for all attacks that read it."""
        attack = attack_of(procedure.attack)
        config = attack.Config.model_validate(procedure.config, strict=False)
        return [self._score(r, procedure, subject) for r in attack.scores(config)]

    def _score(self, request: ScoreRequest, procedure: Procedure, subject: str) -> Trial:
        roles = {"safety": ("harmful",), "utility": ("benign",), "both": ("benign", "harmful")}
        data = {role: procedure.data[role] for role in roles[request.over]}
        rows = [self._rows_id(entry["source"]) for entry in data.values()]
        work = {"score": request.model_dump(mode="json"), "data": data}
        return self.enter(
            TrialKind.SCORE, subject, (), work, [*rows, source_digest("training", "subjects")]
        )

    def _built(self, subject: str, kind: TrialKind) -> tuple[str, ...]:
        """What must be mounted first: the trial that builds a built subject."""
        whole = self.found.builds.get(subject)
        recipe = whole.attacked if whole else None
        if recipe is None or kind in {TrialKind.BUILD, TrialKind.JUDGE}:
            return ()
        sources = [step.source for step in recipe.steps if isinstance(step, AdaptStep)]
        work = {
            "build": [step.model_dump(mode="json", by_alias=True) for step in recipe.steps],
            "seeds": {stream.value: seed for stream, seed in recipe.seeds.items()},
        }
        code = source_digest("training", "subjects", "runners._build")
        determined = [*map(self._rows_id, sources), code]
        if recipe.safeguards:
            work["safeguards"] = [one.plain for one in recipe.safeguards]
            determined += self._safeguarded_by(recipe.safeguards)
        return (self.enter(TrialKind.BUILD, subject, (), work, determined).id,)

    def _repaired(self, subject: str, attack: Trial | None) -> tuple[str, ...]:
        """What is fitted on the subject as an attack has left it, once for all that is asked."""
        recipe = self.found.builds.get(subject)
        if recipe is None or not recipe.repairs:
            return ()
        work = {"safeguards": [one.plain for one in recipe.repairs]}
        determined = self._safeguarded_by(recipe.repairs)
        determined.append(source_digest("training", "subjects"))
        left = (attack.id,) if attack else ()
        return (self.enter(TrialKind.REPAIR, subject, left, work, determined).id,)

    def _safeguarded_by(self, safeguards: tuple[Applied, ...]) -> list[str]:
        """Rows and source that decide what safeguards do."""
        sources = [entry["source"] for one in safeguards for entry in one.data.values()]
        code = [component_digest(SAFEGUARDS, one.safeguard.kind) for one in safeguards]
        shared = source_digest("safeguards", "runners._safeguards")
        return [*map(self._rows_id, sources), *code, shared]

    def _rows_id(self, source: str) -> str:
        """Of the rows of a source, made once for all cells that train on it; rows only name their
        images, which the benchmark's digest is of."""
        if source not in self.rows:
            folder = self.found.loaded.folder
            rows = training_rows(source, folder, SAFEGUARD_SPLITS)
            shown = any(row.image for row in rows)
            images = benchmark(source.partition("#")[0], folder).digest if shown else ""
            self.rows[source] = content_id("rows", [images, *rows] if shown else list(rows))
        return self.rows[source]

    def generate(
        self,
        measure: str,
        subject: str,
        attack: Trial | None,
        units: tuple[int, int],
        after: tuple[str, ...] = (),
        split: str | None = None,
        seed: int = 0,
    ) -> Trial:
        """Ask a subject, attacked or not, the prompts of `units` of a measure in reading order.

        `split` is that of the measure, or where a search reads it; `seed` is that of samples.
        """
        used = self.found.spec.measures[measure]
        serving = [one.model_dump(mode="json") for one in self.found.spec.serving]
        work = {"benchmark": used.benchmark, "split": split or used.split, "serving": serving,
                "query": used.query, "seed": seed}  # fmt: skip
        if attack and used.requests == "plain":  # untouched, there is no difference
            work["requests"] = "plain"
        made = ((attack.id,) if attack else ()) + self._repaired(subject, attack)
        return self.enter(
            TrialKind.GENERATE,
            subject,
            made,
            {**work, "units": list(units)},
            [self.found.benchmarks[measure].digest, source_digest("subjects", "measures")],
            after=after,
        )

    def judge(self, measure: str, generate: Trial) -> Trial:
        """Judge every reply."""
        used = self.found.spec.measures[measure]
        work = {
            "benchmark": used.benchmark,
            "split": generate.work["split"],
            "span": used.span,
            "aggregation": used.aggregation,
            "judge": used.judge.model_dump(mode="json"),
        }
        read = self.found.resolver.judged_by.get(measure, {})
        code = [source_digest("measures"), component_digest(JUDGES, used.judge.use)]
        return self.enter(
            TrialKind.JUDGE, generate.subject, (generate.id,), work, [*code, *read.values()]
        )

    def enter(
        self,
        kind: TrialKind,
        subject: str,
        needs: tuple[str, ...],
        work: dict[str, Any],
        determined_by: list[str],
        budget: Budget | None = None,
        after: tuple[str, ...] = (),
        history: tuple[str, ...] = (),
    ) -> Trial:
        """Any trial; one that reads a built subject needs what it is built by."""
        trial = self._trial(kind, subject, needs, work, determined_by, budget, after, history)
        return self.trials.setdefault(trial.id, trial)

    def _trial(
        self,
        kind: TrialKind,
        subject: str,
        needs: tuple[str, ...],
        work: dict[str, Any],
        determined_by: list[str],
        budget: Budget | None = None,
        after: tuple[str, ...] = (),
        history: tuple[str, ...] = (),
    ) -> Trial:
        card = self.found.cards[subject]
        digest = self.found.attacked_digest(subject) if kind in _BEFORE_REPAIR else card.digest
        needs = (*self._built(subject, kind), *needs)
        identity = [kind, digest, needs, history, work, determined_by, self.execution, budget]
        return Trial(
            id=content_id(kind.value, identity),
            kind=kind,
            subject=card.ref,
            needs=needs,
            after=after,
            history=history,
            work=work,
            budget=budget,
        )
