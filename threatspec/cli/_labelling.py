"""Labelling in the terminal: which replies, in which order, and one question after the other.

Who labels sees the request and what the judge saw of the reply, and nothing from which the arm,
the model, the attack or the judge's answer could be told.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click
from rich.cells import chop_cells
from rich.console import Console
from rich.text import Text

from threatspec.errors import ExitCode, ThreatspecError, did_you_mean
from threatspec.records import (
    Generation,
    Label,
    LabelBook,
    Ledger,
    Outcome,
    Pair,
    Plan,
    Stratum,
    TrialKind,
)
from threatspec.reports import visible

__all__ = [
    "WORDS",
    "Session",
    "Shown",
    "Wanted",
    "queue",
    "replies_of",
    "require_known",
    "said_by",
    "said_now",
    "shown",
]

WORDS = {"y": Outcome.YES, "yes": Outcome.YES, "n": Outcome.NO, "no": Outcome.NO,
         "?": Outcome.UNSCORABLE}  # fmt: skip
"""What a label may be written as."""
_KEYS = "y yes, n no, ? cannot tell, b back, q stop"
PER_CELL = 60
"""Labels with which nothing omitted bounds what is omitted to about 6 %."""
_GUTTER = "  | "
"""Stands before each line of what a model wrote, so that it cannot pass for a line of ours."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be labelled; None = all of them."""

    measure: str | None
    family: str | None
    judged: Outcome | None
    per_stratum: int | None
    """Replies of each stratum; None = enough for each of its cells."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a labeller sees."""

    measure: str
    prompt: str
    """The request as the model saw it."""
    reply: str
    """What the judge saw of the reply."""


# which replies


def _cells(plan: Plan) -> dict[str, str]:
    """A cell by judging trial; labels are counted by cell."""
    return {
        trial: cell.id
        for cell in plan.cells.values()
        for trials in cell.measures.values()
        for trial in trials
    }


def queue(
    plan: Plan, strata: Mapping[Stratum, Sequence[Pair]], seed: int, wanted: Wanted
) -> list[Pair]:
    """The start of every wanted stratum, mixed at random; within a stratum the order stays.

    Without a name, measures with an exact judge are left out unless there are no others. Raises
    ThreatspecError for unknown names, and TS-LABELS if there is nothing to label.
    """
    measures = _measures(plan, wanted.measure)
    families = _families(strata, wanted.family)
    cells = _cells(plan)
    chosen = [
        pairs[: wanted.per_stratum or PER_CELL * len({cells[trial] for trial, _ in pairs})]
        for stratum, pairs in strata.items()
        if stratum.measure in measures
        and stratum.family in families
        and wanted.judged in {None, stratum.judged}
    ]
    found = list(dict.fromkeys(_mixed(chosen, seed)))
    if not found:
        raise ThreatspecError(
            "TS-LABELS",
            "there must be replies with a yes or no of a judge to label, but there are none; run "
            "the campaign first, or ask for others",
            exit_code=ExitCode.USAGE,
        )
    return found


def _measures(plan: Plan, name: str | None) -> set[str]:
    if name is not None:
        require_known("TS-UNKNOWN-MEASURE", "measure", name, list(plan.measures))
        return {name}
    uncertain = {measure for measure, planned in plan.measures.items() if not planned.exact}
    return uncertain or set(plan.measures)


def _families(strata: Mapping[Stratum, Sequence[Pair]], name: str | None) -> set[str]:
    known = {stratum.family for stratum in strata}
    if name is None:
        return known
    require_known("TS-UNKNOWN-ATTACK", "attack", name, sorted(known))
    return {name}


def require_known(code: str, noun: str, name: str, known: Sequence[str]) -> None:
    """Raises ThreatspecError with a hint if the campaign has nothing that is called `name`."""
    if name not in known:
        text = f"the campaign has no {noun} {name!r}{did_you_mean(name, known)}"
        raise ThreatspecError(code, text, exit_code=ExitCode.USAGE)


def _mixed(parts: Sequence[Sequence[Pair]], seed: int) -> Iterator[Pair]:
    """Where a reply stands says nothing about its stratum."""
    turns = [n for n, part in enumerate(parts) for _ in part]
    random.Random(f"{seed}/labels").shuffle(turns)
    left = [iter(part) for part in parts]
    return (next(left[turn]) for turn in turns)


# what is shown of them


def shown(ledger: Ledger, pairs: Sequence[Pair]) -> dict[Pair, Shown]:
    """What a labeller sees of each reply. Raises ThreatspecError TS-RECORDS if one is lost."""
    trials = ledger.plan.trials
    measures = {
        trial: measure
        for cell in ledger.plan.cells.values()
        for measure, listed in cell.measures.items()
        for trial in listed
    }
    return {
        pair: Shown(measures[pair[0]], reply.prompt, reply.span(trials[pair[0]].work["span"]))
        for pair, reply in replies_of(ledger, pairs).items()
    }


