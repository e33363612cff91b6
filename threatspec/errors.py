"""Coded errors and exit codes: everything a user can do wrong has a code and a heading in the docs.

A problem in a file knows its place (:class:`Problem`); several problems travel together in
:class:`SpecErrors`. Everything else that is expected to go wrong is a :class:`ThreatspecError`.
``CODES`` lists every code; a test holds it equal to the headings of ``docs/errors.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["CODES", "ExitCode", "Problem", "SpecErrors", "ThreatspecError", "did_you_mean"]


class ExitCode(IntEnum):
    """What a process ends with (docs/design/verdicts.md)."""

    OK = 0
    """Every claim is as its ``expect`` says, or SUPPORTED where it has none."""
    REFUTED = 1
    """At least one claim is REFUTED, or SUPPORTED where something else was expected."""
    SPEC = 2
    """The spec cannot be read or is not valid."""
    RUN = 3
    """Internal error, or the run could not go on."""
    USAGE = 4
    """The command line is wrong."""
    VACUOUS = 5
    """Nothing was evaluated, or a claim is VACUOUS."""
    INCONCLUSIVE = 6
    """A claim is INCONCLUSIVE."""
    INADMISSIBLE = 7
    """A claim is INADMISSIBLE."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C; what was measured is kept."""


CODES: dict[str, str] = {
    # files and YAML
    "TS-FILE-MISSING": "a file is not there",
    "TS-FILE-UNREADABLE": "a file cannot be read as UTF-8 text",
    "TS-FILE-EMPTY": "a file holds no document",
    "TS-YAML-SYNTAX": "the text is not YAML",
    "TS-YAML-DUPLICATE-KEY": "a key stands twice in one mapping",
    "TS-YAML-ALIAS": "anchors, aliases and merge keys are not part of the language",
    "TS-YAML-TAG": "explicit YAML tags are not part of the language",
    "TS-NOT-A-MAPPING": "the document is not a mapping",
    # the language
    "TS-FORMAT-VERSION": "the format version is missing or not readable by this program",
    "TS-UNKNOWN-FIELD": "a field that the language does not have",
    "TS-NOT-EVALUATED": "a field of the language that this version does not evaluate yet",
    "TS-MISSING-FIELD": "a required field is missing",
    "TS-WRONG-TYPE": "a value has the wrong type or form",
    "TS-NON-FINITE": "a number is not finite",
    "TS-OUT-OF-RANGE": "a number is outside its range",
    "TS-UNIT": "a quantity has the wrong unit",
    "TS-DUPLICATE-ID": "two claims have one id, or two files define one name",
    "TS-INCLUDE-CYCLE": "files include or extend one another in a circle, or too deep",
    "TS-INCLUDE-OUTSIDE": "a file to include or extend lies outside the workspace",
    "TS-PREDICATE-SYNTAX": "a predicate cannot be parsed",
    "TS-THRESHOLD-RANGE": "a predicate can never, or must always, be true",
    # names
    "TS-PLUGIN": "a plug-in that cannot be used",
    "TS-UNKNOWN-ADVERSARY": "a claim names an adversary that is not defined",
    "TS-UNKNOWN-ATTACK": "an attack or attack card that does not exist",
    "TS-UNKNOWN-BENCHMARK": "a benchmark that does not exist",
    "TS-UNKNOWN-JUDGE": "a judge that does not exist",
    "TS-UNKNOWN-MEASURE": "a predicate names a measure that is not defined",
    "TS-UNKNOWN-NAME": "a name that no registry has",
    "TS-UNKNOWN-SUBJECT": "a claim names a subject, or a predicate an arm, that is not defined",
    "TS-UNKNOWN-TRAINER": "a training back-end that does not exist",
    # meaning
    "TS-ACCESS": "the adversary's access does not admit the attack",
    "TS-BUDGET": "an attack needs more than the adversary's budget",
    "TS-CARD": "an attack card is not valid",
    "TS-CHAIN": "attacks that cannot follow one another",
    "TS-DATA": "the data an adversary is given cannot be had from their source",
    "TS-DESCRIBED-ONLY": "something is only described, and nothing here runs it",
    "TS-GATED": "a gated set or model without the user's own access",
    "TS-IMAGE": "an image that cannot be used",
    "TS-INSTRUMENT": "an instrument that cannot be read on these subjects",
    "TS-JUDGE": "a judge that cannot decide as it is set",
    "TS-MODEL-MISSING": "a model is not there",
    "TS-POISON": "a poison that changes no row, or aims at a class that is not there",
    "TS-REWRITER": "a prompt cannot be rewritten with what the adversary owns",
    "TS-SAFEGUARD": "a safeguard that cannot be fitted or applied as it is set",
    "TS-SEARCH": "a search that cannot be made within what it is given",
    "TS-SERVING": "settings of a serving that exclude one another",
    "TS-UNDECIDABLE": "no outcome of the plan could support or refute the claim",
    "TS-WAIVER": "a waiver that answers no rule",
    # rules of admissibility
    "TS-R0": "rule: the attack acts",
    "TS-R0b": "rule: the planned budget is spent",
    "TS-R0c": "rule: a control is declared",
    "TS-R1": "rule: five replicates",
    "TS-R1b": "rule: the safeguard's own seeds",
    "TS-R1c": "rule: separate seeds",
    "TS-R2": "rule: two training back-ends",
    "TS-R2b": "rule: what training really did is recorded",
    "TS-R3": "rule: the worst attack decides",
    "TS-R3a": "rule: breadth of the search",
    "TS-R3b": "rule: families of attack",
    "TS-R3c": "rule: breadth of training data",
    "TS-R3d": "rule: the undefended model gets the same attacks",
    "TS-R4": "rule: the template is the attacker's",
    "TS-R5": "rule: two ways of asking",
    "TS-R5b": "rule: an incoherent subject is not a safe one",
    "TS-R5c": "rule: the judge's error is known",
    "TS-R5d": "rule: one identity per measure",
    "TS-R5e": "rule: few rows are missing",
    "TS-R6": "rule: utility before and after",
    "TS-R7": "rule: the attacker does not train on what is measured",
    "TS-R7b": "rule: the safeguard was not trained on what is measured",
    "TS-R8": "rule: a claim says what was tested",
    "TS-R8b": "rule: inside the budget",
    "TS-R8c": "rule: registered before it was measured",
    "TS-R8d": "rule: digests match",
    "TS-R8e": "rule: the evidence has not expired",
    # running
    "TS-BUDGET-OVERRUN": "a trial spent more than the adversary's budget and was stopped",
    "TS-BUNDLE": "a bundle that cannot be read",
    "TS-CODE-CHANGED": "the program differs from the one that wrote the plan",
    "TS-DISK-FULL": "the disk is full",
    "TS-DIVERGED": "training left the finite numbers",
    "TS-ENDPOINT": "a hosted service failed or answered something else",
    "TS-INTERNAL": "an error inside the program",
    "TS-INTERRUPTED": "the run was interrupted",
    "TS-LABELS": "labels that cannot be used",
    "TS-MASK": "a mask or an edit chooses nothing or everything",
    "TS-MISSING-EXTRA": "an optional part of the program is not installed",
    "TS-MODEL-DIGEST": "a model's files are not the ones expected",
    "TS-MODEL-FETCH": "a model could not be fetched",
    "TS-NO-RUN": "a folder holds no campaign",
    "TS-OUT-OF-MEMORY": "a trial ran out of memory",
    "TS-RECIPE": "rows that a data recipe cannot use",
    "TS-RECORDS": "recorded data cannot be read",
    "TS-RUN-LOCKED": "another process is writing to the results folder",
    "TS-RUN-OTHER-PLAN": "the results folder belongs to another plan",
    "TS-RUNNER-ADDRESS": "a Ray cluster does not answer",
    "TS-RUNNER-AUTH": "a Ray cluster asks for a token",
    "TS-RUNNER-LOST": "the Ray cluster was lost during the run",
    "TS-RUNNER-RESOURCES": "a Ray cluster lacks what the profile asks for",
    "TS-RUNNER-VERSION": "Ray or Python differ between this machine and the cluster",
    "TS-SCHEMA-STALE": "a JSON Schema of the language is not up to date",
    "TS-SCORES": "scores of another model",
    "TS-SPEND-LIMIT": "the run stopped before spending more than it may",
    "TS-STORAGE": "the storage of a profile cannot be read or written",
    "TS-SUBMISSION": "no such submission, or one that already runs",
    "TS-TARGETS": "layers that match nothing",
    "TS-TEMPLATE": "a tokenizer without the template",
    "TS-TRIAL-ERROR": "a trial failed",
    "TS-TRIAL-TIMEOUT": "a trial ran longer than allowed",
    "TS-UNKNOWN-CELL": "a cell or prompt that the campaign does not have",
    "TS-UPLOAD-LIMIT": "a submission is larger than the cluster takes",
    "TS-UPLOAD-SECRET": "a submission would carry a secret",
    "TS-USAGE": "the command line is wrong",
    "TS-WORKER-LOST": "a worker process ended without an answer",
    "TS-WORKER-MEMORY": "a worker was ended because its machine ran out of memory",
}
"""Every code with its one-line meaning; order is the order of ``docs/errors.md``."""


