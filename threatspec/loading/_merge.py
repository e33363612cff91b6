"""Several documents as one: what files include, and what they extend.

Values move together with their marks, which name their file, so that a merged document knows where
each of its parts stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from threatspec.errors import Problem
from threatspec.loading._marks import Mark, Place, Source
from threatspec.loading._yaml import Document

__all__ = ["NAMED", "added", "overridden"]

NAMED = {"subjects": "subject", "measures": "measure", "adversaries": "adversary"}
"""Sections of named things, and what one of them is called."""


@dataclass
class _Loom:
    """A document in the making; the first one lends it its file."""

    own: Document
    broken: set[Place] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Place, Mark] = field(default_factory=dict)
    values: dict[Place, Mark] = field(default_factory=dict)

    def mark(self, document: Document, at: Place, to: Place) -> None:
        """Take over where a key and its value stand."""
        source = document.source
        for theirs, mine in ((source.keys, self.keys), (source.values, self.values)):
            if at in theirs:
                mark = theirs[at]
                mine[to] = mark if mark.text else replace(mark, text=source.text)
        if at in document.broken:
            self.broken.add(to)

    def take(self, document: Document, value: Any, at: Place, to: Place | None = None) -> Any:
        """Take over what stands `at` a place of a document, and everything inside it."""
        to = at if to is None else to
        self.mark(document, at, to)
        if isinstance(value, dict):
            return {k: self.take(document, v, (*at, k), (*to, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [self.take(document, v, (*at, i), (*to, i)) for i, v in enumerate(value)]
        return value

    def document(self, data: dict[str, Any]) -> Document:
        """What was woven. Problems of the parts have been reported already."""
        own = self.own.source
        source = Source(own.file, own.lines, self.keys, self.values)
        return Document(data, source, tuple(self.problems), frozenset(self.broken))


# include


def added(fragments: Sequence[Document], own: Document) -> Document:
    """`own` with what the fragments define; a name that is defined twice is a problem."""
    if not fragments:
        return own
    loom = _Loom(own)
    loom.mark(own, (), ())
    data: dict[str, Any] = {}
    for section in dict.fromkeys([*own.data, *(k for part in fragments for k in part.data)]):
        parts = [part for part in (*fragments, own) if section in part.data]
        if section in NAMED and _all(parts, section, dict):
            data[section] = _names(loom, parts, section)
        elif section == "claims" and _all(parts, section, list):
            data[section] = _rows(loom, [(part, part.data[section]) for part in parts])
        elif section in own.data:
            data[section] = loom.take(own, own.data[section], (section,))
    return loom.document(data)


def _all(parts: Sequence[Document], section: str, kind: type) -> bool:
    return all(isinstance(part.data[section], kind) for part in parts)


def _names(loom: _Loom, parts: Sequence[Document], section: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    first: dict[str, Document] = {}
    for part in parts:
        loom.mark(part, (section,), (section,))
        for name, value in part.data[section].items():
            place = (section, name)
            if name in first:
                other = first[name].source.where(place)
                text = f"names must be unique, but the {NAMED[section]} {name!r} is also defined "
                problem = part.source.problem("TS-DUPLICATE-ID", f"{text}at {other}", place, "key")
                loom.problems.append(problem)
            else:
                first[name] = part
                found[name] = loom.take(part, value, place)
    return found


def _rows(loom: _Loom, parts: Sequence[tuple[Document, list[Any]]]) -> list[Any]:
    """Claims of several documents after one another; equal ids are found by the checks of names."""
    found: list[Any] = []
    for part, claims in parts:
        loom.mark(part, ("claims",), ("claims",))
        for index, claim in enumerate(claims):
            found.append(loom.take(part, claim, ("claims", index), ("claims", len(found))))
    return found


# extends


def overridden(base: Document, own: Document) -> Document:
    """`base` with what `own` says instead: mappings by key, claims by id, all else as a whole."""
    loom = _Loom(own)
    return loom.document(_over(loom, base, own, base.data, own.data, ()))


def _over(loom: _Loom, base: Document, own: Document, below: Any, above: Any, place: Place) -> Any:
    if place == ("claims",) and isinstance(below, list) and isinstance(above, list):
        return _claims(loom, base, own, below, above)
    if not isinstance(below, dict) or not isinstance(above, dict):
        return loom.take(own, above, place)
    loom.mark(own, place, place)
    found: dict[str, Any] = {}
    for key in dict.fromkeys([*below, *above]):
        where = (*place, key)
        if key not in above:
            found[key] = loom.take(base, below[key], where)
        elif key not in below:
            found[key] = loom.take(own, above[key], where)
        else:
            found[key] = _over(loom, base, own, below[key], above[key], where)
    return found


def _claims(
    loom: _Loom, base: Document, own: Document, below: list[Any], above: list[Any]
) -> list[Any]:
    """A claim replaces the one of its id in its place; the others follow in their order."""
    loom.mark(own, ("claims",), ("claims",))
    mine: dict[Any, int] = {}
    for index, claim in enumerate(above):
        mine.setdefault(_id(claim), index)
    mine.pop(None, None)
    theirs = [(base, i) if _id(c) not in mine else (own, mine[_id(c)]) for i, c in enumerate(below)]
    used = {index for document, index in theirs if document is own}
    rows = [*theirs, *((own, index) for index in range(len(above)) if index not in used)]
    return [
        loom.take(document, document.data["claims"][index], ("claims", index), ("claims", row))
        for row, (document, index) in enumerate(rows)
    ]


def _id(claim: Any) -> str | None:
    name = claim.get("id") if isinstance(claim, dict) else None
    return name if isinstance(name, str) else None
