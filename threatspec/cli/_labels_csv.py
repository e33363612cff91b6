"""Labelling in a spreadsheet: a blind sample goes out as CSV, and its labels come back.

What comes back is not trusted: only the columns `id` and `label` are read, and one wrong line keeps
all others from being written down.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from threatspec.cli._labelling import WORDS, Shown
from threatspec.errors import Problem, SpecErrors, did_you_mean
from threatspec.records import Outcome, Pair, Plan
from threatspec.reports import visible
from threatspec.schema import content_id

__all__ = ["read_sample", "row_ids", "sample_csv"]

_COLUMNS = ("id", "prompt", "reply", "label")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for a formula; the last four are what some fold to the first four."""
_SEPARATORS = ",;\t"
"""What spreadsheets of different countries write between cells."""
_LONGEST = 1 << 24
"""Characters of one cell."""

Wrong = Callable[[int, str], None]
"""Takes a line and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    id: str
    label: str


def row_ids(plan: Plan, pairs: Iterable[Pair]) -> dict[str, Pair]:
    """Replies by an id from which nothing can be told but the plan, which all of them share."""
    plan_id = plan.id  # of the whole plan: slow
    start = _start(plan_id)
    return {content_id(start, [plan_id, *pair]): pair for pair in pairs}


def _start(plan_id: str) -> str:
    return f"row-{plan_id.rpartition('-')[2][:6]}"


def sample_csv(ids: Mapping[str, Pair], replies: Mapping[Pair, Shown]) -> str:
    """The sample, its labels empty; no cell is a formula and no character drives a program."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row, pair in ids.items():
        writer.writerow([row, _safe(replies[pair].prompt), _safe(replies[pair].reply), ""])
    return out.getvalue()


def _safe(text: str) -> str:
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def read_sample(name: str, data: bytes, plan: Plan, ids: Mapping[str, Pair]) -> dict[Pair, Outcome]:
    """Labels by reply; rows without a label are left out. Raises SpecErrors with all problems."""
    start = f"{_start(plan.id)}-"
    problems: list[Problem] = []
    found: dict[str, tuple[Outcome, int]] = {}
    others: list[_Row] = []

    def wrong(line: int, message: str) -> None:
        problems.append(Problem("TS-LABELS", message, name, line))

    for row in _rows(data, wrong):
        if row.id not in ids:
            if row.id.startswith(start):
                wrong(row.line, f"an id must be one of the plan's, but {row.id!r} is none")
            else:
                others.append(row)
        label = WORDS.get(row.label.lower())
        if row.label and label is None:
            wrong(row.line, f"a label must be yes, no or ?, but got {row.label!r}")
        elif label and found.setdefault(row.id, (label, row.line))[0] is not label:
            first = found[row.id][1]
            wrong(row.line, f"an id must have one label, but line {first} gives it another one")
    if others:
        wrong(others[0].line, _foreign(start, others))
    if problems:
        raise SpecErrors(problems)
    return {ids[row]: label for row, (label, _) in found.items()}


def _foreign(start: str, rows: Sequence[_Row]) -> str:
    others = f" and those of {len(rows) - 1} more rows" if len(rows) > 1 else ""
    return f"ids of this plan begin with {start}, but got {rows[0].id!r}{others}"


def _rows(data: bytes, wrong: Wrong) -> Iterator[_Row]:
    """Every row that is not empty, with the line it begins on."""
    text = data.decode("utf-8-sig", errors="replace")
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_SEPARATORS, key=head.count))
    before = csv.field_size_limit(_LONGEST)
    try:
        places = _columns(next(reader, []), wrong)
        line = reader.line_num + 1
        for cells in reader if places else ():
            row = _Row(line, *(_cell(cells, place) for place in places))
            line = reader.line_num + 1
            if row.id or row.label:
                yield row
    except csv.Error as error:
        wrong(reader.line_num, f"the file must be CSV, but: {error}")
    finally:
        csv.field_size_limit(before)


def _columns(head: Sequence[str], wrong: Wrong) -> tuple[int, ...]:
    """Places of the ids and of the labels; none if the file does not say which they are."""
    names = [name.strip().lower() for name in head]
    for wanted in ("id", "label"):
        if names.count(wanted) != 1:
            hint = did_you_mean(wanted, names) if wanted not in names else ""
            text = (
                f"the first line must name one column {wanted!r}, but names {names.count(wanted)}"
            )
            wrong(1, f"{text}{hint}")
    if names.count("id") != 1 or names.count("label") != 1:
        return ()
    return names.index("id"), names.index("label")


def _cell(cells: Sequence[str], place: int) -> str:
    """A cell without what spreadsheets put around it; one that is cut off is empty."""
    return cells[place].strip().removeprefix("'") if place < len(cells) else ""