class ThreatspecError(Exception):
    """An expected failure: printed as one line with its code, never as a traceback."""

    exit_code: ExitCode = ExitCode.RUN

    def __init__(self, code: str, message: str, *, exit_code: ExitCode | None = None) -> None:
        if code not in CODES:
            raise ValueError(f"error codes must be listed in CODES, but got {code!r}")
        super().__init__(f"{message} [{code}]")
        self.code = code
        self.message = message
        if exit_code is not None:
            self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place of one file; lines and columns count from 1."""

    code: str
    message: str
    file: str
    line: int = 1
    column: int = 1
    source: str = ""
    """The line of the file the problem stands on, for the caret."""
    path: str = ""
    """Dotted path inside the document, for machines."""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"error codes must be listed in CODES, but got {self.code!r}")

    def __str__(self) -> str:
        head = f"{self.file}:{self.line}:{self.column}: {self.message} [{self.code}]"
        if not self.source.strip():
            return head
        shown = self.source.replace("\t", " ")
        return f"{head}\n  {shown}\n  {' ' * (self.column - 1)}^"


class SpecErrors(ThreatspecError):
    """All problems of one or more files, sorted by file and place."""

    exit_code = ExitCode.SPEC

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("SpecErrors must hold at least one problem, but got none")
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column, p.code)))
        super().__init__(self.problems[0].code, self.problems[0].message)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems]
        return "\n".join([*lines, f"{count} problem{'s' if count > 1 else ''}"])


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint to append to a message: the nearest known name, and all of them if they are few."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    if known and (len(known) <= 12 or not close):
        shown = ", ".join(sorted(known)[:20])
        hint += f"; known: {shown}" + (", ..." if len(known) > 20 else "")
    return hint
