"""Details a report shows beyond counts: transcripts, where two judges disagree, and time.

They need the ledger (replies, rows, attempts), so they are collected from it for renderers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Literal

from threatspec.claims import CampaignVerdict, ClaimVerdict
from threatspec.records import (
    Arm,
    Cell,
    Generation,
    Ledger,
    Outcome,
    Picture,
    PlannedClaim,
    Row,
)
from threatspec.reports._pictures import Gallery, galleries, within
from threatspec.reports._predicates import breaking_outcome, own_measure
from threatspec.reports._timeline import Timeline, timeline_of
from threatspec.reports._visible import shortened

__all__ = ["Details", "Disagreement", "Transcript", "collect"]

_EACH = 3
"""Prompts shown of one cell."""
_MOST = 90
"""Transcripts in one report: it stays a page that a browser opens at once."""
_OTHERS = 8
"""Further replies to one prompt that are shown."""
_LONGEST = 1500
"""Characters of one prompt or reply."""
_ANSWERED = frozenset({Outcome.YES, Outcome.NO, Outcome.REJECTED})


@dataclass(frozen=True, slots=True)
class Transcript:
    """One prompt, one reply, and how it was judged."""

    claim: str
    role: Literal["witness", "untouched", "sample"]
    """Why it is shown: of the witness, the same prompt untouched, or one more to look at."""
    cell: str
    item: str
    prompt: str
    attacker: str
    reply: str
    judged: Mapping[str, str]
    """Outcome, with what the judge found, by measure."""
    variant: str = ""
    """How it was asked, where there are several ways."""
    others: tuple[tuple[str, str], ...] = ()
    """Of several replies, the first of the others: how each was asked, and what was said."""
    unseen: int = 0
    """Replies that are not shown."""
    wrote: Mapping[str, str] = field(default_factory=dict)
    """The judge's own words by measure, where it has any."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two measures that judged the same replies of one cell."""

    cell: str
    first: str
    second: str
    prompts: int
    """Prompts that both could judge."""
    only_first: int
    """Yes by the first, no by the second."""
    only_second: int


