"""Marks: where every key and value of a document stands, and problems at those places."""

from __future__ import annotations

from dataclasses import dataclass, field

from threatspec.errors import Problem

__all__ = ["Mark", "Place", "Source", "Text", "dotted"]

Place = tuple[str | int, ...]
"""Way from the top of a document to a value: keys of mappings and indices of lists."""
_LONGEST = 300
"""Characters of a line that is shown below a problem."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file as it was read."""

    file: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A position; lines and columns count from 1."""

    line: int
    column: int
    inside: int | None = None
    """Columns from the mark to the first character of a scalar whose text stands on this line as
    it is (0 plain, 1 quoted); None where columns of the text are not columns of the file."""
    text: Text | None = field(default=None, repr=False)
    """The file it is a position of; None for the file of the source that has the mark."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a file and the marks of its document.

    A document that was merged from several files has marks that name theirs, so that every problem
    is reported where its text stands.
    """

    file: str
    lines: tuple[str, ...] = ()
    keys: dict[Place, Mark] = field(default_factory=dict)
    values: dict[Place, Mark] = field(default_factory=dict)

    def problem(
        self,
        code: str,
        message: str,
        place: Place = (),
        at: str = "value",
        column: int | None = None,
    ) -> Problem:
        """A problem at ``place``, or at the nearest parent of it that the document has.

        ``at`` is "key" or "value". ``column`` is an offset in the text of a scalar; the caret
        moves there where it can.
        """
        found = self.nearest(place)
        mark = self._mark(found, at)
        shift = 0 if column is None or mark.inside is None else mark.inside + column
        text = mark.text or self.text
        return _problem(text, code, message, mark.line, mark.column + shift, dotted(place))

    def at(self, code: str, message: str, line: int, column: int) -> Problem:
        """A problem at a position of the source's own file."""
        return _problem(self.text, code, message, line, column)

    @property
    def text(self) -> Text:
        """The source's own file."""
        return Text(self.file, self.lines)

    def where(self, place: Place) -> str:
        """`FILE:LINE` of a place, to name in a message about another one."""
        mark = self._mark(self.nearest(place), "key")
        return f"{(mark.text or self.text).file}:{mark.line}"

    def nearest(self, place: Place) -> Place:
        """The longest way along ``place`` that the document has.

        Knobs are written beside `use` but kept under `knobs`, so that part is stepped over.
        """
        found: Place = ()
        for part in place:
            if (*found, part) in self.values:
                found = (*found, part)
            elif part != "knobs":
                break
        return found

    def _mark(self, place: Place, at: str) -> Mark:
        value = self.values.get(place, Mark(1, 1))
        return self.keys.get(place, value) if at == "key" else value


def _problem(
    text: Text, code: str, message: str, line: int, column: int, path: str = ""
) -> Problem:
    shown = _shown(text.lines[line - 1]) if 0 < line <= len(text.lines) else ""
    return Problem(code, message, text.file, line, column, shown, path)


def _shown(line: str) -> str:
    """A line to print, column for column; nothing of one that no terminal shows as a line."""
    if len(line) > _LONGEST:
        return ""
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)


def dotted(place: Place) -> str:
    """``place`` as machines and people write it: ``claims[0].holds``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")
