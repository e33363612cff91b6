"""From people's labels of judged replies to what they say of the judge, cell by cell.

How often a judge is wrong depends on what it is shown: labels of one replicate say nothing of
another, in which more may be wrong. Strata are labelled in one random order, so that the labelled
replies of a cell, or of a slice of it, are a random sample of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from threatspec.claims._evidence import AuditKey
from threatspec.claims._judge_error import Audit
from threatspec.records import Label, LabelBook, Outcome, Plan, Stratum, consensus, strata

__all__ = ["audits", "audits_of"]


def audits(folder: Path, plan: Plan, marks: Mapping[str, bytes]) -> dict[AuditKey, Audit]:
    """By reading and cell; only where somebody labelled anything.

    Raises ThreatspecError TS-RECORDS if there are labels that cannot be read.
    """
    book = LabelBook.open(folder, plan)
    return audits_of(plan, marks, book.labels, book.seed)


def audits_of(
    plan: Plan, marks: Mapping[str, bytes], labels: Iterable[Label], seed: int
) -> dict[AuditKey, Audit]:
    """The same from labels that were drawn in the order of `seed`.

    A measure of clusters has none: labels are of replies, and a cluster is more than one.
    """
    said = consensus(labels)
    if not said:
        return {}
    readings = {name: _readings(plan, name) for name in plan.measures}
    cells = _cells(plan)
    found: dict[AuditKey, Audit] = {}
    for stratum, pairs in strata(plan, marks, seed).items():
        for trial, item in takewhile(said.__contains__, pairs):
            for reading in readings[stratum.measure].get(item, ()):
                for cell in cells.get((stratum.measure, trial), ()):
                    one = found.get((reading, cell), Audit())
                    found[reading, cell] = _with(one, stratum, said[trial, item])
    return found


def _with(audit: Audit, stratum: Stratum, label: Outcome) -> Audit:
    """One more label; whoever cannot tell is taken at the worst."""
    if stratum.judged is Outcome.NO:
        omitted = audit.omitted + (label is not Outcome.NO)
        return audit.model_copy(update={"negatives": audit.negatives + 1, "omitted": omitted})
    confirmed = audit.confirmed + (label is Outcome.YES)
    return audit.model_copy(update={"positives": audit.positives + 1, "confirmed": confirmed})


def _readings(plan: Plan, name: str) -> dict[str, list[str]]:
    """Readings (`asr`, `asr[category=fire]`) of a measure by prompt, if its units are prompts."""
    measure = plan.measures[name]
    if measure.units != measure.prompts:
        return {}
    found = {item: [name] for unit in measure.order for item in unit}
    for key, part in measure.slices.items():
        for item in part.items:
            found[item].append(f"{name}[{key}]")
    return found


def _cells(plan: Plan) -> dict[tuple[str, str], list[str]]:
    """Cells by measure and judging trial."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell, measure, trial in _judging(plan):
        found.setdefault((measure, trial), []).append(cell)
    return found


def _judging(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for cell in plan.cells.values():
        for measure, trials in cell.measures.items():
            yield from ((cell.id, measure, trial) for trial in trials)
