"""An audit of a benchmark as tables for people: numbers only, no prompt is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from threatspec.reports import one_line

if TYPE_CHECKING:
    from threatspec.measures.benchmarks import Audit

__all__ = ["render_audit"]

_MOST_VALUES = 12
"""Values of one slice that are shown; the others are summed up."""


def render_audit(console: Console, found: Audit) -> None:
    """Print what is odd about a benchmark."""
    for line in _head(found):
        console.print(_line(line), soft_wrap=True)
    for table in _tables(found):
        console.print()
        console.print(table)
    for line in _repetition(found):
        console.print(_line(line), soft_wrap=True)


def _head(found: Audit) -> Iterator[str]:
    splits = ", ".join(f"{n} {name}" for name, n in found.splits.items())
    yield f"{found.name} ({found.digest})"
    yield f"{found.prompts} prompts in {found.clusters} clusters: {splits}"
    if found.absent:
        yield f"described categories without a prompt: {', '.join(found.absent)}"
    if found.images:
        yield f"images: {found.images.says}"
        yield from (f"cannot be used: {why}" for why in found.images.why)


def _tables(found: Audit) -> Iterator[Table]:
    if found.balance:
        yield _balance(found)
    for one in found.balance:
        yield _values(one.key, one.counts, one.prompts)
    yield _lengths(found)
    yield _missing(found)
    if found.overlaps:
        yield _overlaps(found)


def _balance(found: Audit) -> Table:
    table = _table("slices", "values", "prompts", "largest", "smallest", "ratio", "evenness")
    for one in found.balance:
        counts = one.counts.values()
        row = (len(counts), one.prompts, max(counts), min(counts))
        table.add_row(_line(one.key), *map(str, row), f"{one.ratio:.2f}", f"{one.evenness:.3f}")
    return table


def _values(key: str, counts: dict[str, int], total: int) -> Table:
    table = _table(key, "prompts", "share")
    for value, count in list(counts.items())[:_MOST_VALUES]:
        table.add_row(_line(value), str(count), f"{count / total:.3f}")
    rest = list(counts.values())[_MOST_VALUES:]
    if rest:
        text = f"{len(rest)} more"
        table.add_row(_line(text), str(sum(rest)), f"{sum(rest) / total:.3f}")
    return table


def _lengths(found: Audit) -> Table:
    table = _table("words of", "texts", "least", "10 %", "median", "90 %", "most")
    for one in found.lengths:
        row = (one.texts, one.least, one.low, one.median, one.high, one.most)
        table.add_row(_line(one.field), *map(str, row))
    return table


def _missing(found: Audit) -> Table:
    table = _table("field", "prompts without", "share")
    for field, count in found.missing.items():
        table.add_row(_line(field), str(count), f"{count / max(found.prompts, 1):.3f}")
    return table


def _overlaps(found: Audit) -> Table:
    table = _table("prompts also in", "equal", "equal or near", "share")
    for one in found.overlaps:
        share = one.near / max(one.prompts, 1)
        table.add_row(_line(one.right), str(one.equal), str(one.near), f"{share:.3f}")
    return table


def _repetition(found: Audit) -> Iterator[str]:
    own = found.repetition
    yield ""
    yield f"{own.equal} prompts equal an earlier one, {own.near} more are nearly one"
    if own.groups:
        yield f"{own.groups} groups of prompts that say the same, the largest of {own.largest}"
        torn = f"{own.across_splits} pairs stand in two splits"
        yield f"{torn}, {own.across_clusters} in two clusters"
        yield "--json lists the pairs by id"


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _line(text: str) -> Text:
    return Text(one_line(text))
