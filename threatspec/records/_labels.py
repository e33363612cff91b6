"""What people say about judged replies, and how much of it may be counted.

Labels stand in ``RUN/labels.jsonl`` (schema ``threatspec/labels/v1``), append-only: a line per
label, on the disk before the next reply is shown. Every stratum of judged replies has one random
order, fixed by the file's seed, so that any labelled start of it is a random sample of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import RawIOBase
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records._disk import disk_full, says_full
from threatspec.records._marks import MARKS, items_by_trial, marks_of_results
from threatspec.records._plan import UNTOUCHED, Arm, Cell, Plan
from threatspec.records._results import Outcome, TrialResult
from threatspec.schema import Model

__all__ = ["AuditCount", "Label", "LabelBook", "Pair", "Stratum", "audit", "consensus", "strata"]

Pair = tuple[str, str]
"""A judged reply: the judging trial and the item."""
FILE = "labels.jsonl"
_JUDGED = (Outcome.YES, Outcome.NO)
_SAID = {MARKS[outcome][0]: outcome for outcome in _JUDGED}
"""What the judge said, by the letter it is kept as."""
_CHUNK = 4096


def _sayable(outcome: Outcome) -> Outcome:
    if outcome not in {*_JUDGED, Outcome.UNSCORABLE}:
        raise ValueError(f"a label must be yes, no or unscorable, but got {outcome.value}")
    return outcome


class Label(Model):
    """What one person says about one judged reply."""

    trial: str
    """Id of the judging trial."""
    item: str
    label: Annotated[Outcome, AfterValidator(_sayable)]
    """`unscorable` is "cannot tell"."""
    labeller: Annotated[str, Field(min_length=1, max_length=100)]
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
    """When it was said, in UTC."""

    @property
    def pair(self) -> Pair:
        """The judged reply."""
        return self.trial, self.item


class Stratum(Model):
    """Judged replies that are sampled together."""

    measure: str
    family: str
    """Kind of attack; `none` where the subject is untouched."""
    arm: Arm
    judged: Outcome
    """What the judge said: yes or no."""


class AuditCount(Model):
    """Labels of one stratum that may be counted."""

    labelled: int
    """Length of the longest fully labelled start of the stratum's order."""
    yes: int
    no: int
    cannot_tell: int
    """Replies of which the labellers cannot tell, or on which they differ."""
    beyond: int
    """Labels after that start: they would be a choice, and are not counted."""


# which replies there are, and which labels count


def strata(
    plan: Plan, results: Mapping[str, TrialResult] | Mapping[str, bytes], seed: int = 0
) -> dict[Stratum, list[Pair]]:
    """Judged replies by stratum, each stratum in the random order that `seed` fixes.

    A reply stands once per measure, in the defended arm where several claims read it. A stratum
    whose judge never said this is there, and empty.

    Args:
        plan: the campaign.
        results: results with their rows, or outcomes as letters (`Ledger.marks`).
        seed: that of the labels (`LabelBook.seed`).
    """
    marks, items = _marks(plan, results), items_by_trial(plan)
    found: dict[Stratum, list[tuple[bytes, Pair]]] = {}
    seen: set[Pair] = set()
    for arm, cell in _cells(plan):
        for measure, trial in _judging(cell):
            if (measure, trial) in seen:
                continue
            seen.add((measure, trial))
            parts = {said: _stratum(plan, cell, measure, arm, said) for said in _JUDGED}
            drawn = {said: found.setdefault(part, []) for said, part in parts.items()}
            tickets = _tickets(trial, items[trial], seed)
            for mark, entry in zip(marks.get(trial, b""), tickets, strict=False):
                if mark in _SAID:
                    drawn[_SAID[mark]].append(entry)
    return {
        stratum: [pair for _, pair in sorted(found[stratum], key=itemgetter(0))]
        for stratum in sorted(found, key=_place)
    }


def audit(
    strata: Mapping[Stratum, Sequence[Pair]], labels: Iterable[Label]
) -> dict[Stratum, AuditCount]:
    """What of the labels is a random sample of each stratum: its longest fully labelled start."""
    said = consensus(labels)
    return {stratum: _counted(pairs, said) for stratum, pairs in strata.items()}


def consensus(labels: Iterable[Label]) -> dict[Pair, Outcome]:
    """One label per reply: the last of each labeller; where these differ nobody can tell."""
    last = {(label.pair, label.labeller): label for label in labels}
    found: dict[Pair, Outcome] = {}
    for label in last.values():
        same = found.setdefault(label.pair, label.label) is label.label
        found[label.pair] = label.label if same else Outcome.UNSCORABLE
    return found


def _cells(plan: Plan) -> Iterator[tuple[Arm, Cell]]:
    """Every cell with each of its arms, those of the defended arm first."""
    for arm in Arm:
        for claim in plan.claims:
            ids = [claim.untouched[arm]] if arm in claim.untouched else []
            yield from ((arm, plan.cells[id]) for id in [*ids, *claim.attacked.get(arm, ())])


def _judging(cell: Cell) -> Iterator[tuple[str, str]]:
    """Measures with each of their judging trials, one per look."""
    return ((measure, trial) for measure, trials in cell.measures.items() for trial in trials)


def _stratum(plan: Plan, cell: Cell, measure: str, arm: Arm, judged: Outcome) -> Stratum:
    untouched = cell.procedure == UNTOUCHED
    family = "none" if untouched else plan.procedures[cell.procedure].attack
    return Stratum(measure=measure, family=family, arm=arm, judged=judged)


def _marks(
    plan: Plan, results: Mapping[str, TrialResult] | Mapping[str, bytes]
) -> Mapping[str, bytes]:
    letters = {trial: found for trial, found in results.items() if isinstance(found, bytes)}
    full = {trial: found for trial, found in results.items() if isinstance(found, TrialResult)}
    return {**letters, **marks_of_results(plan, full)} if full else letters


