"""Older formats of claims files: what was renamed, applied to a document with its marks.

A document of an older format is read as one of the format after it, step by step. Marks move with
what they mark, so that every problem is still reported where its text stands.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from threatspec.errors import Problem
from threatspec.loading._marks import Mark, Place
from threatspec.loading._yaml import Document

__all__ = ["FORMAT_VERSION", "is_older", "migrated", "version_problem"]

FORMAT_VERSION = 1
"""The format that the rest of the program knows."""
_ANY = "*"
"""In a way: every name of a mapping, or every entry of a list."""


@dataclass(frozen=True, slots=True)
class _Rename:
    """A key that is called otherwise in the next format."""

    inside: tuple[str, ...]
    old: str
    new: str


_RENAMES: dict[int, tuple[_Rename, ...]] = {
    0: (
        _Rename(("subject",), "base", "undefended"),
        _Rename(("subjects", _ANY), "base", "undefended"),
        _Rename(("measures", _ANY), "judged_by", "judge"),
        _Rename(("adversaries", _ANY), "budget", "compute"),
        _Rename(("claims", _ANY), "expected", "expect"),
    ),
}
"""What each older format calls otherwise than the one after it."""


def version_problem(document: Document) -> Problem | None:
    """What is wrong with the format version that the document says; None if it can be read."""
    got = document.data.get("threatspec")
    if type(got) is int and (got == FORMAT_VERSION or got in _RENAMES):
        return None
    rule = f"a claims file must say `threatspec: {FORMAT_VERSION}`, the format version"
    text = f"{rule}, but got {got!r}" if "threatspec" in document.data else f"{rule}, but has none"
    if type(got) is int and got > FORMAT_VERSION:
        text += f"; a later version of the program reads format {got}"
    return document.source.problem("TS-FORMAT-VERSION", text, ("threatspec",))


def is_older(document: Document) -> bool:
    """Whether the document is of a format that is migrated."""
    version = document.data.get("threatspec")
    return type(version) is int and version in _RENAMES


def migrated(document: Document) -> Document:
    """The document in this program's format; one that already is comes back as it is."""
    if not is_older(document):
        return document
    for version in range(document.data["threatspec"], FORMAT_VERSION):
        document = _Step(document, version).renamed()
    return replace(document, data={**document.data, "threatspec": FORMAT_VERSION})


@dataclass
class _Step:
    """From one format to the next."""

    document: Document
    version: int
    moved: dict[Place, Place] = field(default_factory=dict)
    dropped: set[Place] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def renamed(self) -> Document:
        """The document with every key under its new name."""
        data = copy.deepcopy(self.document.data)
        for rename in _RENAMES[self.version]:
            for place, mapping in _mappings(data, rename.inside):
                self._rename(rename, place, mapping)
        source = self.document.source
        keys, values = self._marks(source.keys), self._marks(source.values)
        places = (self._place(place) for place in self.document.broken)
        return Document(
            data=data,
            source=replace(source, keys=keys, values=values),
            problems=(*self.document.problems, *self.problems),
            broken=frozenset(place for place in places if place is not None),
        )

    def _rename(self, rename: _Rename, place: Place, mapping: dict[str, Any]) -> None:
        old, new = (*place, rename.old), (*place, rename.new)
        if rename.new in mapping:
            text = f"unknown field {rename.new!r}: format {self.version} says `{rename.old}`"
            self.problems.append(
                self.document.source.problem("TS-UNKNOWN-FIELD", text, new, at="key")
            )
            self.dropped.add(new)
            del mapping[rename.new]
        if rename.old in mapping:
            self.moved[old] = new
            items = [(rename.new if k == rename.old else k, v) for k, v in mapping.items()]
            mapping.clear()
            mapping.update(items)

    def _marks(self, marks: dict[Place, Mark]) -> dict[Place, Mark]:
        found = ((self._place(place), mark) for place, mark in marks.items())
        return {place: mark for place, mark in found if place is not None}

    def _place(self, place: Place) -> Place | None:
        """Where a place of the older document is now; None if its key was refused."""
        for end in range(1, len(place) + 1):
            head = place[:end]
            if head in self.dropped:
                return None
            if head in self.moved:
                return (*self.moved[head], *place[end:])
        return place


def _mappings(data: Any, way: tuple[str, ...]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every mapping that `way` leads to; whatever has another shape is left to validation."""
    if not way:
        if isinstance(data, dict):
            yield (), data
        return
    children: list[tuple[str | int, Any]] = []
    if isinstance(data, dict):
        children = list(data.items())
    elif isinstance(data, list) and way[0] == _ANY:
        children = list(enumerate(data))
    for key, child in children:
        if way[0] in (_ANY, key):
            yield from (((key, *place), found) for place, found in _mappings(child, way[1:]))
