"""Trials by content: what determines a result is in its id, so equal work is planned once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from threatspec.attacks import ATTACKS
from threatspec.campaign._digests import component_digest, source_digest
from threatspec.campaign._resolution import Resolution
from threatspec.measures import JUDGES
from threatspec.records import Budget, Execution, Procedure, Stream, Trial, TrialKind
from threatspec.schema import content_id

__all__ = ["TrialBook"]


@dataclass
class TrialBook:
    """All trials of a plan; every method enters a trial, or finds the equal one, and returns it."""

    found: Resolution
    execution: Execution
    trials: dict[str, Trial] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    """Content id by source of training rows."""

    def attack(
        self, procedure: Procedure, subject: str, seeds: dict[Stream, int], *, charged: bool
    ) -> Trial:
        """Make the tampers of a procedure on a subject, within the budget if it is charged."""
        compute = self.found.spec.adversaries[procedure.adversary].compute
        budget = Budget(steps=compute.steps, flops=compute.flops) if charged else None
        rows = [self._rows_id(entry["source"]) for entry in procedure.data.values()]
        own = component_digest(ATTACKS, procedure.attack)
        shared = ("attacks.base", "attacks._finetune", "attacks._rows")
        return self._enter(
            TrialKind.ATTACK,
            subject,
            (),
            {
                "attack": procedure.attack,
                "config": procedure.config,
                "data": procedure.data,
                "seeds": {stream.value: seed for stream, seed in seeds.items()},
            },
            [*rows, own, source_digest(*shared, "training", "subjects")],
            budget,
        )

    def _rows_id(self, source: str) -> str:
        """Of the rows of a source, made once for all cells that train on it."""
        if source not in self.rows:
            self.rows[source] = content_id("rows", list(self.found.resolver.rows(source)))
        return self.rows[source]

    def generate(
        self,
        measure: str,
        subject: str,
        attack: Trial | None,
        units: tuple[int, int],
        after: tuple[str, ...] = (),
    ) -> Trial:
        """Ask a subject, attacked or not, the prompts of `units` of a measure in reading order."""
        used = self.found.spec.measures[measure]
        serving = self.found.spec.serving.model_dump(mode="json")
        work = {"benchmark": used.benchmark, "split": used.split, "serving": serving}
        return self._enter(
            TrialKind.GENERATE,
            subject,
            (attack.id,) if attack else (),
            {**work, "units": list(units)},
            [self.found.benchmarks[measure].digest, source_digest("subjects", "measures")],
            after=after,
        )

    def judge(self, measure: str, generate: Trial) -> Trial:
        """Judge every reply."""
        used = self.found.spec.measures[measure]
        work = {
            "benchmark": used.benchmark,
            "split": used.split,
            "span": used.span,
            "judge": used.judge.model_dump(mode="json"),
        }
        code = [source_digest("measures"), component_digest(JUDGES, used.judge.use)]
        return self._enter(TrialKind.JUDGE, generate.subject, (generate.id,), work, code)

    def _enter(
        self,
        kind: TrialKind,
        subject: str,
        needs: tuple[str, ...],
        work: dict[str, Any],
        determined_by: list[str],
        budget: Budget | None = None,
        after: tuple[str, ...] = (),
    ) -> Trial:
        weights = self.found.cards[subject].digest
        identity = [kind, weights, needs, work, determined_by, self.execution, budget]
        trial = Trial(
            id=content_id(kind.value, identity),
            kind=kind,
            subject=subject,
            needs=needs,
            after=after,
            work=work,
            budget=budget,
        )
        return self.trials.setdefault(trial.id, trial)