def replies_of(ledger: Ledger, pairs: Sequence[Pair]) -> dict[Pair, Generation]:
    """The replies that were judged. Raises ThreatspecError TS-RECORDS if one is lost."""
    wanted, found = set(pairs), dict[Pair, list[Generation]]()
    for trial in dict.fromkeys(trial for trial, _ in pairs):
        for reply in _asked(ledger, trial):
            if (trial, reply.item) in wanted:
                found.setdefault((trial, reply.item), []).append(reply)
    rows = _details(ledger, {trial for (trial, _), many in found.items() if len(many) > 1})
    one = {pair: _decisive(many, rows.get(pair, "")) for pair, many in found.items()}
    return {pair: _kept(ledger, one, pair) for pair in pairs}


def _details(ledger: Ledger, trials: Iterable[str]) -> dict[Pair, str]:
    return {(trial, row.item): row.detail for trial in trials for row in ledger.rows(trial)}


def _decisive(replies: Sequence[Generation], detail: str) -> Generation:
    """Of several replies to a prompt, the one that its row is about: its detail begins with it."""
    own = (g for g in replies if detail == g.variant or detail.startswith(f"{g.variant}: "))
    return next(own, replies[0])


def _asked(ledger: Ledger, trial: str) -> Iterator[Generation]:
    for need in ledger.plan.trials[trial].needs:
        if ledger.plan.trials[need].kind is TrialKind.GENERATE:
            yield from ledger.generations(need)


def _kept(ledger: Ledger, found: Mapping[Pair, Generation], pair: Pair) -> Generation:
    if pair not in found:
        text = f"{ledger.folder} must hold the reply that was judged for {pair[1]!r}, but does not"
        raise ThreatspecError("TS-RECORDS", f"{text}; restore the folder from a copy")
    return found[pair]


# one question after the other


def said_by(book: LabelBook, labeller: str) -> dict[Pair, Outcome]:
    """The last label of one labeller for each reply, in the order of labelling."""
    found: dict[Pair, Outcome] = {}
    for label in book.labels:
        if label.labeller == labeller:
            found.pop(label.pair, None)
            found[label.pair] = label.label
    return found


def said_now(pair: Pair, label: Outcome, labeller: str) -> Label:
    """A label that is given at this moment."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Label(trial=pair[0], item=pair[1], label=label, labeller=labeller, at=now)


class Session:
    """Asks one labeller about one reply after the other; each label is kept at once."""

    def __init__(
        self,
        console: Console,
        book: LabelBook,
        labeller: str,
        replies: Mapping[Pair, Shown],
        read: Callable[[], str] | None = None,
    ) -> None:
        self._console = console
        self._book = book
        self._labeller = labeller
        self._replies = replies
        self._read = read or _reader()
        said = said_by(book, labeller)
        self._said = {pair: label for pair, label in said.items() if pair in replies}
        self._line = [*self._said, *(pair for pair in replies if pair not in self._said)]

    def run(self) -> int:
        """Ask until all is labelled or the labeller stops; returns how many are labelled."""
        at = len(self._said)
        if at < len(self._line):
            self._print(f"{_KEYS}; each label is kept at once")
        while at < len(self._line):
            key = self._ask(at)
            if key == "q":
                break
            if key == "b":
                at = max(0, at - 1)
                continue
            self._keep(self._line[at], WORDS[key])
            while at < len(self._line) and self._line[at] in self._said:
                at += 1
        return len(self._said)

    def _ask(self, at: int) -> str:
        pair = self._line[at]
        reply = self._replies[pair]
        before = f", labelled {_word(self._said[pair])} before" if pair in self._said else ""
        self._print(f"\n{at + 1} of {len(self._line)}{before}")
        for name, text in (("request", reply.prompt), ("reply", reply.reply)):
            self._print(name if text else f"{name}: empty")
            for line in self._wrapped(text):
                self._print(line)
        while True:
            self._print(f"Does it count for {reply.measure}? [y/n/?/b/q] ", end="")
            key = self._read()
            self._print("")
            if key == "b" and at == 0:
                self._print("there is nothing before it")
            elif key in {*WORDS, "b", "q"}:
                return key
            else:
                self._print(_KEYS)

    def _wrapped(self, text: str) -> Iterator[str]:
        width = max(20, self._console.width - len(_GUTTER) - 1)
        for line in visible(text).expandtabs(4).split("\n") if text else ():
            yield from (f"{_GUTTER}{part}" for part in chop_cells(line, width) or [""])

    def _keep(self, pair: Pair, label: Outcome) -> None:
        self._book.add(said_now(pair, label, self._labeller))
        self._said[pair] = label

    def _print(self, text: str, end: str = "\n") -> None:
        self._console.print(Text(text), soft_wrap=True, end=end)


def _word(label: Outcome) -> str:
    return "?" if label is Outcome.UNSCORABLE else label.value


def _reader() -> Callable[[], str]:
    """A key where somebody types, a line where a program writes; the end means stop."""
    if sys.stdin.isatty():
        return _pressed
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    return _written


def _written() -> str:
    line = sys.stdin.readline()
    return line.strip().lower() if line else "q"


def _pressed() -> str:
    try:
        key = click.getchar().lower()
    except EOFError:
        return "q"
    click.echo(visible(key), nl=False)
    return key
