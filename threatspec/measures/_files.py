"""Benchmarks from disk: `file:PATH.jsonl`, one object per line, described by `PATH.card.yaml`."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from threatspec.errors import ThreatspecError
from threatspec.loading import load_model
from threatspec.measures.base import Benchmark, Item
from threatspec.schema import BenchmarkCard

__all__ = ["FileBenchmark", "file_benchmark"]


class FileBenchmark(Benchmark):
    """Items of one file."""

    def __init__(self, card: BenchmarkCard, items: tuple[Item, ...]) -> None:
        self.name, self.says = card.name, card.says
        self.licence, self.source = card.licence, card.source
        self._items = items

    def items(self, split: str | None = None) -> tuple[Item, ...]:
        """All items, or those of one split."""
        return tuple(item for item in self._items if split in {None, item.split})


def file_benchmark(path: Path) -> FileBenchmark:
    """The benchmark in `path`, which must be what its card says.

    Raises ThreatspecError TS-FILE-MISSING if there is no such file or no card, TS-DATA if the file
    is not the one that the card describes or a line is no item.
    """
    if not path.is_file():
        raise ThreatspecError(
            "TS-FILE-MISSING", f"{path} must be a file of items, but is not there"
        )
    card = load_model(BenchmarkCard, path.with_suffix(".card.yaml"))
    if card.file != path.name:
        text = f"the card beside {path.name} must describe it, but describes {card.file}"
        raise ThreatspecError("TS-DATA", text)
    state = path.stat()
    return _read(path.resolve(), card, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _read(path: Path, card: BenchmarkCard, modified_ns: int, size: int) -> FileBenchmark:
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != card.sha256:
        raise ThreatspecError(
            "TS-DATA", f"{path.name} must have the sha256 that its card says, but has {found}"
        )
    lines = enumerate(data.split(b"\n"), start=1)
    items = tuple(_item(path, number, line) for number, line in lines if line.strip())
    _require(path, card, items)
    return FileBenchmark(card, items)


def _item(path: Path, number: int, line: bytes) -> Item:
    try:
        entry: dict[str, Any] = json.loads(line.decode("utf-8"))
        return Item.model_validate_json(json.dumps({"cluster": entry["id"], **entry}))
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        first = str(error).replace("\n", " ")[:200]
        raise ThreatspecError("TS-DATA", f"{path}:{number}: not an item: {first}") from None


def _require(path: Path, card: BenchmarkCard, items: tuple[Item, ...]) -> None:
    if len(items) != card.prompts:
        text = f"{path.name} must hold {card.prompts} items as its card says, but has {len(items)}"
        raise ThreatspecError("TS-DATA", text)
    if len({item.id for item in items}) < len(items):
        raise ThreatspecError("TS-DATA", f"ids in {path.name} must be unique")
