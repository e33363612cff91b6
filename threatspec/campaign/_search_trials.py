"""The trials of a search: every configuration trained and read on `attack_dev`, then the winner.

Which configuration a trial tries is decided when it runs, from the outcomes of earlier batches; the
trials themselves are planned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from threatspec.attacks import attack_of
from threatspec.campaign._resolution import Resolution, models_of
from threatspec.campaign._search import batch_of
from threatspec.campaign._seeds import replicate_seeds
from threatspec.campaign._trials import TrialBook
from threatspec.measures import DEV_SPLIT
from threatspec.records import Arm, Procedure, Search, Stream, Trial
from threatspec.schema import Operand, Predicate, content_id, operands, parse_predicate
from threatspec.training import forward_flops

__all__ = ["Aim", "SearchBook"]


@dataclass(frozen=True, slots=True)
class Aim:
    """What a search is for: one claim on one subject."""

    subject: str
    """Name of the subject in the spec."""
    holds: str
    counts_if: str | None
    quantifier: str
    root: int

    @property
    def read(self) -> tuple[Operand, ...]:
        """Everything the objective reads."""
        nothing = Predicate((), "")
        texts = (self.holds, self.counts_if)
        found = [o for text in texts for o in operands(parse_predicate(text) if text else nothing)]
        return tuple({str(operand): operand for operand in found}.values())

    @property
    def measures(self) -> tuple[str, ...]:
        """Measures that are read on every configuration."""
        return tuple(dict.fromkeys(o.measure for o in self.read if not o.arm))


@dataclass
class SearchBook:
    """Plans searches; equal ones are planned once."""

    found: Resolution
    book: TrialBook
    tried: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By search: of each configuration, its attacking trial and its judging ones by measure."""

    def winner(
        self,
        procedure: Procedure,
        ref: str,
        aim: Aim,
        replicate: int,
        seeds: dict[Stream, int],
        *,
        charged: bool,
    ) -> Trial:
        """The attack of a replicate: with the configuration that the search has chosen."""
        assert procedure.search is not None
        run = f"search/{replicate}" if procedure.search.rule == "per-replicate" else "search"
        paid = charged and procedure.search.rule != "free"
        told = self._tried(procedure, ref, aim, run, charged=paid)
        work = {**self._work(procedure, ref, aim, run), "told": told, "charged": paid}
        return self.book.attack(
            procedure, ref, seeds, charged=charged, search=work, history=_trials(told, work)
        )

    def _tried(
        self, procedure: Procedure, ref: str, aim: Aim, run: str, *, charged: bool
    ) -> list[dict[str, Any]]:
        key = content_id("search", [procedure.id, ref, str(aim), run, charged])
        if key not in self.tried:
            told: list[dict[str, Any]] = []
            self.tried[key] = told
            for index in range(_search(procedure).configurations):
                told.append(self._try(procedure, ref, aim, run, index, told, charged=charged))
        return self.tried[key]

    def _try(
        self,
        procedure: Procedure,
        ref: str,
        aim: Aim,
        run: str,
        index: int,
        told: list[dict[str, Any]],
        *,
        charged: bool,
    ) -> dict[str, Any]:
        """One configuration: proposed and trained, then asked and judged on `attack_dev`."""
        before = told[: batch_of(_search(procedure), index)]
        work = {**self._work(procedure, ref, aim, run), "index": index, "told": before}
        seeds = replicate_seeds(aim.root, run, attack_of(procedure.attack).streams)
        attack = self.book.attack(
            procedure, ref, seeds, charged=charged, search=work, history=_trials(before, work)
        )
        return {"attack": attack.id,
                "read": {name: self._read(name, ref, attack) for name in aim.measures}}  # fmt: skip

    def _work(self, procedure: Procedure, ref: str, aim: Aim, run: str) -> dict[str, Any]:
        models = models_of(self.found.spec.all_subjects[aim.subject], aim.subject)
        arms = {"before": Arm.DEFENDED, "undefended": Arm.UNDEFENDED, "control": Arm.CONTROL}
        return {
            "plan": _search(procedure).model_dump(mode="json"),
            "run": run,
            "root": aim.root,
            "holds": aim.holds,
            "counts_if": aim.counts_if,
            "quantifier": aim.quantifier,
            "arms": {
                f"{o.arm}.{o.measure}": self._read(
                    o.measure, ref if o.arm == "before" else models[arms[o.arm]], None
                )
                for o in aim.read
                if o.arm
            },
            "measures": {name: self.found.spec.measures[name].benchmark for name in
                         dict.fromkeys(o.measure for o in aim.read)},
            "reading": sum(self._reading_flops(name, ref) for name in self._asked(aim)),
        }  # fmt: skip

    def _read(self, measure: str, ref: str, attack: Trial | None) -> str:
        """Judging trial of all `attack_dev` prompts of a measure."""
        order = self.found.benchmarks[measure].reading_order(DEV_SPLIT)
        asked = self.book.generate(measure, ref, attack, (0, len(order)), split=DEV_SPLIT)
        return self.book.judge(measure, asked).id

    def _asked(self, aim: Aim) -> list[str]:
        """One measure for every set of prompts: what is asked once is charged once."""
        measures = self.found.spec.measures
        return list({measures[name].benchmark: name for name in aim.measures}.values())

    def _reading_flops(self, measure: str, ref: str) -> float:
        """Predicted: every prompt as long as the longest, every reply as long as it may be."""
        items = self.found.benchmarks[measure].items(DEV_SPLIT)
        card, reply = self.found.cards[ref], max(s.max_tokens for s in self.found.spec.serving)
        words = max(len(item.prompt.split()) for item in items)
        length = round(words * card.tokens_per_word) + card.template_tokens + reply
        return forward_flops(card, len(items) * length, length)


def _search(procedure: Procedure) -> Search:
    assert procedure.search is not None
    return procedure.search


def _trials(told: list[dict[str, Any]], work: dict[str, Any]) -> tuple[str, ...]:
    """Everything whose outcome is read."""
    tried = [name for one in told for name in (one["attack"], *one["read"].values())]
    return tuple(dict.fromkeys([*tried, *work["arms"].values()]))
