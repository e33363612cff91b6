"""Writing the card of a file: what is told, what its description says, what was understood."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from threatspec.errors import ThreatspecError
from threatspec.measures.base import Item
from threatspec.measures.benchmarks._columns import RowReader
from threatspec.measures.benchmarks._descriptions import described
from threatspec.measures.benchmarks._files import read_items
from threatspec.measures.benchmarks._tables import Line, bad_line, read_lines, stem_of
from threatspec.measures.benchmarks._taxonomy import Taxonomy
from threatspec.measures.benchmarks._understand import flat, is_own_format, understood
from threatspec.schema import BenchmarkCard, DescriptionCard

__all__ = ["Added", "card_of", "card_text"]

UNKNOWN = "unknown"
_SAYS = "Prompts of {file}, not described further."


@dataclass(frozen=True)
class Added:
    """A card and what it says of its file."""

    card: BenchmarkCard
    data: dict[str, Any]
    """The card as it is written."""
    items: tuple[Item, ...]
    unread: tuple[str, ...]
    """Columns that are not read."""
    about: DescriptionCard | None


def card_of(path: Path, told: Mapping[str, Any], columns: Mapping[str, Any]) -> Added:
    """The card of a file.

    Args:
        path: JSON Lines, CSV or Parquet.
        told: fields of the card that somebody says; others are found out.
        columns: columns that somebody says, by field; others are found out.

    Raises ThreatspecError TS-DATA for what is told wrong, or rows that are no items.
    """
    bytes_ = path.read_bytes()
    lines = list(read_lines(path.name, bytes_))
    if not lines:
        raise ThreatspecError("TS-DATA", f"{path} must hold rows, but has none")
    about = described(told["description"], path.parent) if told.get("description") else None
    rows = [row for _, row in lines]
    data = {
        "schema": "threatspec/benchmark-card/v1",
        **_described(path, about),
        "file": path.name,
        "sha256": hashlib.sha256(bytes_).hexdigest(),
        "prompts": len(rows),
        **_reading(rows, about, told, columns),
    }
    data.update({key: value for key, value in told.items() if value is not None})
    card = _valid(data)
    items = _items(path, card, about, lines)
    data["prompts"] = len(items)
    names = dict.fromkeys(str(name) for row in rows for name in row)
    read = [column.partition(".")[0] for column in flat(data.get("columns", {}))]
    own = set(Item.model_fields) if card.columns is None else {*read, *card.where}
    unread = tuple(name for name in names if name not in own)
    return Added(_valid(data), data, items, unread, about)


def card_text(data: Mapping[str, Any]) -> str:
    """A card as YAML."""
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100)


def _described(path: Path, about: DescriptionCard | None) -> dict[str, Any]:
    if about is None:
        name = stem_of(path.name)
        says = _SAYS.format(file=path.name)
        return {"name": name, "says": says, "licence": UNKNOWN, "source": UNKNOWN, "gated": False}
    return {
        "name": about.name,
        "says": about.says,
        "licence": about.licence,
        "source": str(about.source.work),
        "gated": about.gated,
        "description": about.name,
    }


def _reading(
    rows: Sequence[Mapping[str, Any]],
    about: DescriptionCard | None,
    told: Mapping[str, Any],
    columns: Mapping[str, Any],
) -> dict[str, Any]:
    """Columns, and the split of rows that name none."""
    found: dict[str, Any] = {}
    if columns or about or not is_own_format(rows):
        found = understood(rows, about.hub if about else None)
        slices = {**found["columns"].get("slices", {}), **columns.get("slices", {})}
        found["columns"].update(columns)
        found["columns"] |= {"slices": slices} if slices else {}
        _one_prompt(found["columns"], columns, rows)
    named = found["columns"].get("split") if found else all("split" in row for row in rows)
    if not named and not told.get("shares") and not told.get("split"):
        found["split"] = "test"
    return found


def _one_prompt(
    found: dict[str, Any], told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """What is told comes before what was found; without either there is nothing to ask."""
    if "prompt" in told:
        found.pop("turns", None)
    elif "turns" in told:
        found.pop("prompt", None)
    if "prompt" not in found and "turns" not in found:
        names = ", ".join(dict.fromkeys(str(name) for row in rows for name in row))
        text = f"one column must be the prompt, but none of {names} looks like it"
        raise ThreatspecError("TS-DATA", f"{text}; say --column prompt=NAME")


def _valid(data: Mapping[str, Any]) -> BenchmarkCard:
    try:
        return BenchmarkCard.model_validate_json(json.dumps(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the card"
        raise ThreatspecError("TS-DATA", f"{where}: {first['msg']}") from None


def _items(
    path: Path, card: BenchmarkCard, about: DescriptionCard | None, lines: Sequence[Line]
) -> tuple[Item, ...]:
    """All items; rows that ask nothing must be known to be there."""
    items, nulls = read_items(str(path), RowReader(card, Taxonomy(about) if about else None), lines)
    if len(nulls) != (card.null_rows or 0):
        text = f"{len(nulls)} rows ask nothing (null or empty prompt)"
        text += f"; if that is known, say --null-rows {len(nulls)}"
        raise bad_line(str(path), next(iter(nulls), 1), text)
    return items
