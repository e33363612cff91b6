"""Markdown for pull requests and CI summaries. Free text stays text: no HTML, no links, no tables.

Transcripts are left out: where Markdown is posted, many read it unasked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from threatspec.claims import CampaignVerdict, CellReading, Evidence
from threatspec.records import Arm
from threatspec.reports import _words as words
from threatspec.reports._claims import ClaimView
from threatspec.reports._details import Details
from threatspec.reports._matrix import MATRIX_SAYS, Line, Matrix, Square, required
from threatspec.reports._model import Report, build
from threatspec.reports._subjects import WHICH, SubjectLine, SubjectMap
from threatspec.reports._visible import one_line
from threatspec.reports._worst import worst

__all__ = [
    "markdown_code",
    "markdown_prose",
    "markdown_text",
    "render_markdown",
    "render_matrix_markdown",
]

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_MARKUP = re.compile(r"[\\`*_\[\]~$]")
_ENTITY = re.compile(r"[&<>|]|@+")
_LINK = re.compile(r"(?i)(www|https?|ftp|mailto|xmpp)(\.|:)")
_BLOCK = re.compile(r"^(?:[#+=:-]|\d+[.)])")
_UNFINISHED = "**Not finished.** Planned cells have not been run."
_MOST = 100
"""Rows of one table of cells."""


def render_markdown(
    evidence: Evidence,
    verdict: CampaignVerdict,
    details: Details | None = None,
    *,
    cells: bool = True,
) -> str:
    """The verdicts in one table, then every claim; `cells` adds what each run read."""
    report = build(evidence, verdict, details)
    parts = (
        *_head(report),
        *_matrices(report.matrices),
        *_subjects(report),
        *_claims(report, cells),
        *_instruments(report),
    )
    return "\n".join(parts)


def render_matrix_markdown(evidence: Evidence, verdict: CampaignVerdict) -> str:
    """The verdict matrices alone."""
    report = build(evidence, verdict)
    parts = (_title(report), *_matrices(required(report.matrices)))
    return "\n".join(parts)


def markdown_text(text: str) -> str:
    """One line of text that no renderer of Markdown takes for anything else."""
    return _begun(_text(one_line(text)))


def markdown_code(text: str) -> str:
    """A span of code, also in a table: a pipe would end the cell."""
    shown = one_line(text)
    if not shown or "|" in shown:
        return markdown_text(shown)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def markdown_prose(text: str) -> str:
    """A sentence in which what stands between backticks is code."""
    parts = one_line(text).split("`")
    if len(parts) % 2 == 0:
        return markdown_text(text)
    spans = (markdown_code(p) if n % 2 else _text(p) for n, p in enumerate(parts))
    return _begun("".join(spans))


def _text(text: str) -> str:
    shown = _MARKUP.sub(r"\\\g<0>", text)
    # entities after markup: what they are made of is not escaped again. A code span around `@`
    # keeps a name behind it from being told that it was mentioned.
    shown = _ENTITY.sub(lambda m: _ENTITIES.get(m[0], f"`{m[0]}`"), shown)
    return _LINK.sub(lambda m: f"{m[1]}&#{ord(m[2])};", shown)


def _begun(shown: str) -> str:
    """What would begin a list, a heading or a rule begins a sentence."""
    block = _BLOCK.match(shown)
    return f"{shown[: block.end() - 1]}\\{shown[block.end() - 1 :]}" if block else shown


def _title(report: Report) -> str:
    open_end = "" if report.verdict.complete else f"\n{_UNFINISHED}\n"
    title = f"# {markdown_text(report.title)}: do the safeguards hold?\n"
    return f"{title}\n{report.headline}\n{open_end}"


def _head(report: Report) -> Iterator[str]:
    yield _title(report)
    yield from _table(
        ("claim", "verdict", "as expected?", "worst run", "why"), map(_line, report.claims)
    )


def _line(view: ClaimView) -> Sequence[str]:
    run = worst(view.cells(Arm.DEFENDED), view.claim.holds)
    return (
        markdown_text(view.claim.id),
        f"**{view.claim.verdict.value}**{_waived(view)}",
        "yes" if view.claim.passed else "**no**",
        f"{words.share(run.reading)}, {words.interval(run.reading)}" if run else "none",
        markdown_prose(view.why),
    )


def _waived(view: ClaimView) -> str:
    return f" with waivers: {markdown_text(view.waivers)}" if view.waivers else ""


def _matrices(found: Sequence[Matrix]) -> Iterator[str]:
    """Verdicts of attacks x subjects, and the cheapest run in each that is broken."""
    if not found:
        return
    yield "## Attacks against subjects\n"
    yield f"{MATRIX_SAYS}\n"
    for matrix in found:
        yield f"{', '.join(f'{word} {number}' for word, number in matrix.tally)}.\n"
        for subjects, band in zip(matrix.columns, matrix.bands, strict=True):
            says = f"{markdown_text(band.adversary)}: {markdown_text(band.says)}"
            yield f"### {says} {markdown_code(band.holds)}\n"
            heads = ("attack", *map(markdown_text, subjects))
            yield from _table(heads, map(_attacked, band.lines))


def _attacked(line: Line) -> Sequence[str]:
    squares = ("–" if one is None else _square(one) for one in line.squares)
    return markdown_text(line.attack), *squares


def _square(found: Square) -> str:
    first, *others = found.parts
    return "; ".join((f"**{first}**" if found.broken else first, *map(markdown_text, others)))


def _subjects(report: Report) -> Iterator[str]:
    """Each number is `untouched → attacked`, in percent of the units that were read."""
    if not report.subjects:
        return
    yield "## Subjects side by side\n"
    yield (
        f"Percent before any attack → {WHICH['attacked']}; counts without bounds. "
        "\\*: not all could be judged. °: only a part was read, as the copy was settled early.\n"
    )
    for found in report.subjects:
        by = f", by {markdown_text(found.key)}" if found.key else ""
        yield f"### {markdown_text(found.claim)}: {markdown_code(found.holds)}{by}\n"
        heads = ("subject", "verdict", "all prompts", *map(markdown_text, found.values))
        yield from _table(heads, (_subject(found, line) for line in found.lines))


def _subject(found: SubjectMap, line: SubjectLine) -> Sequence[str]:
    before, after = (found.squares(line, side) for side in WHICH)
    numbers = (f"{one[0]} → {other[0]}" for one, other in zip(before, after, strict=True))
    shown = (number.replace("*", "\\*") for number in numbers)
    return markdown_text(line.subject), line.claim.verdict.value, *shown


def _claims(report: Report, cells: bool) -> Iterator[str]:
    for view in report.claims:
        yield f"## {markdown_text(view.claim.id)}\n"
        yield f"{markdown_text(view.claim.says)}\n"
        yield from (f"- **{name}:** {text}" for name, text in _facts(view))
        yield ""
        if cells:
            for arm in view.arms:
                yield f"### {words.ARMS[arm][0].upper()}{words.ARMS[arm][1:]}\n"
                yield from _cells(view, view.cells(arm))
                if read := view.read(arm):
                    yield f"{markdown_text(read)}\n"
            yield from _rules(view)
            yield from _cost(view)


def _instruments(report: Report) -> Iterator[str]:
    """In words: what is drawn is in the page."""
    if report.instruments:
        yield "## Instruments\n"
        yield "What was read beside the measures; no verdict depends on it.\n"
        for view in report.instruments:
            name = markdown_code(view.name)
            for model, says in view.lines:
                yield f"- {name} on {markdown_code(model)}: {markdown_text(says)}"
            yield from (f"- {name}: {markdown_prose(note)}" for note in view.notes)
        yield ""


def _rules(view: ClaimView) -> Iterator[str]:
    if view.rules:
        yield "### Rules of admissibility that are not met\n"
        rows = (
            (markdown_code(line.reading.rule), markdown_text(line.title),
             markdown_prose(line.reading.says), markdown_prose(line.answer))
            for line in view.rules
        )  # fmt: skip
        yield from _table(("rule", "asks", "what is not met", "answer"), rows)


def _cost(view: ClaimView) -> Iterator[str]:
    if view.cost:
        yield "### Cost to break\n"
        yield f"The {markdown_text(view.cost.title)}.\n"
        rows = (
            (markdown_text(line.subject), line.flops, line.rate, markdown_text(line.by))
            for line in view.cost.lines
        )
        yield from _table(("on", "FLOPs", "best so far", "by"), rows)
        ends = (f"{words.ARMS[arm]}, {subject}: {end}" for arm, subject, end in view.cost.ends)
        yield from (f"- {markdown_text(words.sentence(text))}" for text in ends)
        yield ""


def _facts(view: ClaimView) -> Iterator[tuple[str, str]]:
    claim = view.claim
    yield "Claimed", markdown_code(claim.holds)
    yield "Answer", markdown_prose(view.paragraph)
    yield "Expected", markdown_prose(view.wanted)
    if claim.witness:
        yield "Witness", markdown_prose(claim.witness.says)
    if view.waivers:
        yield "With waivers", markdown_prose(view.waivers)
    yield from ((f"Open rule {code}", markdown_prose(says)) for code, says in view.insufficient)
    yield from (("Flag", markdown_prose(words.flag(found))) for found in claim.flags)
    yield from (("Warning", markdown_prose(found)) for found in view.warnings)
    for name, text in (("Seeds", claim.seeds), ("Near", claim.turning), ("Runs", view.runs)):
        if text:
            yield name, markdown_prose(words.sentence(text))
    yield "Scope", markdown_prose(claim.scope)
    yield from ((name, markdown_text(text)) for name, text in (*view.protects, *view.governance))
    if claim.not_run:
        yield "Not run, though access allows it", markdown_text(", ".join(claim.not_run))
    if view.galleries:
        yield "Images", "what was shown stands in the page that `threatspec report --html` writes"
    yield "Next", markdown_prose(claim.next_step)


def _cells(view: ClaimView, cells: Sequence[CellReading]) -> Iterator[str]:
    measures = tuple(dict.fromkeys(r.measure for cell in cells for r in cell.readings))
    heads = ("procedure", "replicate", *map(markdown_text, measures), "reads", "spent")
    yield from _table(heads, (_cell(view, cell, measures) for cell in cells[:_MOST]))
    if len(cells) > _MOST:
        yield f"The first {_MOST} of {len(cells)} cells; `--csv` and `--json` have all.\n"


def _cell(view: ClaimView, cell: CellReading, measures: Sequence[str]) -> Sequence[str]:
    found = {r.measure: f"{words.units(r)} {words.bounds(r)}" for r in cell.readings}
    mark = ", **witness**" if view.is_witness(cell) else ""
    return (
        markdown_text(cell.procedure),
        str(cell.replicate),
        *(found.get(measure, "") for measure in measures),
        f"{words.cell_word(cell)}{mark}",
        words.spend(cell.spend),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""
