"""CSV for spreadsheets: one row per claim, attacked cell and measure.

A claim about several subjects has rows of its map of subjects x slices at the end, which are counts
without bounds.

A spreadsheet obeys cells that begin like a formula, so text that does is prefixed with an
apostrophe. Numbers are numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from threatspec.claims import CampaignVerdict, CellReading, ClaimVerdict, Evidence, MeasureReading
from threatspec.records import Arm
from threatspec.reports._details import Details
from threatspec.reports._rules import rules_in_short
from threatspec.reports._subjects import WHICH, SubjectLine, SubjectMap, subject_maps
from threatspec.reports._visible import one_line

__all__ = ["COLUMNS", "render_csv"]

COLUMNS = (
    "claim", "verdict", "expected", "rules", "subject", "adversary", "holds", "arm", "procedure",
    "replicate", "cell", "state", "counts", "reads", "p", "adjusted_p", "measure", "yes",
    "unknown", "units", "rate", "lower", "upper", "confidence", "steps", "tokens", "flops",
    "seconds", "witness", "note",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""The last four are what some spreadsheets fold to the first four."""


def render_csv(evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None) -> str:
    """A table with a header; a cell without any reading has one row without a measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for claim in verdict.claims:
        for cell in claim.cells:
            for reading in cell.readings or (None,):
                writer.writerow(_safe(v) for v in _row(claim, cell, reading))
    for found in subject_maps(evidence, verdict):
        for line in found.lines:
            for values in _slices(found, line):
                writer.writerow(_safe(values.get(name, "")) for name in COLUMNS)
    return out.getvalue()


def _row(
    claim: ClaimVerdict, cell: CellReading, reading: MeasureReading | None
) -> Iterator[str | int | float]:
    yield from (claim.id, claim.verdict.value, claim.expected.value, rules_in_short(claim))
    yield from (claim.subject, claim.adversary, claim.holds)
    yield from (cell.arm.value, cell.procedure, cell.replicate)
    yield from (cell.cell, cell.state.value, cell.counts.value, cell.holds.value)
    yield from (cell.p, cell.adjusted_p)
    yield from _read(reading)
    spend = cell.spend
    yield from (claim.confidence, spend.steps, spend.tokens, spend.flops, spend.seconds)
    yield "yes" if claim.witness and claim.witness.cell == cell.cell else "no"
    yield cell.note


def _slices(found: SubjectMap, line: SubjectLine) -> Iterator[dict[str, str | int | float]]:
    """Of one subject, what was counted by slice, untouched and attacked."""
    claim = line.claim
    for side in WHICH:
        for name, counted in line.of(side).items():
            if name and counted:
                yield {
                    "claim": claim.id, "verdict": claim.verdict.value,
                    "expected": claim.expected.value, "subject": claim.subject,
                    "adversary": claim.adversary, "holds": claim.holds,
                    "arm": Arm.DEFENDED.value, "procedure": counted.procedure,
                    "replicate": counted.replicate, "cell": counted.cell,
                    "measure": f"{found.measure}[{name}]", "yes": counted.tally.yes,
                    "unknown": counted.tally.unknown, "units": counted.tally.units,
                    "rate": round(counted.tally.rate, 6),
                }  # fmt: skip


def _read(reading: MeasureReading | None) -> tuple[str | int | float, ...]:
    if reading is None:
        return ("",) * 7
    tally = reading.tally
    rate = round(tally.rate, 6)
    return (
        reading.measure, tally.yes, tally.unknown, tally.units, rate, reading.lower, reading.upper,
    )  # fmt: skip


def _safe(value: str | int | float) -> str | int | float:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
