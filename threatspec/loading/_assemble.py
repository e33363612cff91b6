"""One document from a claims file and the files that it includes and extends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from threatspec.errors import Problem, SpecErrors
from threatspec.loading._merge import NAMED, added, overridden
from threatspec.loading._migrate import is_older, migrated, version_problem
from threatspec.loading._reach import Link, LinkError, Reach, first_link
from threatspec.loading._relocate import relocated
from threatspec.loading._yaml import Document, read_document

__all__ = ["Assembled", "assemble"]

DEPTH = 20
"""Files from the first one to the innermost."""
_IN_FRAGMENTS = ("threatspec", "include", *NAMED, "claims")
"""Fields of an included file: what adds to another file without replacing anything in it."""
Chain = tuple[Link, ...]
"""The files that led to a file, itself last."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A merged document, and what is known of the files it was made from."""

    document: Document
    problems: tuple[Problem, ...]
    files: tuple[Path, ...]
    """Every file that was read, the first one first."""
    older: dict[str, int]
    """Files of an older format, which was migrated: the format by `FILE:LINE` where it is said."""
    whole: bool
    """False if a file could not be read, so that nothing can be said of what is missing."""


def assemble(path: Path) -> Assembled:
    """Read `path` and all that it leads to. Raises SpecErrors if `path` itself cannot be read."""
    first = first_link(path)
    assembler = _Assembler(Reach.of(path))
    document = assembler.read(first)
    if document is None:
        raise SpecErrors(assembler.problems)
    document = assembler.extended(document, (first,))
    return Assembled(
        document=document,
        problems=tuple(dict.fromkeys(assembler.problems)),
        files=tuple(assembler.files.values()),
        older=assembler.older,
        whole=assembler.whole,
    )


@dataclass
class _Assembler:
    reach: Reach
    problems: list[Problem] = field(default_factory=list)
    files: dict[Path, Path] = field(default_factory=dict)
    """By real path: a file as it was named first."""
    older: dict[str, int] = field(default_factory=dict)
    whole: bool = True
    known: dict[Path, Document | None] = field(default_factory=dict)

    # one file

    def read(self, link: Link) -> Document | None:
        """The file in this program's format, read once; None, with its problems, if it cannot."""
        if link.real not in self.known:
            self.files[link.real] = link.shown
            self.known[link.real] = self._fresh(link)
        return self.known[link.real]

    def _fresh(self, link: Link) -> Document | None:
        try:
            document = read_document(link.real, shown=link.shown)
        except SpecErrors as errors:
            self._lost(*errors.problems)
            return None
        wrong = version_problem(document)
        if wrong and "threatspec" in document.data:
            # A file of another format is not judged by the rules of this one.
            self._lost(*document.problems, wrong)
            return None
        if is_older(document):
            place = document.source.where(("threatspec",))
            self.older[place] = document.data["threatspec"]
        found = migrated(document)
        self.problems += [*found.problems, *([wrong] if wrong else [])]
        home = link.shown.parent
        return replace(found, data=relocated(found.data, home, self.reach.folder), problems=())

    def _lost(self, *problems: Problem) -> None:
        self.problems += problems
        self.whole = False

    # its way to others

    def extended(self, own: Document, chain: Chain) -> Document:
        """A file with all that it includes, over the one that it extends."""
        joined = added(list(self._fragments(own, chain, set())), own)
        self.problems += joined.problems
        joined = _without(joined, "include", "extends")
        for link in self._links(own, "extends", chain):
            base = self.read(link)
            if base is not None:
                joined = overridden(self.extended(base, (*chain, link)), joined)
        return joined

    def _fragments(self, own: Document, chain: Chain, seen: set[Path]) -> Iterator[Document]:
        """What a file includes, the innermost first; a file that several include comes once."""
        for link in self._links(own, "include", chain):
            if link.real in seen:
                continue
            seen.add(link.real)
            document = self.read(link)
            if document is not None:
                yield from self._fragments(document, (*chain, link), seen)
                yield self._fragment(document)

    def _fragment(self, document: Document) -> Document:
        found = ((key, _misplaced(document.data, key)) for key in document.data)
        wrong = {key: complaint for key, complaint in found if complaint}
        for key, (code, text) in wrong.items():
            if (key,) not in document.broken:
                self.problems.append(document.source.problem(code, text, (key,), at="key"))
        return _without(document, *wrong)

    def _links(self, own: Document, key: str, chain: Chain) -> Iterator[Link]:
        """The files that `include` or `extends` names and that may be read."""
        if key not in own.data or (key,) in own.broken:
            return
        found, single = own.data[key], key == "extends"
        if not single and not isinstance(found, list):
            text = "include must be a list of files: include: [FILE, ...]"
            self._lost(own.source.problem("TS-WRONG-TYPE", text, (key,)))
            return
        names = [((key,), found)] if single else [((key, i), n) for i, n in enumerate(found)]
        for place, name in names:
            try:
                yield self._follow(name, chain)
            except LinkError as error:
                self._lost(own.source.problem(error.code, error.message, place))

    def _follow(self, name: Any, chain: Chain) -> Link:
        if not isinstance(name, str) or not name:
            text = "a file to include or extend must be a path"
            raise LinkError("TS-WRONG-TYPE", text)
        link = self.reach.find(name, chain[-1])
        if link.real in [other.real for other in chain]:
            shown = " -> ".join(str(other.shown) for other in (*chain, link))
            text = f"files must not lead back to themselves, but {shown}"
            raise LinkError("TS-INCLUDE-CYCLE", text)
        if len(chain) >= DEPTH:
            text = f"files must lead to one another at most {DEPTH} deep, but {name} lies deeper"
            raise LinkError("TS-INCLUDE-CYCLE", text)
        return link


def _misplaced(data: dict[str, Any], key: str) -> tuple[str, str] | None:
    """Code and text of why a field cannot stand in an included file."""
    if key not in _IN_FRAGMENTS:
        text = f"an included file may have only {', '.join(_IN_FRAGMENTS)}, but has {key!r}; "
        return "TS-UNKNOWN-FIELD", f"{text}use `extends` for what is to be overridden"
    kind = dict if key in NAMED else list if key == "claims" else object
    if not isinstance(data[key], kind):
        shape = "a mapping" if kind is dict else "a list"
        return "TS-WRONG-TYPE", f"{key} must be {shape}"
    return None


def _without(document: Document, *keys: str) -> Document:
    return replace(document, data={k: v for k, v in document.data.items() if k not in keys})
