"""Benchmarks from disk: a file of rows, described by the card beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.loading import load_model
from threatspec.measures.base import Benchmark, Item
from threatspec.measures.benchmarks._columns import BadRow, NullPrompt, RowReader
from threatspec.measures.benchmarks._descriptions import described
from threatspec.measures.benchmarks._images import placed
from threatspec.measures.benchmarks._tables import Line, bad_line, read_lines, stem_of
from threatspec.measures.benchmarks._taxonomy import Taxonomy
from threatspec.schema import BenchmarkCard, DescriptionCard, content_id

__all__ = ["FileBenchmark", "card_beside", "file_benchmark", "read_benchmark", "read_items"]


class FileBenchmark(Benchmark):
    """Items of one file."""

    def __init__(
        self, card: BenchmarkCard, items: tuple[Item, ...], images: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.says = card.name, card.says
        self.licence, self.source = card.licence, card.source
        self.gated = card.gated
        self._items, self._images = items, images or {}

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split."""
        return tuple(item for item in self._items if split in {None, item.split})

    @cached_property
    def digest(self) -> str:
        """Derived from all items, and from the content of the files that they show."""
        own = super().digest
        return content_id("benchmark", [own, dict(self._images)]) if self._images else own


def card_beside(path: Path) -> Path:
    """Where the card of a file lies."""
    return path.parent / f"{stem_of(path.name)}.card.yaml"


def file_benchmark(path: Path, folder: Path | None = None) -> FileBenchmark:
    """The benchmark in `path`, which must be what its card says.

    Args:
        path: the file.
        folder: that of the spec, from which references to images are told; absent = the file's.

    Raises ThreatspecError TS-FILE-MISSING if there is no such file or no card, TS-DATA if the file
    is not the one that the card describes or a line is no item, TS-MISSING-EXTRA.
    """
    if not path.is_file():
        text = f"{path} must be a file of items, but is not there"
        raise ThreatspecError("TS-FILE-MISSING", text)
    card = load_model(BenchmarkCard, card_beside(path))
    if card.file != path.name or card.data_set:
        text = f"the card beside {path.name} must describe it, but describes {card.file}"
        raise ThreatspecError("TS-DATA", text + (f" of {card.data_set}" if card.data_set else ""))
    return read_benchmark(path, card, path.parent, folder or path.parent)


def read_benchmark(
    path: Path, card: BenchmarkCard, place: Path, folder: Path | None = None
) -> FileBenchmark:
    """The rows of `path` as `card` says; descriptions are looked for around `place`, and images
    beside the file, which references tell from `folder`.

    Raises ThreatspecError TS-DATA, TS-IMAGE for a file of an image that is not there,
    TS-MISSING-EXTRA.
    """
    about = described(card.description, place) if card.description else None
    state = path.stat()
    texts = (
        card.model_dump_json(by_alias=True),
        about.model_dump_json(by_alias=True) if about else "",
    )
    way = Path(os.path.relpath(path.parent, folder or path.parent)).as_posix()
    return _read(path.resolve(), texts, state.st_mtime_ns, state.st_size, way)


@lru_cache(maxsize=32)
def _read(
    path: Path, texts: tuple[str, str], modified_ns: int, size: int, way: str
) -> FileBenchmark:
    card = BenchmarkCard.model_validate_json(texts[0])
    about = DescriptionCard.model_validate_json(texts[1]) if texts[1] else None
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if card.sha256 not in {None, found}:
        text = f"{Path(card.file).name} must have the sha256 that its card says, but has {found}"
        raise ThreatspecError("TS-DATA", text)
    reader = RowReader(card, Taxonomy(about) if about else None)
    name = path.name if card.data_set is None else card.file
    shown = str(path) if card.data_set is None else f"{card.data_set}/{card.file}"
    items, nulls = read_items(shown, reader, read_lines(name, data))
    _require_nulls(shown, card.null_rows, nulls)
    if card.prompts not in {None, len(items)}:
        text = f"{name} must hold {card.prompts} items as its card says, but has {len(items)}"
        raise ThreatspecError("TS-DATA", text)
    items, images = placed(items, path.parent, way, shown)
    return FileBenchmark(card, items, images)


def read_items(
    shown: str, reader: RowReader, lines: Iterable[Line]
) -> tuple[tuple[Item, ...], dict[int, str]]:
    """Items in order, and what is wrong with rows that ask nothing, by line.

    Raises ThreatspecError TS-DATA for a row that is no item, or an id that stands there twice.
    """
    known: dict[str, int] = {}
    items: list[Item] = []
    nulls: dict[int, str] = {}
    for number, row in lines:
        try:
            if reader.wanted(row):
                items.append(reader.item(number, row))
                _require_new(known, items[-1].id, number, Path(shown).name)
        except NullPrompt as error:
            nulls[number] = str(error)
        except ValueError as error:
            raise bad_line(shown, number, str(error)) from None
    return tuple(items), nulls


def _require_new(known: dict[str, int], name: str, number: int, file: str) -> None:
    first = known.setdefault(name, number)
    if first != number:
        raise BadRow(f"ids in {file} must be unique, but {name!r} stands in line {first} too")


def _require_nulls(shown: str, expected: int | None, nulls: dict[int, str]) -> None:
    """Rows without a prompt are left out only as the card says, and exactly so many."""
    if nulls and expected is None:
        first = next(iter(nulls))
        raise bad_line(shown, first, nulls[first])
    if len(nulls) != (expected or 0):
        text = f"{shown} must have {expected} rows without a prompt as its card says"
        raise ThreatspecError("TS-DATA", f"{text}, but has {len(nulls)}")
