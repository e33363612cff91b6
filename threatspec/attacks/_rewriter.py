"""What rewrites prompts for an adversary: a model that is asked, or rows that were written before.

The adversary declares it (`owns: {rewriter: …}`). Rewriting prompts of the test and reading replies
back is done while the subject is asked, which is ours and not charged, as all reading of the test.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from threatspec.attacks.mutations import STYLES
from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.schema import Serving
from threatspec.subjects import Request, check_reference, describe

__all__ = [
    "BACK",
    "MULTI_TURN",
    "ModelRewriter",
    "Rewriter",
    "Rewritten",
    "RowsRewriter",
    "Task",
    "digest_of",
    "pieces",
    "rewriter_of",
]

MULTI_TURN = "multi-turn"
"""What rows of requests in several turns have in the place of a style."""
_ROWS = "rows:"
_PIECE = 2000
"""Characters of a text that are translated at once."""
_AT_ONCE = 4
_REPLY = 1024


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a text."""

    style: str
    instruction: str
    unchanged: Literal["fine", "fault", "fine if ascii"] = "fine"
    """What it means if the text comes back as it was. Services of translation do that where they
    fail, so it is a fault of a translation; of one into English, unless it was in ASCII before."""
    cut: bool = False
    """Whether long texts go in pieces."""


