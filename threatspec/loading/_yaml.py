"""Strict YAML files: a mapping with marks, and everything that is wrong with the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threatspec.errors import Problem, SpecErrors, did_you_mean
from threatspec.loading._marks import Place, Source
from threatspec.loading._nodes import BREAK, Builder

__all__ = ["Document", "read_document", "read_text"]

MAX_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping read from a file. ``broken`` are places whose value could not be read."""

    data: dict[str, Any]
    source: Source
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Place] = frozenset()


def read_document(path: Path, shown: Path | None = None) -> Document:
    """Read ``path``, which problems call ``shown``. Raises SpecErrors where nothing can be said.

    What is wrong at single places is in ``problems``, so that the rest can still be validated.
    """
    name = str(path if shown is None else shown)
    source = Source(name)
    text = _text(path, source)
    source = Source(name, tuple(BREAK.split(text)))
    builder = Builder(source)
    data = builder.build(text)
    if builder.stopped:
        raise SpecErrors(builder.problems)
    if not isinstance(data, dict):
        raise SpecErrors([*builder.problems, _not_a_mapping(data, source)])
    return Document(data, source, tuple(builder.problems), frozenset(builder.broken))


def read_text(text: str, name: str) -> dict[str, Any]:
    """A mapping from text that is no file, called `name`. Raises SpecErrors for all its faults."""
    source = Source(name, tuple(BREAK.split(text)))
    builder = Builder(source)
    data = builder.build(text)
    if builder.problems or not isinstance(data, dict):
        raise SpecErrors(builder.problems or [_not_a_mapping(data, source)])
    return data


def _text(path: Path, source: Source) -> str:
    try:
        if not path.exists():
            raise SpecErrors([source.problem("TS-FILE-MISSING", _not_there(path))])
        if not path.is_file():
            raise _unreadable(source, "must be a file, but is a folder or a device")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise _unreadable(
                source, f"must hold at most {MAX_BYTES // 1_000_000} MB, but is larger"
            )
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = BREAK.split(error.object[: error.start].decode("utf-8-sig"))
        text = f"must be UTF-8 text, but byte {error.start} is not"
        place = (len(before), len(before[-1]) + 1)
        raise SpecErrors([source.at("TS-FILE-UNREADABLE", text, *place)]) from None
    except (OSError, ValueError) as error:
        raise _unreadable(source, f"cannot be read: {error}") from None


def _not_there(path: Path) -> str:
    beside = [other.name for other in path.parent.glob("*.y*ml")]
    return f"the file is not there{did_you_mean(path.name, beside).partition(';')[0]}"


def _unreadable(source: Source, text: str) -> SpecErrors:
    return SpecErrors([source.problem("TS-FILE-UNREADABLE", f"the file {text}")])


def _not_a_mapping(data: Any, source: Source) -> Problem:
    if data is None:
        return source.problem("TS-FILE-EMPTY", "the file must hold a document, but is empty")
    got = "a list" if isinstance(data, list) else "a single value"
    return source.problem("TS-NOT-A-MAPPING", f"the document must be a mapping, but is {got}")
