"""All stored replies of a campaign judged again, without asking a model for them."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from pydantic import Field

from threatspec.cli._judge_option import ChosenJudge, items_of
from threatspec.cli._judge_rates import TOLD
from threatspec.cli._labelling import require_known
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.measures import Item, judgements, rows_of
from threatspec.records import (
    MARKS,
    UNTOUCHED,
    Cell,
    Ledger,
    Outcome,
    PlannedMeasure,
    TrialKind,
    items_by_trial,
)
from threatspec.schema import Model
from threatspec.statistics import Agreement

__all__ = ["Again", "Answers", "CellAgain", "MeasureAgain", "judged_again"]

_OUTCOMES = {mark[0]: outcome for outcome, mark in MARKS.items()}


class Answers(Model):
    """What a judge says of the prompts of a cell."""

    yes: int
    no: int
    """Screened prompts among them, as always."""
    open: int
    """Unscorable or missing."""
    rate: float
    """Prompts that are yes, of all."""


class CellAgain(Model):
    """One cell, judged twice."""

    cell: str
    procedure: str
    subject: str
    replicate: int
    prompts: int
    recorded: Answers
    again: Answers
    changed: int
    """Prompts whose outcome is another."""
    kappa: float | None = None
    """Agreement beyond chance on prompts of which both say yes or no; absent if there are none."""


class MeasureAgain(Model):
    """One measure, cell by cell."""

    measure: str
    recorded: str
    """The judge that the campaign counts."""
    cells: tuple[CellAgain, ...]
    kappa: float | None = None
    """Over all cells."""


class Again(Model):
    """Replies of a campaign judged again (`threatspec judges rejudge --json`)."""

    format: Literal["threatspec/rejudged/v1"] = Field(
        default="threatspec/rejudged/v1", alias="schema"
    )
    plan: str
    judge: str
    exploratory: Literal[True] = True
    """The judge was chosen after the replies were seen: no verdict follows from it."""
    notes: tuple[str, ...] = ()
    measures: tuple[MeasureAgain, ...]


def judged_again(ledger: Ledger, chosen: ChosenJudge, measure: str | None = None) -> Again:
    """Every measure of the campaign, or one, with another judge.

    Raises ThreatspecError TS-UNKNOWN-MEASURE, TS-DATA for prompts that have changed, TS-RECORDS if
    no reply is there.
    """
    planned = ledger.plan.measures
    if measure is not None:
        require_known("TS-UNKNOWN-MEASURE", "measure", measure, list(planned))
    with _uncollected():
        reader = _Reader(ledger, chosen)
        found = [reader.measure(name) for name in planned if measure in {None, name}]
    if not any(one.cells for one in found):
        text = f"{ledger.folder} must hold judged replies, but has none of these measures yet"
        raise ThreatspecError("TS-RECORDS", f"{text}; run it first", exit_code=ExitCode.USAGE)
    notes = tuple(chosen.notes)
    return Again(plan=ledger.plan.id, judge=chosen.name, notes=notes, measures=tuple(found))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looks for cycles: there are none in replies, however many are read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Reader:
    def __init__(self, ledger: Ledger, chosen: ChosenJudge) -> None:
        self.ledger, self.chosen = ledger, chosen
        self.marks, self.order = ledger.marks(), items_by_trial(ledger.plan)
        self._seen: dict[tuple[str, str], dict[str, Outcome]] = {}

    def measure(self, name: str) -> MeasureAgain:
        """All cells that have been judged for it."""
        planned = self.ledger.plan.measures[name]
        items = items_of(self.ledger, planned)
        pairs: dict[str, list[tuple[Outcome, Outcome]]] = {}
        cells = [cell for cell in self.ledger.plan.cells.values() if cell.measures.get(name)]
        for cell in cells:
            found = list(self._pairs(name, planned, items, cell))
            if found:
                pairs[cell.id] = found
        return MeasureAgain(
            measure=name,
            recorded=planned.judge["use"],
            cells=tuple(_cell(self.ledger, cell, pairs[cell.id])
                        for cell in cells if cell.id in pairs),
            kappa=_kappa([pair for own in pairs.values() for pair in own]),
        )  # fmt: skip

    def _pairs(
        self, name: str, planned: PlannedMeasure, items: Mapping[str, Item], cell: Cell
    ) -> Iterator[tuple[Outcome, Outcome]]:
        """Recorded and new outcome of every prompt; looks that were not read have none."""
        for trial in cell.measures[name]:
            if trial in self.marks:
                again = self._again(trial, planned, items)
                for item, mark in zip(self.order[trial], self.marks[trial], strict=False):
                    if item in again and mark in _OUTCOMES:
                        yield _OUTCOMES[mark], again[item]

    def _again(
        self, trial: str, planned: PlannedMeasure, items: Mapping[str, Item]
    ) -> dict[str, Outcome]:
        """Outcome by prompt; replies that several measures read alike are judged once."""
        trials = self.ledger.plan.trials
        [asked] = [n for n in trials[trial].needs if trials[n].kind is TrialKind.GENERATE]
        key = (asked, f"{planned.span}/{planned.aggregation}/{planned.benchmark}")
        if key not in self._seen:
            replies = self.ledger.generations(asked)
            judge, config = self.chosen.judge, self.chosen.config
            said = judgements(judge, config, replies, items, planned.span)
            outcomes = {g.item: one.outcome for g, one in zip(replies, said, strict=True)}
            if len(outcomes) < len(replies):  # several replies to a prompt
                rows = rows_of(replies, said, items, planned.aggregation)
                outcomes = {row.item: row.outcome for row in rows}
            self._seen[key] = outcomes
        return self._seen[key]


def _cell(ledger: Ledger, cell: Cell, pairs: Sequence[tuple[Outcome, Outcome]]) -> CellAgain:
    untouched = cell.procedure == UNTOUCHED
    return CellAgain(
        cell=cell.id,
        procedure=UNTOUCHED if untouched else ledger.plan.procedures[cell.procedure].name,
        subject=cell.subject,
        replicate=cell.replicate,
        prompts=len(pairs),
        recorded=_answers(Counter(old for old, _ in pairs)),
        again=_answers(Counter(new for _, new in pairs)),
        changed=sum(old is not new for old, new in pairs),
        kappa=_kappa(pairs),
    )


def _answers(found: Counter[Outcome]) -> Answers:
    yes, no = found[Outcome.YES], found[Outcome.NO] + found[Outcome.REJECTED]
    total = found.total()
    return Answers(yes=yes, no=no, open=total - yes - no, rate=yes / total)


def _kappa(pairs: Sequence[tuple[Outcome, Outcome]]) -> float | None:
    both = Counter(pairs)
    cells = [both[one, other] for one in TOLD for other in TOLD]
    return Agreement(*cells).kappa if any(cells) else None