BACK = Task("back", "Translate the text into English.", "fine if ascii", cut=True)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A text, or why there is none."""

    text: str = ""
    turns: tuple[str, ...] = ()
    """Turns before `text`, of rows that have any."""
    fault: str = ""


class Rewriter(ABC):
    """Rewrites texts one by one; what fails for one text is its own fault."""

    @abstractmethod
    def rewrite(self, task: Task, texts: Sequence[tuple[str, str]]) -> list[Rewritten]:
        """New texts, in order, of pairs of an item's id and its text.

        Raises ThreatspecError for what fails for every text alike, such as a server that is down.
        """


def rewriter_of(ref: str, folder: Path, sha256: str = "") -> Rewriter:
    """The rewriter of a reference; files are looked for in `folder`.

    Raises ThreatspecError TS-FILE-MISSING, TS-DATA or TS-REWRITER for rows, TS-DATA if they are not
    those with the digest.
    """
    if not ref.startswith(_ROWS):
        return _model(ref, folder)
    if sha256 and digest_of(ref, folder) != sha256:
        text = f"{ref} must be the rows that the plan was made with, but they have changed since; "
        raise ThreatspecError("TS-DATA", f"{text}put them back, or run with another --out")
    return RowsRewriter.read(folder / ref.removeprefix(_ROWS))


def digest_of(ref: str, folder: Path, style: str = "") -> str:
    """Of rows the sha256 of the file, of a model that of its card; of a style, there must be rows.

    Raises ThreatspecError TS-REWRITER for a reference that is none, and as `rewriter_of`.
    """
    if ref.startswith(_ROWS):
        path = folder / ref.removeprefix(_ROWS)
        rows = RowsRewriter.read(path)
        if style and not any(kind == style for _, kind in rows.rows):
            raise ThreatspecError("TS-REWRITER", f"{ref} must have rows of {style}, but has none")
        return hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        check_reference(ref)
    except ThreatspecError as error:
        text = f"a rewriter must be a model or {_ROWS}PATH.jsonl: {error.message}"
        raise ThreatspecError("TS-REWRITER", text) from None
    return describe(ref, folder).digest


# a model


@dataclass
class ModelRewriter(Rewriter):
    """A model that is asked, at temperature 0: one behind an endpoint, or one that is loaded."""

    subject: Any
    known: dict[str, str] = field(default_factory=dict)
    """What it said, by what it was asked: nothing is rewritten twice by a process."""

    def rewrite(self, task: Task, texts: Sequence[tuple[str, str]]) -> list[Rewritten]:
        """As above; the subject is asked by several threads if it is behind an endpoint."""
        if not self.subject.card.ref.startswith("endpoint:"):
            return [self._one(task, text) for _, text in texts]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda pair: self._one(task, pair[1]), texts))

    def _one(self, task: Task, text: str) -> Rewritten:
        new = ""
        for piece in pieces(text) if task.cut else [text]:
            found = self._piece(task, piece)
            if found.fault:
                return found
            new += found.text
        return Rewritten(new)

    def _piece(self, task: Task, text: str) -> Rewritten:
        if task.cut and not any(map(str.isalpha, text)):
            return Rewritten(text)  # nothing to translate
        try:
            said = self._asked(f"{task.instruction} {_ONLY}\n\n{text.strip()}")
        except ThreatspecError as error:
            if not _of_one_text(error):
                raise
            return Rewritten(fault=error.message)
        end = text[len(text.rstrip()) :] if task.cut else ""
        return (
            Rewritten(fault=fault) if (fault := _fault(task, text, said)) else Rewritten(said + end)
        )

    def _asked(self, prompt: str) -> str:
        if prompt not in self.known:
            most = min(_REPLY, max(1, self.subject.card.context // 2))
            [said] = self.subject.ask(
                [Request("rewritten", prompt)], [Serving(max_tokens=most)], micro_batch=1
            )
            if said.outcome is not None:
                text = said.detail or f"the rewriter's answer is {said.outcome.value}"
                raise ThreatspecError("TS-REWRITER", text)
            self.known[prompt] = said.reply.strip()
        return self.known[prompt]


_ONLY = "Keep what it asks for, and answer with the new text alone."


def _of_one_text(error: ThreatspecError) -> bool:
    """Whether another text may fare better: too long, or not allowed there."""
    status = getattr(error, "status", 0)
    return error.code in {"TS-REWRITER", "TS-TRIAL-ERROR"} or status in {400, 413, 422}


def _fault(task: Task, text: str, new: str) -> str:
    """What is wrong with a new text; empty if nothing is."""
    if not new.strip():
        return f"the rewriter gave nothing for {task.style}"
    fine = task.unchanged == "fine" or (task.unchanged == "fine if ascii" and text.isascii())
    if not fine and new.split() == text.split():
        return f"the rewriter gave the text itself for {task.style}"
    return ""


def pieces(text: str, most: int = _PIECE) -> list[str]:
    """A text in pieces of at most so many characters, cut after a line, a sentence or a word."""
    found = []
    while len(text) > most:
        cut = _cut(text[:most])
        found.append(text[:cut])
        text = text[cut:]
    return [*found, text] if text or not found else found


def _cut(text: str) -> int:
    for end in (r"\n", r"[.!?。।]\s*", r"\s"):
        ends = [match.end() for match in re.finditer(end, text)]
        if ends:
            return ends[-1]
    return len(text)


@lru_cache(maxsize=2)
def _model(ref: str, folder: Path) -> ModelRewriter:
    if ref.startswith("endpoint:"):
        from threatspec.subjects._endpoint import EndpointSubject

        return ModelRewriter(EndpointSubject.load(ref))
    import torch

    from threatspec.subjects._resident import ResidentSubject

    threads = torch.get_num_threads()  # those that the plan fixes
    return ModelRewriter(ResidentSubject.load(ref, folder, threads=threads))


# rows


@dataclass
class RowsRewriter(Rewriter):
    """Texts that the user's licence lets them load: JSON Lines with `id`, `style` and `prompt`, or
    `turns` in the place of `prompt` where the style is `multi-turn`. Other fields are left out."""

    rows: dict[tuple[str, str], tuple[str, ...]]
    """Turns by id of the item and style."""

    @classmethod
    def read(cls, path: Path) -> RowsRewriter:
        """Raises ThreatspecError TS-FILE-MISSING, TS-DATA or TS-REWRITER with file and line."""
        if not path.is_file():
            raise ThreatspecError("TS-FILE-MISSING", f"rows must be in {path}, which is no file")
        rows: dict[tuple[str, str], tuple[str, ...]] = {}
        for number, row in _lines(path):
            place = f"{path.name}:{number}"
            key, turns = _row(row, place)
            if key in rows:
                text = f"an item must have one row per style, but {key[0]} has two of {key[1]}"
                raise ThreatspecError("TS-DATA", f"{place}: {text}")
            rows[key] = turns
        return cls(rows)

    def rewrite(self, task: Task, texts: Sequence[tuple[str, str]]) -> list[Rewritten]:
        """As above."""
        return [self._one(task, item, text) for item, text in texts]

    def _one(self, task: Task, item: str, text: str) -> Rewritten:
        turns = self.rows.get((item, task.style))
        if turns is None:
            return Rewritten(fault=f"no row of {task.style} for {item}")
        fault = _fault(task, text, turns[-1])
        return Rewritten(fault=fault) if fault else Rewritten(turns[-1], turns[:-1])


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ThreatspecError("TS-DATA", f"{path.name} must be text in UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                problem = f"{path.name}:{number}: a row must be a JSON object"
                raise ThreatspecError("TS-DATA", problem) from None


def _row(row: Any, place: str) -> tuple[tuple[str, str], tuple[str, ...]]:
    """Id with style, and turns. Raises ThreatspecError."""
    if not isinstance(row, dict) or not _is_text(row.get("id")):
        raise ThreatspecError("TS-DATA", f"{place}: a row must have an `id`, a text")
    style, known = row.get("style"), [*STYLES, MULTI_TURN]
    if style not in known:
        hint = did_you_mean(str(style), known)
        text = f"a row must have a `style` of {', '.join(known)}, but has {style!r}{hint}"
        raise ThreatspecError("TS-REWRITER", f"{place}: {text}")
    given = "turns" if style == MULTI_TURN else "prompt"
    turns = row.get(given) if given == "turns" else [row.get(given)]
    if not isinstance(turns, list) or not turns or not all(map(_is_text, turns)):
        text = f"a row of {style} must have {given}, and none that are empty or null"
        raise ThreatspecError("TS-DATA", f"{place}: {text}")
    return (row["id"], str(style)), tuple(turns)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
