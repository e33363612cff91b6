"""Runs side by side: one row per claim, one column per run or per subject of one run.

Numbers stand side by side only where the same thing was measured: a measure's identity comes from
its prompts, its judge and their code, and a cell of another identity says so instead. How subjects
are asked is no part of that identity: another serving is compared, and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from threatspec.claims import CampaignVerdict, ClaimVerdict, Evidence, serving_words
from threatspec.records import PlannedClaim
from threatspec.reports import _words as words
from threatspec.reports._predicates import own_measure
from threatspec.reports._slices import Counted, attacked_counts, untouched_counts
from threatspec.reports._subjects import counted_data
from threatspec.reports._visible import one_line
from threatspec.reports._worst import Run, worst
from threatspec.schema import operands, parse_predicate

__all__ = ["Comparison", "compare", "comparison_json", "render_comparison"]

_ACROSS = 3
"""Columns that fit beside each other into 80 characters."""
_IDENTITY = ("benchmark", "split", "judge", "span", "cluster", "prompts")

Named = tuple[str, Evidence, CampaignVerdict]


@dataclass(frozen=True, slots=True)
class Entry:
    """One claim as one column has it."""

    claim: ClaimVerdict
    planned: PlannedClaim
    evidence: Evidence

    @property
    def worst(self) -> Run | None:
        """The attacked run that speaks most against the claim."""
        return worst([c for c in self.claim.cells if c.arm == "defended"], self.claim.holds)

    @property
    def untouched(self) -> Counted | None:
        """The subject as it is."""
        return untouched_counts(self.evidence, self.planned, self.claim.holds)("")

    @property
    def serving(self) -> str:
        """How the subject is asked, as declared."""
        return serving_words(self.evidence.plan.spec)

    def slices(self, key: str) -> dict[str, tuple[Counted | None, Counted | None]]:
        """By value of a key that was planned: untouched, and attacked in its worst run."""
        planned = self.evidence.plan.measures.get(own_measure(self.claim.holds))
        before = untouched_counts(self.evidence, self.planned, self.claim.holds)
        after = attacked_counts(self.evidence, self.planned, self.claim)
        names = (name for name in (planned.slices if planned else ()) if name.startswith(f"{key}="))
        return {name.partition("=")[2]: (before(name), after(name)) for name in names}

    @property
    def adversary(self) -> object:
        """The whole threat model, as it was read."""
        return self.evidence.plan.spec.get("adversaries", {}).get(self.claim.adversary)


@dataclass(frozen=True)
class Row:
    """One claim in every column; None where a column does not have it."""

    name: str
    holds: str
    entries: tuple[Entry | None, ...]
    by: str = ""
    """Key of the slices that are shown one by one."""

    @cached_property
    def slices(self) -> tuple[dict[str, tuple[Counted | None, Counted | None]], ...]:
        """Slices of every column that can be compared; none of the others."""
        return tuple(
            entry.slices(self.by) if entry and self.by and not self.refusal(entry) else {}
            for entry in self.entries
        )

    @property
    def values(self) -> tuple[str, ...]:
        """Slices of any column, in their order."""
        return tuple(sorted({value for one in self.slices for value in one}))

    @property
    def first(self) -> Entry:
        """What the others are compared with."""
        return next(entry for entry in self.entries if entry)

    def refusal(self, entry: Entry) -> str:
        """Why `entry` cannot be compared with the first; "" if it can."""
        return "; ".join(_differences(self.first, entry))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything side by side."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def compare(runs: Sequence[Named], by: str = "") -> Comparison:
    """Several runs by claim; one run by subject.

    Args:
        runs: each with its name, which is that of its column.
        by: key of slices that are shown one by one, as far as they were planned.
    """
    if len(runs) == 1:
        return _by_subject(runs[0], by)
    found: dict[tuple[str, str], dict[int, Entry]] = {}
    for column, run in enumerate(runs):
        for entry in _entries(run):
            found.setdefault((entry.claim.id, entry.claim.holds), {})[column] = entry
    return Comparison(tuple(name for name, _, _ in runs), _rows(found, len(runs), by))


def comparison_json(found: Comparison) -> str:
    """`threatspec/comparison/v1`. ASCII only, so control characters stay escapes."""
    rows = [
        {
            "claim": row.name,
            "holds": row.holds,
            "columns": [_data(row, entry) if entry else None for entry in row.entries],
        }
        for row in found.rows
    ]
    data = {"schema": "threatspec/comparison/v1", "columns": list(found.columns), "rows": rows}
    return json.dumps(data, indent=1, allow_nan=False)


def render_comparison(console: Console, found: Comparison) -> None:
    """Print as tables, of no more columns than fit."""
    for start in range(0, len(found.columns), _ACROSS):
        chosen = slice(start, start + _ACROSS)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
        for name in ("claim", *found.columns[chosen]):
            table.add_column(one_line(name), overflow="fold")
        for row in found.rows:
            cells = (Text("\n".join(map(one_line, _lines(row, e)))) for e in row.entries[chosen])
            table.add_row(Text(f"{one_line(row.name)}\n{one_line(row.holds)}"), *cells)
            for value in row.values:
                parts = (one.get(value) for one in row.slices[chosen])
                table.add_row(Text(f"  {one_line(value)}"), *(Text(_slice(part)) for part in parts))
            table.add_section()
        console.print(table)


def _by_subject(run: Named, by: str) -> Comparison:
    """Claims with one predicate against one adversary stand in one row."""
    entries = list(_entries(run))
    columns = tuple(dict.fromkeys(entry.planned.subject for entry in entries))
    found: dict[tuple[str, str], dict[int, Entry]] = {}
    for entry in entries:
        column, name, again = columns.index(entry.planned.subject), entry.claim.adversary, 1
        key = (f"against {name}", entry.claim.holds)
        while column in found.get(key, {}):
            again += 1
            key = (f"against {name} ({again})", entry.claim.holds)
        found.setdefault(key, {})[column] = entry
    return Comparison(columns, _rows(found, len(columns), by))


def _rows(found: dict[tuple[str, str], dict[int, Entry]], width: int, by: str) -> tuple[Row, ...]:
    return tuple(
        Row(name, holds, tuple(entries.get(column) for column in range(width)), by)
        for (name, holds), entries in found.items()
    )


def _entries(run: Named) -> Iterator[Entry]:
    _, evidence, verdict = run
    planned = {one.id: one for one in evidence.plan.claims}
    return (Entry(claim, planned[claim.id], evidence) for claim in verdict.claims)


def _differences(one: Entry, other: Entry) -> Iterator[str]:
    for name in sorted({o.measure for o in operands(parse_predicate(one.claim.holds))}):
        mine, theirs = one.evidence.plan.measures[name], other.evidence.plan.measures[name]
        if mine.id != theirs.id:
            found = [part for part in _IDENTITY if getattr(mine, part) != getattr(theirs, part)]
            what = ", ".join(found) or "the prompts themselves, or the code that judges"
            yield f"not compared: {name} is another measure ({what})"


def _lines(row: Row, entry: Entry | None) -> Iterator[str]:
    if entry is None:
        yield "-"
        return
    refusal = row.refusal(entry)
    if refusal:
        yield refusal
        return
    waived = ", ".join(dict.fromkeys(one.rule for one in entry.claim.waived))
    yield f"{entry.claim.verdict.value}{f', waived: {waived}' if waived else ''}"
    if entry.untouched:
        yield f"untouched {_counts(entry.untouched)}"
    if entry.worst:
        reading = entry.worst.reading
        yield f"worst {words.units(reading)} {words.bounds(reading)}"
        yield f"by {entry.worst.cell.procedure}"
    if entry.claim.witness:
        witness = entry.claim.witness
        yield f"broken by {witness.procedure}: {words.spend(witness.spend)}"
    if entry.adversary != row.first.adversary:
        yield "another adversary"
    if entry.serving != row.first.serving:
        yield f"another serving: {entry.serving}"


def _counts(found: Counted) -> str:
    unknown = f" ({found.tally.unknown} unknown)" if found.tally.unknown else ""
    return f"{found.tally.yes} of {found.tally.units}{unknown}"


def _slice(found: tuple[Counted | None, Counted | None] | None) -> str:
    """`0 -> 12.5 % (4 of 32)`, untouched and attacked; `-` is what was not read."""
    if found is None:
        return "-"
    before, after = (words.percent(one.tally.rate) if one else "-" for one in found)
    return f"{before} -> {after} %{f' ({_counts(found[1])})' if found[1] else ''}"


def _data(row: Row, entry: Entry) -> dict[str, object]:
    refusal, run, witness = row.refusal(entry), entry.worst, entry.claim.witness
    data: dict[str, object] = {
        "id": entry.claim.id,
        "subject": entry.claim.subject,
        "comparable": not refusal,
        "reason": refusal,
        "same_adversary": entry.adversary == row.first.adversary,
        "same_serving": entry.serving == row.first.serving,
        "serving": entry.serving,
    }
    if refusal:
        return data
    shown = {"procedure": run.cell.procedure, "replicate": run.cell.replicate,
             **run.reading.model_dump(mode="json")} if run else None  # fmt: skip
    slices = entry.slices(row.by) if row.by else {}
    return {
        **data,
        "verdict": entry.claim.verdict.value,
        "waived": list(dict.fromkeys(one.rule for one in entry.claim.waived)),
        "untouched": counted_data(entry.untouched),
        "worst": shown,
        "slices": {
            value: {"untouched": counted_data(before), "attacked": counted_data(after)}
            for value, (before, after) in slices.items()
        },
        "witness": witness.model_dump(mode="json") if witness else None,
    }
