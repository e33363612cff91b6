"""Building data from the events of the YAML parser.

PyYAML parses; its events are built into data here, because that is where anchors, tags, duplicate
keys and the spelling of scalars are still visible, and because nothing can be constructed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from threatspec.errors import Problem
from threatspec.loading._marks import Mark, Place, Source
from threatspec.loading._scalars import ScalarError, plain_scalar

__all__ = ["BREAK", "Builder"]

BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line for the parser, and so in its line numbers."""
MAX_DEPTH = 64
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile(
    r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class _Stop(Exception):
    """Nothing after this place can be read."""


@dataclass
class Builder:
    """Builds data and marks of one document; one method per kind of node.

    ``problems`` is what is wrong, ``broken`` where nothing could be read, and ``stopped`` says that
    nothing after the last problem was read.
    """

    source: Source
    problems: list[Problem] = field(default_factory=list)
    broken: set[Place] = field(default_factory=set)
    stopped: bool = False
    _events: Iterator[Any] = field(default_factory=lambda: iter(()))

    def build(self, text: str) -> Any:
        """The data of the only document; None if there is none."""
        try:
            self._check_characters(text)
            self._events = yaml.parse(text, Loader=_LOADER)
            return self._documents()
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self._add("TS-YAML-SYNTAX", f"the text is not YAML: {what}", line, column)
        except _Stop:
            pass
        self.stopped = True
        return None

    def _check_characters(self, text: str) -> None:
        found = _UNPRINTABLE.search(text)
        if found:
            before = BREAK.split(text[: found.start()])
            message = f"the character {found[0]!r} cannot stand in YAML"
            self._add("TS-YAML-SYNTAX", message, len(before), len(before[-1]) + 1)
            raise _Stop

    def _documents(self) -> Any:
        data, seen = None, False
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if seen:
                self._at(event, "TS-YAML-SYNTAX", "a file must hold one document, but has more")
                raise _Stop
            if event.tags:
                self._at(event, "TS-YAML-TAG", "tags are not part of the language")
            data, seen = self._node(next(self._events), (), 0), True
        return data

    def _node(self, event: Any, place: Place, depth: int) -> Any:
        self._check_node(event, depth)
        self.source.values.setdefault(place, _mark(event))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(place, depth)
        self.broken.add(place)  # an alias
        return None

    def _check_node(self, event: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            text = f"values must be nested at most {MAX_DEPTH} deep"
            self._at(event, "TS-YAML-SYNTAX", text)
            raise _Stop
        if event.anchor is not None:
            kind = "aliases (*)" if isinstance(event, yaml.AliasEvent) else "anchors (&)"
            text = f"{kind} are not part of the language; write the value out"
            self._at(event, "TS-YAML-ALIAS", text)
        tag = getattr(event, "tag", None)
        if tag is not None:
            text = f"tags are not part of the language, but got {tag!r}"
            self._at(event, "TS-YAML-TAG", text)

    def _scalar(self, event: Any, place: Place) -> Any:
        if event.style:
            return event.value
        try:
            return plain_scalar(event.value)
        except ScalarError as error:
            self.problems.append(self.source.problem(error.code, str(error), place))
            self.broken.add(place)
            return event.value

    def _sequence(self, place: Place, depth: int) -> list[Any]:
        found: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            found.append(self._node(event, (*place, len(found)), depth + 1))
        return found

    def _mapping(self, place: Place, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, place, depth)
            fresh = key is not None and key not in found
            if key is not None and not fresh:
                first = self.source.keys[(*place, key)].line
                text = f"a key must stand once in a mapping, but {key!r} stands on line {first} too"
                self._at(event, "TS-YAML-DUPLICATE-KEY", text)
            inside = (*place, key if key is not None else "?")
            if fresh:
                # The first spelling of a duplicate mapping keeps its marks.
                self.source.keys.setdefault(inside, _mark(event))
            value = self._node(next(self._events), inside, depth + 1)
            if fresh and key is not None:
                found[key] = value
        return found

    def _key(self, event: Any, place: Place, depth: int) -> str | None:
        """The text of a key; None for what cannot be one, with the problem noted."""
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, (*place, "?"), depth + 1)
            if not isinstance(event, yaml.AliasEvent):
                self._at(event, "TS-WRONG-TYPE", "a key must be a name, but is a list or mapping")
            return None
        self._check_node(event, depth)
        if event.value == "<<" and not event.style:
            text = "merge keys (<<) are not part of the language; write the fields out"
            self._at(event, "TS-YAML-ALIAS", text)
            return None
        return str(event.value)

    def _at(self, event: Any, code: str, message: str) -> None:
        self._add(code, message, event.start_mark.line + 1, event.start_mark.column + 1)

    def _add(self, code: str, message: str, line: int, column: int) -> None:
        self.problems.append(self.source.at(code, message, line, column))


def _mark(event: Any) -> Mark:
    start, end = event.start_mark, event.end_mark
    inside = None
    if isinstance(event, yaml.ScalarEvent) and start.line == end.line:
        edge = 1 if event.style in ("'", '"') else 0
        if end.column - start.column == len(event.value) + 2 * edge:
            inside = edge
    return Mark(start.line + 1, start.column + 1, inside)