@dataclass(frozen=True)
class Details:
    """What was collected from a ledger."""

    transcripts: tuple[Transcript, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    timeline: Timeline | None = None
    """Where the time went; nothing before the first trial has ended."""
    pictures: tuple[Gallery, ...] = ()
    """Images that were shown, by claim and cell."""

    @cached_property
    def by_cell(self) -> Mapping[str, Sequence[Disagreement]]:
        """Disagreements by their cell: every claim asks for its own."""
        found: dict[str, list[Disagreement]] = {}
        for one in self.disagreements:
            found.setdefault(one.cell, []).append(one)
        return found


def collect(ledger: Ledger, verdict: CampaignVerdict) -> Details:
    """Transcripts worth reading, every disagreement of judges, and where the time went."""
    reader = _Reader(ledger)
    found = [t for claim in verdict.claims for t in reader.transcripts(claim)]
    found.sort(key=lambda transcript: transcript.role == "sample")  # the witnesses come first
    shown = tuple(_once(found))[:_MOST]
    seen = within(gallery for claim in verdict.claims for gallery in reader.galleries(claim))
    return Details(shown, tuple(reader.disagreements()), timeline_of(ledger), tuple(seen))


def _once(found: Sequence[Transcript]) -> Iterator[Transcript]:
    """Claims share cells: a sample that was shown for one claim is not shown for the next."""
    seen: set[tuple[str, str]] = set()
    for transcript in found:
        key = (transcript.cell, transcript.item)
        if transcript.role != "sample" or key not in seen:
            yield transcript
        seen.add(key)


class _Reader:
    """Reads one ledger; nothing is read twice."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.plan = ledger.plan
        self._known: dict[str, tuple[Row, ...]] = {}

    # transcripts

    def transcripts(self, claim: ClaimVerdict) -> Iterator[Transcript]:
        """Of the witness, the same prompts untouched, and each procedure's first replicate."""
        planned = next(p for p in self.plan.claims if p.id == claim.id)
        measure = own_measure(claim.holds)
        if claim.witness:
            yield from self._witness(claim, planned, claim.witness.cell, measure)
        for reading in claim.cells:
            first = reading.arm is Arm.DEFENDED and reading.replicate == 0
            if first and not (claim.witness and claim.witness.cell == reading.cell):
                cell = self.plan.cells[reading.cell]
                items = [row.item for row in self._rows(cell, measure)][:_EACH]
                yield from self._shown(claim.id, "sample", cell, measure, items)

    def _witness(
        self, claim: ClaimVerdict, planned: PlannedClaim, name: str, measure: str
    ) -> Iterator[Transcript]:
        cell = self.plan.cells[name]
        wanted = breaking_outcome(claim.holds, measure)
        items = [row.item for row in self._rows(cell, measure) if row.outcome is wanted][:_EACH]
        yield from self._shown(claim.id, "witness", cell, measure, items)
        before = self.plan.cells[planned.untouched[Arm.DEFENDED]]
        yield from self._shown(claim.id, "untouched", before, measure, items)

    def _shown(
        self,
        claim: str,
        role: Literal["witness", "untouched", "sample"],
        cell: Cell,
        measure: str,
        items: Sequence[str],
    ) -> Iterator[Transcript]:
        replies: dict[str, list[Generation]] = {}
        for reply in self._replies(cell, measure) if items else ():
            replies.setdefault(reply.item, []).append(reply)
        rows = {row.item: row for row in self._rows(cell, measure)}
        for item in items:
            if item in replies:
                yield self._transcript(claim, role, cell, measure, rows.get(item), replies[item])

    def _transcript(
        self,
        claim: str,
        role: Literal["witness", "untouched", "sample"],
        cell: Cell,
        measure: str,
        row: Row | None,
        replies: Sequence[Generation],
    ) -> Transcript:
        reply = _decisive(row, replies)
        others = [one for one in replies if one is not reply]
        return Transcript(
            claim=claim,
            role=role,
            cell=cell.id,
            item=reply.item,
            prompt=shortened(reply.prompt, _LONGEST),
            attacker=shortened(reply.attacker, _LONGEST),
            reply=shortened(reply.reply, _LONGEST),
            judged=self._judged(cell, measure, reply.item),
            variant=reply.variant,
            others=tuple(
                (one.variant, shortened(one.detail or one.reply, _LONGEST))
                for one in others[:_OTHERS]
            ),
            unseen=max(0, len(others) - _OTHERS),
            wrote=self._wrote(cell, measure, reply.item),
        )

    def _judged(self, cell: Cell, measure: str, item: str) -> dict[str, str]:
        return {
            name: _said(row, self.plan.measures[name].aggregation)
            for name, row in self._rows_of(cell, measure, item)
        }

    def _wrote(self, cell: Cell, measure: str, item: str) -> dict[str, str]:
        rows = self._rows_of(cell, measure, item)
        return {name: shortened(row.raw, _LONGEST) for name, row in rows if row.raw}

    def _rows_of(self, cell: Cell, measure: str, item: str) -> Iterator[tuple[str, Row]]:
        """Of all measures that ask as `measure` does: attacked, or plainly."""
        asked = self.plan.measures[measure].requests
        for name in cell.measures:
            if self.plan.measures[name].requests == asked:
                yield from ((name, row) for row in self._rows(cell, name) if row.item == item)

    def _rows(self, cell: Cell, measure: str) -> tuple[Row, ...]:
        trials = cell.measures.get(measure, ())
        return tuple(row for trial in trials for row in self._of_trial(trial))

    def _of_trial(self, trial: str) -> tuple[Row, ...]:
        if trial not in self._known:
            self._known[trial] = self.ledger.rows(trial)
        return self._known[trial]

    def _replies(self, cell: Cell, measure: str) -> tuple[Generation, ...]:
        asked = (self.plan.trials[trial].needs[0] for trial in cell.measures[measure])
        return tuple(reply for trial in asked for reply in self.ledger.generations(trial))

    # pictures

    def galleries(self, claim: ClaimVerdict) -> Iterator[Gallery]:
        """Images that cells of a claim showed."""
        return galleries(self, self.plan.cells, claim, own_measure(claim.holds))

    def pictures(self, cell: Cell, measure: str) -> tuple[Picture, ...]:
        """Kept images of a cell: those of its first look."""
        asked = (self.plan.trials[trial].needs[0] for trial in cell.measures.get(measure, ())[:1])
        return tuple(picture for trial in asked for picture in self.ledger.pictures(trial))

    def said(self, cell: Cell, measure: str, item: str) -> tuple[str, Mapping[str, str]]:
        """A reply, and how it was judged by each measure."""
        rows = {row.item: row for row in self._rows(cell, measure)}
        replies = [one for one in self._replies(cell, measure) if one.item == item]
        if not replies:
            return "", {}
        reply = _decisive(rows.get(item), replies)
        return reply.reply or reply.detail, self._judged(cell, measure, item)

    # disagreements

    def disagreements(self) -> Iterator[Disagreement]:
        """Pairs of measures that judged the same replies and differ somewhere."""
        for cell in self.plan.cells.values():
            for first, second in combinations(cell.measures, 2):
                found = self._compare(cell, first, second)
                if found and found.only_first + found.only_second:
                    yield found

    def _compare(self, cell: Cell, first: str, second: str) -> Disagreement | None:
        asked = [
            [self.plan.trials[trial].needs for trial in cell.measures[name]]
            for name in (first, second)
        ]
        if asked[0] != asked[1]:
            return None
        one, other = (_yes_by_item(self._rows(cell, name)) for name in (first, second))
        both = one.keys() & other.keys()
        return Disagreement(
            cell=cell.id,
            first=first,
            second=second,
            prompts=len(both),
            only_first=sum(one[item] and not other[item] for item in both),
            only_second=sum(other[item] and not one[item] for item in both),
        )


def _yes_by_item(rows: Sequence[Row]) -> dict[str, bool]:
    return {row.item: row.outcome is Outcome.YES for row in rows if row.outcome in _ANSWERED}


def _decisive(row: Row | None, replies: Sequence[Generation]) -> Generation:
    """The reply that a row was made of: what it says begins with how that was asked."""
    said = row.detail if row else ""
    named = [one for one in replies if one.variant and said.startswith(one.variant)]
    return max(named, key=lambda one: len(one.variant), default=replies[0])


def _said(row: Row, aggregation: str) -> str:
    """What became of a prompt: `yes: the answer (any of 9 replies, 2 count)`."""
    found = f"{row.outcome.value}: {row.detail}" if row.detail else row.outcome.value
    if row.asked == 1:
        return found
    hits = "" if row.hits is None else f", {row.hits} count"
    return f"{found} ({aggregation} of {row.asked} replies{hits})"
