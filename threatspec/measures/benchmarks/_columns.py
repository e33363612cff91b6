"""One row of a file as an item, as its card says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from threatspec.errors import did_you_mean
from threatspec.measures.base import Item, Split
from threatspec.measures.benchmarks._splits import SPLITS, drawn_split
from threatspec.measures.benchmarks._taxonomy import Taxonomy
from threatspec.schema import BenchmarkColumns
from threatspec.schema._benchmark_card import Reading

__all__ = ["BadRow", "NullPrompt", "RowReader"]

_OWN = ("answer", "refusal", "response", "image")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class BadRow(ValueError):
    """A row that is no item."""


class NullPrompt(BadRow):
    """A row that asks nothing."""


@dataclass(frozen=True)
class RowReader:
    """Reads rows as a card says.

    Args:
        card: columns, splits, labels.
        taxonomy: domains and categories of the benchmark that it is a copy of.
    """

    card: Reading
    taxonomy: Taxonomy | None = None

    def wanted(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is among those that the card names. Raises BadRow for a missing column."""
        return all(_text(_at(row, key), key) == value for key, value in self.card.where.items())

    def item(self, number: int, row: Mapping[str, Any]) -> Item:
        """The item in a row. Raises BadRow, NullPrompt."""
        if self.card.columns is None:
            given = self._same_names(row)
        else:
            given = self._mapped(self.card.columns, number, row)
        given.setdefault("cluster", given["id"])
        given["split"] = self._split(given.get("split"), given["cluster"])
        if self.taxonomy:
            given.update(self.taxonomy.slices(given))
        try:
            return Item.model_validate_json(json.dumps(given))
        except (ValidationError, TypeError, ValueError) as error:
            raise BadRow(f"not an item: {_first(error)}") from None

    def _same_names(self, row: Mapping[str, Any]) -> dict[str, Any]:
        given = {key: value for key, value in row.items() if value is not None}
        if "prompt" in row and not str(row["prompt"] or "").strip():
            raise NullPrompt(_NULL.format("prompt"))
        if not isinstance(given.get("id"), str):
            raise BadRow("not an item: `id` must be text")
        return given

    def _mapped(
        self, columns: BenchmarkColumns, number: int, row: Mapping[str, Any]
    ) -> dict[str, Any]:
        given: dict[str, Any] = {"prompt": _prompt(columns, row), "id": str(number)}
        for field in ("id", "split", "cluster", "category", *_OWN):
            column = getattr(columns, field)
            value = _text(_at(row, column), column) if column else None
            if value is not None:
                given[field] = value
            elif column and field == "id":
                raise BadRow(f"the id in column {column!r} must not be null")
        if columns.references:
            given["references"] = _list(_at(row, columns.references), columns.references)
        if columns.label:
            given["label"] = self._label(_text(_at(row, columns.label), columns.label))
        texts = {key: _text(_at(row, column), column) for key, column in columns.slices.items()}
        given["slices"] = {key: text for key, text in texts.items() if text is not None}
        return {**given, **self._choices(columns, row)}

    def _split(self, name: Any, cluster: str) -> Split:
        if self.card.shares:
            return drawn_split(cluster, self.card.shares)
        if name is None:
            if self.card.split is None:
                raise BadRow("no split: the row or the card must name one; see `split`, `shares`")
            return self.card.split
        if self.card.splits and name not in self.card.splits:
            hint = did_you_mean(str(name), list(self.card.splits))
            raise BadRow(f"the card's `splits` must say what {name!r} is, but do not{hint}")
        own = self.card.splits.get(name, name)
        if own not in SPLITS:
            text = f"not an item: the split must be one of {', '.join(SPLITS)}, but got {own!r}"
            raise BadRow(f"{text}; the card's `splits` can say what it is here")
        return own  # type: ignore[no-any-return]

    def _label(self, text: str | None) -> str:
        if text is None:
            return ""
        meanings = self.card.labels or {"yes": "yes", "no": "no"}
        if text not in meanings:
            text = f"a label must be one of {', '.join(meanings)}, but got {text!r}"
            raise BadRow(f"{text}; the card's `labels` can say what it means")
        return meanings[text]

    def _choices(self, columns: BenchmarkColumns, row: Mapping[str, Any]) -> dict[str, Any]:
        if not columns.choices or columns.right is None:
            return {}
        if len(columns.choices) == 1:
            choices = _list(_at(row, columns.choices[0]), columns.choices[0])
        else:
            found = [_text(_at(row, column), column) for column in columns.choices]
            if None in found:
                raise BadRow("every choice must be text, but one is null")
            choices = [text for text in found if text is not None]
        if len(set(choices)) < max(len(choices), 2):
            raise BadRow("a question must have two or more choices that differ")
        told = _text(_at(row, columns.right), columns.right)
        right = _right(self.card.right, told, choices)
        return {"choices": choices, "right": right}


_NULL = (
    "column {!r} asks nothing (null or empty); if such rows are known to be there, the card can "
    "leave out so many: `null_rows: NUMBER`"
)


def _prompt(columns: BenchmarkColumns, row: Mapping[str, Any]) -> str:
    if columns.turns is None:
        name = columns.prompt or ""
        value = _at(row, name)
    else:
        name = columns.turns
        turns = _at(row, name)
        listed = _list(turns, name, nulls=True) if turns is not None else []
        if len(listed) > 1:
            raise BadRow(f"column {name!r} must hold one turn, but holds {len(listed)}")
        value = listed[0] if listed else None
    if value is None or (isinstance(value, str) and not value.strip()):
        raise NullPrompt(_NULL.format(name))
    if not isinstance(value, str):
        raise BadRow(f"column {name!r} must hold text, but holds {type(value).__name__}")
    return value


def _right(how: str, told: str | None, choices: list[str]) -> int:
    """Index of the right choice."""
    text = told or ""
    if how == "text":
        known = choices
    elif how == "letter":
        known, text = list(_LETTERS[: len(choices)]), text.strip().upper()
    else:
        start = 1 if how == "number" else 0
        known = [str(number) for number in range(start, start + len(choices))]
    if text not in known:
        shown = ", ".join(known) if how != "text" else "one of the choices"
        raise BadRow(f"the right choice must be {shown} (`right: {how}`), but got {told!r}")
    return known.index(text)


def _at(row: Mapping[str, Any], column: str) -> Any:
    """The value in a column; `a.b` is `b` inside `a` unless a column is called so."""
    if column in row:
        return row[column]
    first, dot, rest = column.partition(".")
    if dot and isinstance(row.get(first), Mapping):
        return _at(row[first], rest)
    raise BadRow(f"there is no column {column!r}{did_you_mean(column, [str(key) for key in row])}")


def _text(value: Any, column: str) -> str | None:
    """Text, or a whole number or truth as JSON writes it; None for null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, int)):
        return json.dumps(value)
    raise BadRow(f"column {column!r} must hold text, but holds {type(value).__name__}")


def _list(value: Any, column: str, *, nulls: bool = False) -> list[Any]:
    """A list of texts; a text that is a list in JSON, as in CSV; or a text alone."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            text = f"column {column!r} begins like a list, but is no list as JSON writes it"
            raise BadRow(text) from None
    found = value if isinstance(value, list) else [] if value is None else [value]
    texts = [_text(one, column) for one in found]
    if not nulls and None in texts:
        raise BadRow(f"column {column!r} must hold texts, but holds null")
    return texts


def _first(error: Exception) -> str:
    return str(error).replace("\n", " ")[:200]
