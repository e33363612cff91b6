"""Where replies are there in words: are they those that were hashed, and judged as recorded?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from threatspec.measures import Item, Judge, judgements, looks_of, rows_of
from threatspec.records import MARKS, Generation, Outcome, PlannedMeasure, Replies
from threatspec.reports.bundle._checks import Check, Status, found, unknown
from threatspec.reports.bundle._judging import is_function
from threatspec.reports.bundle._lines import ReplyHashes, TextLine, by_item, hash_of
from threatspec.reports.bundle._matter import Matter, benchmark_of, judge_of

__all__ = ["again_checks"]

_NEEDS_ITEMS = frozenset({"choice", "degenerate", "exact"})
"""Judges that look at more than the reply."""


def again_checks(matter: Matter) -> Iterator[Check]:
    """Replies in words are hashed and judged once more."""
    if not matter.bundle.has_texts:
        text = "replies are here as hashes only, so that no judge can be asked again"
        yield unknown("judged again", text)
        return
    again = _Again(matter)
    faults = list(again.faults())
    text = f"{again.replies} replies have the hashes that were recorded"
    yield found("texts", faults, text)
    check = found(
        "judged again", again.differing, f"{again.judged} outcomes are those of the judges"
    )
    if check.status is Status.PASS and (again.unasked or not again.judged):
        names = ", ".join(sorted(again.unasked)) or "the judges"
        check = unknown("judged again", f"what {names} need to judge is not here")
    yield check


class _Again:
    """Reads all replies once, hashes them and asks every judge that this program has."""

    def __init__(self, matter: Matter) -> None:
        self.matter = matter
        self.replies = self.judged = 0
        self.differing: list[str] = []
        self.unasked: set[str] = set()
        self._judges = {name: self._judge(name) for name in matter.plan.measures}
        self._readers: dict[str, list[tuple[str, str]]] = {}
        for cell in matter.plan.cells.values():
            for name, trials in cell.measures.items():
                for judge in trials:
                    for need in matter.plan.trials[judge].needs:
                        known = self._readers.setdefault(need, [])
                        known += [(name, judge)] if (name, judge) not in known else []

    def faults(self) -> Iterator[str]:
        """Trials whose replies are not those that were hashed; and `differing` is found."""
        missing = set(self.matter.bundle.replies)
        for trial, texts in _by_trial(self.matter.bundle.texts()):
            line = self.matter.bundle.replies.get(trial)
            if line is None or trial not in missing or not _hashed(line, texts):
                yield f"replies of {trial[:100]} in words are not those whose hashes were recorded"
                continue
            missing.discard(trial)
            self.replies += len(texts)
            told = self.matter.bundle.results.get(trial)
            if told and told.replies != _looks(texts, line):
                yield f"{trial} counts its replies otherwise than they are"
            for name, judge in self._readers.get(trial, ()):
                self._compare(name, judge, texts, line)
        yield from (f"replies of {trial} in words are missing" for trial in sorted(missing))

    def _compare(self, name: str, judge: str, texts: list[TextLine], line: ReplyHashes) -> None:
        marks, how = self.matter.bundle.marks.get(judge, b""), self._judges[name]
        if how is None:
            self.unasked.add(name)
            return
        if len(marks) != len(line.items):
            return  # said elsewhere
        for item, letter, mark in zip(line.items, marks, how.marks(texts), strict=True):
            self.judged += 1
            if item not in line.outcomes and letter != mark:
                self.differing.append(f"{name} judges a reply to {item} in another way")

    def _judge(self, name: str) -> _Judging | None:
        measure = self.matter.plan.measures[name]
        use = measure.judge.get("use", "")
        judge = judge_of(use) if is_function(measure.judge) else None
        own = benchmark_of(measure.benchmark)
        known = own is not None and own.digest == self.matter.plan.digests.get(measure.benchmark)
        if judge is None or (use in _NEEDS_ITEMS and not known):
            return None
        items = {item.id: item for item in own.items(measure.split)} if own and known else {}
        return _Judging(judge, measure, items)


class _Judging:
    """One judge with its settings."""

    def __init__(self, judge: Judge, measure: PlannedMeasure, items: Mapping[str, Item]) -> None:
        settings = measure.judge.get("settings", {})
        self.judge = judge
        self.config = judge.Config.model_validate_json(json.dumps(settings))
        self.measure, self.items = measure, items

    def marks(self, texts: list[TextLine]) -> bytes:
        """A letter for each prompt."""
        items = {text.item: self._item(text.item) for text in texts}
        replies = [_reply(text) for text in texts]
        judged = judgements(self.judge, self.config, replies, items, self.measure.span)
        rows = rows_of(replies, judged, items, self.measure.aggregation)
        return b"".join(MARKS[row.outcome] for row in rows)

    def _item(self, name: str) -> Item:
        return self.items.get(name) or Item(id=name, prompt="", split="test", cluster=name)


def _reply(text: TextLine) -> Generation:
    said = text.model_dump(include={"item", "prompt", "attacker", "reply", "variant"})
    return Generation(**said, outcome=Outcome.MISSING if text.lacking else None)


def _by_trial(texts: Iterator[TextLine]) -> Iterator[tuple[str, list[TextLine]]]:
    """Replies of a trial stand together; a trial that comes again is noticed by its reader."""
    own: list[TextLine] = []
    for text in texts:
        if own and own[0].trial != text.trial:
            yield own[0].trial, own
            own = []
        own.append(text)
    if own:
        yield own[0].trial, own


def _looks(texts: list[TextLine], line: ReplyHashes) -> Replies:
    return looks_of([text.reply for text in texts if not line.rejected(text.item)])


def _hashed(line: ReplyHashes, texts: list[TextLine]) -> bool:
    said = by_item(texts)
    several = len(said) < len(texts)
    return (
        line.items == tuple(said)
        and line.asked == (tuple(map(len, said.values())) if several else ())
        and line.seen == _all(said, "prompt")
        and line.replies == _all(said, "reply")
        and line.attacker == (_all(said, "attacker") if any(t.attacker for t in texts) else b"")
    )


def _all(said: Mapping[str, list[TextLine]], which: str) -> bytes:
    return b"".join(hash_of(getattr(text, which) for text in own) for own in said.values())
