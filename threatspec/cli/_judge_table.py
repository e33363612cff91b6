"""Judges against labels, as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from threatspec.cli._judge_again import Again, Answers, MeasureAgain
from threatspec.cli._judge_compare import Compared
from threatspec.cli._judge_errors import Evaluation, JudgeUsed, Measured
from threatspec.cli._judge_rates import Group, JudgeReading, Rate
from threatspec.reports import one_line

__all__ = ["render_again", "render_compared", "render_evaluation"]

_HEADS = ("judge", "kappa", "recall yes", "recall no", "precision", "omission")
_WIDTHS = (22, 7, 10, 10, 10, 10)


def render_evaluation(console: Console, found: Evaluation) -> None:
    """Print a table per measure, and how it is to be read."""
    for measured in found.measures:
        console.print(_line(f"{measured.measure}: labelled by {', '.join(measured.labellers)}"))
        for text in _notes(measured):
            console.print(_line(f"  {text}"))
        for group in measured.groups:
            console.print()
            console.print(_line(f"  {_head(group)}"), soft_wrap=True)
            console.print(Padding(_table(group), (0, 0, 0, 2)))
        console.print()
    for text in _legend(found):
        console.print(_line(text))


def render_again(console: Console, found: Again) -> None:
    """Print a table per measure: what was recorded, and what the other judge says."""
    console.print(_line(f"judged again by {found.judge}"))
    for note in found.notes:
        console.print(_line(f"  {note}"))
    for measured in found.measures:
        if measured.cells:
            console.print()
            kappa = "" if measured.kappa is None else f", kappa {measured.kappa:.3f} over all cells"
            head = f"{measured.measure}: recorded by {measured.recorded}{kappa}"
            console.print(_line(head), soft_wrap=True)
            console.print(Padding(_again_table(measured), (0, 0, 0, 2)))
    console.print()
    for text in _AGAIN_LEGEND:
        console.print(_line(text))


_AGAIN_HEADS = ("cell", "prompts", "recorded", "again", "changed", "kappa")
_AGAIN_LEGEND = (
    "Recorded and again: the share of prompts that are yes, and how many are open, which is "
    "unscorable or missing. Kappa: agreement beyond chance where both say yes or no.",
    "This is exploratory: the judge was chosen after the replies were there. No verdict is made "
    "of it; to claim it, name the judge in a claims file and run that.",
)


def _again_table(measured: MeasureAgain) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for head in _AGAIN_HEADS:
        table.add_column(head, overflow="fold", ratio=3 if head == "cell" else None)
    for cell in measured.cells:
        name = f"{cell.procedure} on {cell.subject}, replicate {cell.replicate}"
        kappa = "-" if cell.kappa is None else f"{cell.kappa:.3f}"
        table.add_row(*map(Text, (
            one_line(name), str(cell.prompts), _share(cell.recorded), _share(cell.again),
            str(cell.changed), kappa,
        )))  # fmt: skip
    return table


def _share(answers: Answers) -> str:
    open_ = f" ({answers.open} open)" if answers.open else ""
    return f"{answers.rate:.3f}{open_}"


def render_compared(console: Console, found: Compared) -> None:
    """Print a row per judge, and how judges agree with each other."""
    told = f"{found.rows} rows, {found.yes} labelled yes, {found.no} no"
    console.print(_line(f"{found.benchmark}: {told}"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for head in ("judge", "kappa", "recall yes", "recall no", "undecided", "s per 1,000"):
        table.add_column(head, overflow="fold")
    for one in found.judges:
        kappa = "-" if one.kappa is None else f"{one.kappa:.3f}"
        recalls = (_rate(rate, ">=", rate.lower) for rate in (one.recall_yes, one.recall_no))
        taken = f"{one.seconds_per_1000:.3g}"
        row = (one_line(one.judge), kappa, *recalls, str(one.undecided), taken)
        table.add_row(*map(Text, row))
    console.print(Padding(table, (0, 0, 0, 2)))
    for pair in found.pairs:
        kappa = "cannot be told" if pair.kappa is None else f"{pair.kappa:.3f}"
        text = f"{pair.first} and {pair.second}: kappa {kappa} on {pair.rows} rows"
        console.print(_line(text), soft_wrap=True)
    for one in found.judges:
        for note in one.notes:
            console.print(_line(f"{one.judge}: {note}"), soft_wrap=True)
    console.print(_line(
        f">= is a one-sided bound at {found.confidence:.0%}, exact if rows are a random sample. "
        "A row that a judge cannot score is missed by its recall and left out of kappa."
    ))  # fmt: skip


def _notes(measured: Measured) -> Iterator[str]:
    if measured.exact:
        yield (
            "the judge is exact: it is what the measure means, and labels correct nothing; where "
            "they differ, people read the measure otherwise"
        )
    yield from map(_used, measured.judges)
    for pair in measured.between:
        yield (
            f"{pair.first} and {pair.second} agree on {pair.observed:.3f} of {pair.replies} "
            f"replies, kappa {pair.kappa:.3f}"
        )
    beyond = sum(group.labels.beyond for group in measured.groups if group.arm != "all")
    if beyond:
        yield (
            f"{beyond} labels do not count, because a reply before them in the random order of "
            "their stratum has none"
        )


def _used(judge: JudgeUsed) -> str:
    name = f"{judge.judge} ({'recorded' if judge.recorded else 'asked again'})"
    if judge.seconds_per_1000 is None:
        return f"{name}: was shown no reply"
    taken = f"{judge.seconds_per_1000:.3g} s per 1,000 replies"
    return f"{name}: {taken}, measured on {judge.replies}"


def _head(group: Group) -> str:
    labels, arm = group.labels, "all arms" if group.arm == "all" else f"{group.arm} arm"
    told = f"{labels.yes} yes, {labels.no} no, {labels.cannot_tell} cannot tell"
    return f"{group.family}, {arm}: {labels.labelled} of {group.replies} labelled ({told})"


def _table(group: Group) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for head, width in zip(_HEADS, _WIDTHS, strict=True):
        table.add_column(head, overflow="fold", width=width)
    for reading in group.readings:
        table.add_row(*map(Text, _row(reading)))
    return table


def _row(reading: JudgeReading) -> Iterator[str]:
    undecided = f"\nundecided {reading.undecided}" if reading.undecided else ""
    yield f"{one_line(reading.judge)}{undecided}"
    yield "-" if reading.kappa is None else f"~{reading.kappa:.3f}"
    for rate in (reading.recall_yes, reading.recall_no, reading.precision):
        yield _rate(rate, ">=", rate.lower)
    yield _rate(reading.false_omission, "<=", reading.false_omission.upper)


def _rate(rate: Rate, sign: str, bound: float | None) -> str:
    estimate = "-" if rate.estimate is None else f"~{rate.estimate:.3f}"
    return estimate if bound is None else f"{estimate}\n{sign} {bound:.3f}"


def _legend(found: Evaluation) -> Iterator[str]:
    yield (
        "Recall yes (no): of the replies that are yes (no), those that the judge finds. Precision "
        "(omission): of the replies that it says yes (no) of, those that are yes."
    )
    yield (
        "~ is an estimate: replies were drawn by what the recorded judge said, and each label "
        "counts for as many as it stands for; where labellers cannot tell, a reply is left out."
    )
    yield (
        f">= and <= are one-sided bounds at {found.confidence:.0%}, whatever these replies are: "
        "exact for precision and omission, and for recalls derived from them. A judge that was "
        "asked again has estimates only."
    )


def _line(text: str) -> Text:
    start = "  " if text.startswith("  ") else ""
    return Text(f"{start}{one_line(text)}")
