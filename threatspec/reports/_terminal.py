"""The report on a terminal: text for people, without control codes where nobody sees colours.

Every text goes through `one_line`, as plain `Text`: markup and control characters in names, notes
or model output are shown, never obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from threatspec.claims import (
    CampaignVerdict,
    CellReading,
    Evidence,
    GateReading,
    MeasureReading,
    Truth,
)
from threatspec.records import Arm, Realised
from threatspec.reports import _words as words
from threatspec.reports._claims import ClaimView, ControlView, Differing
from threatspec.reports._cost import Cost
from threatspec.reports._details import Details
from threatspec.reports._model import build
from threatspec.reports._rules import codes
from threatspec.reports._visible import one_line
from threatspec.schema import Verdict

__all__ = ["print_facts", "render_terminal"]

_STYLES = {
    Verdict.SUPPORTED: "bold green",
    Verdict.REFUTED: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.VACUOUS: "bold magenta",
    Verdict.INADMISSIBLE: "bold blue",
}
_LABEL = 12
"""Width of the longest verdict, and of the labels beneath it."""
_WIDE = 140
"""Columns from which on a cell's readings stand on one line."""
_TRUTHS = {Truth.TRUE: "true", Truth.FALSE: "false", Truth.UNDECIDED: "undecided"}


def render_terminal(
    console: Console,
    evidence: Evidence,
    verdict: CampaignVerdict,
    details: Details | None = None,
    *,
    full: bool = False,
) -> None:
    """Print every claim with its verdict and scope; `full` adds what it was decided on."""
    report = build(evidence, verdict, details)
    for view in report.claims:
        console.print(_head(view), soft_wrap=True)
        print_facts(console, _facts(view, full))
        if full:
            _evidence(console, view)
        console.print()
    for replay in report.replays:
        if replay.says or full:
            found = "; ".join(replay.says) or "no difference"
            _print(console, f"{replay.procedure} on {replay.subject}: {found}", "back-ends")
    for read in report.instruments:
        for note in read.notes:
            _print(console, f"{read.name}: {note}; no verdict depends on it", "instrument")
    if full:
        for read in report.instruments:
            for model, says in read.lines:
                _print(console, f"{read.name} on {model}: {says}", "instrument")
        for chart in report.searches:
            for line in chart.lines:
                _print(console, f"{chart.procedure} on {line.subject}: {line.says}", "search")
        _print(console, f"{words.spend(report.total)} by all attacks together", "spent")
        if report.details.timeline:
            _print(console, report.details.timeline.says, "time")
    console.print(_line(report.headline, "bold"))
    if not verdict.complete:
        text = "The campaign is not finished: planned cells have not been run."
        console.print(_line(text, "yellow"))


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Labels with paragraphs beside them."""
    for label, text in facts:
        _print(console, text, label)


def _print(console: Console, text: str, label: str = "") -> None:
    """A paragraph with a hanging label, and without blanks at the ends of lines."""
    shown = _line(text)
    for number, line in enumerate(shown.wrap(console, max(20, console.width - _LABEL - 2))):
        name = f"{label if number == 0 else '':<{_LABEL}}  "
        console.print(Text.assemble((name, "dim"), line), soft_wrap=True)


# one claim


def _head(view: ClaimView) -> Text:
    claim = view.claim
    waived = bool(claim.waived)
    good = "bold yellow" if waived else "green"
    return Text.assemble(
        (f"{claim.verdict.value:<{_LABEL}}", "bold yellow" if waived else _STYLES[claim.verdict]),
        "  ",
        (one_line(claim.id), "bold"),
        "  ",
        (view.expectation, good if claim.passed else "bold red"),
    )


def _facts(view: ClaimView, full: bool) -> Iterator[tuple[str, str]]:
    claim = view.claim
    yield "claim", claim.says
    yield from view.insufficient
    if view.reason and not view.insufficient:
        yield "because", view.reason
    if claim.witness:
        yield "witness", claim.witness.says
    yield from (("failed", text) for text in view.failures)
    if not full:
        yield from _answered(view)
        yield from (("flag", text) for text in view.flags)
    yield from (("warning", text) for text in view.warnings)
    for label, text in (("seeds", claim.seeds), ("near", claim.turning), ("run", view.runs)):
        if text:
            yield label, text
    yield "scope", claim.scope
    if claim.because or claim.waived or not claim.passed:
        yield "expected", view.wanted
    yield "next", claim.next_step


def _answered(view: ClaimView) -> Iterator[tuple[str, str]]:
    """Broken rules that somebody answers for, and those that the claim's scope answers."""
    for line in view.rules:
        if line.reading.answer == "waived":
            yield "waived", f"{line.reading.rule} by {line.reading.by}"
    if scoped := codes(view.claim, "scoped"):
        yield "scoped", ", ".join(scoped)


# full