def _tickets(trial: str, items: Sequence[str], seed: int) -> Iterator[tuple[bytes, Pair]]:
    """Every item of a trial with its ticket in the draw, which nothing but the seed decides."""
    start = hashlib.sha256(f"{seed}\n{trial}\n".encode())
    for item in items:
        ticket = start.copy()
        ticket.update(item.encode())
        yield ticket.digest(), (trial, item)


def _place(stratum: Stratum) -> tuple[str, str, int, int]:
    arm, judged = list(Arm).index(stratum.arm), _JUDGED.index(stratum.judged)
    return stratum.measure, stratum.family, arm, judged


def _counted(pairs: Sequence[Pair], said: Mapping[Pair, Outcome]) -> AuditCount:
    start = [said[pair] for pair in takewhile(said.__contains__, pairs)]
    return AuditCount(
        labelled=len(start),
        yes=start.count(Outcome.YES),
        no=start.count(Outcome.NO),
        cannot_tell=start.count(Outcome.UNSCORABLE),
        beyond=sum(pair in said for pair in pairs[len(start) :]),
    )


# the file


class _Head(Model):
    """First line of the file."""

    format: Literal["threatspec/labels/v1"] = Field(default="threatspec/labels/v1", alias="schema")
    plan: str
    seed: int = Field(ge=0)


class LabelBook:
    """Labels of one campaign; several people may write at once, a line at a time."""

    def __init__(self, path: Path, plan: Plan, seed: int, labels: tuple[Label, ...]) -> None:
        self.path = path
        self.plan = plan
        self.seed = seed
        """What the order of every stratum derives from."""
        self.labels = labels
        """Every label, oldest first; of one labeller and reply the last one counts."""

    @classmethod
    def open(cls, folder: Path, plan: Plan, *, seed: int | None = None) -> LabelBook:
        """The labels of the campaign in `folder`, which may be none yet.

        Raises ThreatspecError TS-RECORDS if they cannot be read or are of another plan, and
        TS-LABELS if they were drawn with another seed.
        """
        path = folder / FILE
        lines = _whole_lines(path)
        book = cls(path, plan, seed or 0, ())
        if lines:
            book.seed = book._begun(lines[0], seed).seed
            found = (_label(path, n, line, plan) for n, line in enumerate(lines[1:], start=2))
            book.labels = tuple(found)
        return book

    @cached_property
    def _plan_id(self) -> str:
        return self.plan.id  # of the whole plan: slow

    def add(self, *labels: Label) -> None:
        """Write labels down, all or, if the disk is full, none that can be read back.

        Raises ThreatspecError TS-RECORDS if that cannot be done.
        """
        text = "".join(f"{label.model_dump_json()}\n" for label in labels)
        with _writable(self.path), self.path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._begin(file)
            end = file.seek(0, os.SEEK_END)
            try:
                _write(file, text)
            except OSError:
                file.truncate(end)
                raise
        self.labels += labels

    def _begin(self, file: RawIOBase) -> None:
        """Drop a last line that was not written to its end; write the first line if there is none.

        Another session may have written it meanwhile.
        """
        file.truncate(_whole(file))
        file.seek(0)
        first = file.readline()
        if first:
            self._begun(first, self.seed)
        else:
            head = _Head(plan=self._plan_id, seed=self.seed)
            _write(file, f"{head.model_dump_json(by_alias=True)}\n")

    def _begun(self, line: bytes, seed: int | None) -> _Head:
        """The first line of a file, which must be of this plan, and of the seed if one is given."""
        head = _head(self.path, line)
        if head.plan != self._plan_id:
            text = f"must hold labels of {self._plan_id}, but holds those of {head.plan}"
            raise _broken(f"{self.path} {text}")
        if seed not in {None, head.seed}:
            raise ThreatspecError(
                "TS-LABELS",
                f"labels must keep the order they were drawn in, but {self.path} was begun with "
                f"seed {head.seed}, not {seed}; leave --seed out to go on with them",
                exit_code=ExitCode.USAGE,
            )
        return head


def _write(file: RawIOBase, text: str) -> None:
    """Write to the end, and return when it is on the disk."""
    left = text.encode()
    while left:
        left = left[os.write(file.fileno(), left) :]
    os.fsync(file.fileno())


def _whole(file: RawIOBase) -> int:
    """Length of a file without a last line that was not written to its end."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        file.seek(start)
        found = (file.read(end - start) or b"").rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _whole_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _broken(f"{path} cannot be read: {error.strerror or error}") from None


def _head(path: Path, line: bytes) -> _Head:
    try:
        return _Head.model_validate_json(line)
    except ValidationError:
        text = f"{path}:1 must be the head of labels (threatspec/labels/v1), but is none"
        raise _broken(text) from None


def _label(path: Path, number: int, line: bytes, plan: Plan) -> Label:
    try:
        label = Label.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise _broken(f"{path}:{number} must be a label, but is none: {first}") from None
    if label.trial not in plan.trials:
        text = f"{path}:{number} must be about a trial of the plan, but {label.trial!r} is none"
        raise _broken(text)
    return label


def _broken(what: str) -> ThreatspecError:
    remedy = "restore the file from a copy, or move it away to label afresh"
    return ThreatspecError("TS-RECORDS", f"{what}; {remedy}")


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Turn a disk that takes nothing into a coded error."""
    try:
        yield
    except OSError as error:
        if says_full(error):
            raise disk_full() from error
        text = f"{path} cannot be written: {error.strerror or error}; what was labelled is kept"
        raise ThreatspecError("TS-RECORDS", text) from error