def _evidence(console: Console, view: ClaimView) -> None:
    for reason in view.further:
        _print(console, reason, "also")
    for label, about in (("protects", view.protects), ("governed", view.governance)):
        if about:
            _print(console, "; ".join(f"{what.lower()}: {text}" for what, text in about), label)
    for arm in view.arms:
        _cells(console, view, arm)
    _labelled(console, "rules that are not met, and what answers them", _rules(view))
    _labelled(console, "flags", (("flag", words.flag(one)) for one in view.claim.flags))
    _cost(console, view.cost)
    for heading, lines in _sections(view):
        for number, line in enumerate(lines):
            if number == 0:
                _heading(console, heading)
            console.print(_line(line), soft_wrap=False)


def _labelled(console: Console, heading: str, facts: Iterable[tuple[str, str]]) -> None:
    """A heading with labelled paragraphs, or nothing."""
    for number, fact in enumerate(facts):
        if number == 0:
            _heading(console, heading)
        print_facts(console, [fact])


def _rules(view: ClaimView) -> Iterator[tuple[str, str]]:
    for line in view.rules:
        yield line.reading.rule, f"{line.title}: {line.reading.says}; {line.answer}"


def _cost(console: Console, found: Cost | None) -> None:
    if found is None:
        return
    _heading(console, f"cost to break: {found.title}")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for head in ("on", "FLOPs", "best so far", "by"):
        table.add_column(head, overflow="fold")
    above = ""
    for line in found.lines:
        name = "" if line.subject == above else line.subject
        above = line.subject
        row = (name, line.flops, line.rate, line.by)
        table.add_row(*(Text(one_line(text)) for text in row))
    console.print(table)
    for arm, subject, end in found.ends:
        console.print(_line(f"{words.ARMS[arm]}, {subject}: {end}"))


def _sections(view: ClaimView) -> Iterator[tuple[str, Iterable[str]]]:
    series = (f"{one.says}: {words.STANDS[one.stands]}" for one in view.claim.series)
    yield "each attack over its seeds", series
    yield "before any attack", map(_gate, view.claim.gates)
    alive = (line for control in view.controls for line in _control(control))
    yield "controls: were the attacks alive?", alive
    yield "same replies, different judges", map(_differing, view.differing)
    yield "attacks not run, though access allows them", view.claim.not_run
    yield "dropped, because their control did not break", view.claim.dropped


def _cells(console: Console, view: ClaimView, arm: Arm) -> None:
    _heading(console, f"{words.ARMS[arm]}: {view.planned.models.get(arm, '')}")
    cells = view.cells(arm)
    narrow = console.width < _WIDE
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    measures = list(dict.fromkeys(r.measure for cell in cells for r in cell.readings))
    for head in ("procedure", "rep", *measures, "reads", "spend"):
        table.add_column(one_line(head), overflow="fold")
    above = ""
    for cell in cells:
        name = "" if cell.procedure == above else cell.procedure
        above = cell.procedure
        table.add_row(*(Text(text) for text in _row(cell, name, measures, narrow)))
    console.print(table)
    if text := view.read(arm):
        console.print(_line(text, "dim"))
    notes = (f"{c.procedure}, replicate {c.replicate}: {c.note}" for c in cells if c.note)
    print_facts(console, (("note", note) for note in notes))


def _row(cell: CellReading, name: str, measures: Iterable[str], narrow: bool) -> Iterator[str]:
    readings = {reading.measure: reading for reading in cell.readings}
    spent = words.spend(cell.spend)
    yield one_line(name)
    yield str(cell.replicate)
    for measure in measures:
        shown = _reading(readings[measure]) if measure in readings else "-"
        yield shown.replace(" [", "\n[") if narrow else shown
    yield words.cell_word(cell)
    yield spent.replace(", ", "\n") if narrow else spent


def _reading(reading: MeasureReading) -> str:
    return f"{words.units(reading)} {words.bounds(reading)}"


def _gate(gate: GateReading) -> str:
    read = ", ".join(f"{r.measure} {_reading(r)}" for r in gate.readings)
    truth = _TRUTHS[gate.truth]
    return f"{gate.name} on {gate.subject}: {gate.predicate} is {truth}" + (
        f" ({read})" if read else ""
    )


def _control(control: ControlView) -> Iterator[str]:
    yield control.reading.says
    yield from (f"- replicate {n}: {_training(run)}" for n, run in control.training)


def _training(run: Realised) -> str:
    steps = words.counted(run.steps, "step")
    return (
        f"loss {run.probe_before:.3g} -> {run.probe_after:.3g} in {steps}, "
        f"weights moved by {run.weight_delta:.3g} (L2)"
    )


def _differing(found: Differing) -> str:
    counts = found.counts
    return (
        f"{found.procedure} ({found.arm.value}), {counts.prompts} replies: "
        f"{counts.only_first} only {counts.first}, {counts.only_second} only {counts.second}"
    )


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(_line(text, "bold"))


def _line(text: str, style: str = "") -> Text:
    return Text(one_line(text), style=style)
