"""What the columns of somebody's file seem to be: known names, and values that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from threatspec.measures.base import Item
from threatspec.measures.benchmarks._splits import SPLITS
from threatspec.schema import HubFile

__all__ = ["flat", "is_own_format", "understood"]

Row = Mapping[str, Any]

_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "question_id", "behaviorid", "behavior_id", "uid", "qid", "row_id"),
    "prompt": (
        *("prompt", "question", "forbidden_prompt", "behavior", "instruction", "request", "goal"),
        *("query", "text", "input"),
    ),
    "turns": ("turns",),
    "split": ("split",),
    "cluster": ("cluster", "cluster_id", "group"),
    "category": (
        *("category", "semanticcategory", "semantic_category", "harm_category", "type", "topic"),
        *("subject",),
    ),
    "answer": ("answer", "completion"),
    "references": ("references", "accepted_answers"),
    "refusal": ("refusal",),
    "image": ("image", "image_path", "image_file"),
    "response": ("response", "reply", "model_response"),
    "label": ("label", "human_label"),
}
"""Names of columns by what they usually hold, the likeliest first."""
_CHOICES, _RIGHT = ("choices", "options"), ("right", "answer", "answer_index", "label", "target")
_LETTERED = ("A", "B", "C", "D", "E", "F")
_SLICES = {
    "prompt_style": "style", "style": "style", "domain": "domain", "source": "source",
    "functionalcategory": "function", "language": "language", "type": "type",
}  # fmt: skip
_SAMPLE = 200


def is_own_format(rows: Sequence[Row]) -> bool:
    """Whether rows are items already, column by column."""
    fields = set(Item.model_fields)
    return all({"id", "prompt"} <= set(row) <= fields for row in rows) and all(
        isinstance(row["id"], str) for row in rows
    )


def understood(rows: Sequence[Row], hub: HubFile | None = None) -> dict[str, Any]:
    """`columns`, and `right` where it matters, as a card would say them.

    Args:
        rows: all rows of a file.
        hub: how the file is read where its hub has it; used if it has these columns.
    """
    names = {str(name).casefold(): str(name) for row in rows[:_SAMPLE] for name in row}
    if hub is not None and hub.columns is not None:
        told = hub.columns.model_dump(mode="json", exclude_unset=True)
        own = set(names.values())
        if all(column.partition(".")[0] in own for column in flat(told)):
            return {"columns": told}
    columns, extra = _choices(names, rows)
    for field, known in _NAMES.items():
        found = next((names[name] for name in known if name in names), None)
        if found is not None and found not in flat(columns) and _fits(field, found, rows):
            columns[field] = found
    if "turns" in columns and "prompt" in columns:
        del columns["prompt" if not _all_text(columns["prompt"], rows) else "turns"]
    if "prompt" in columns and isinstance(_first(columns["prompt"], rows), Mapping):
        columns["prompt"] += ".text"
    slices = {
        key: names[name]
        for name, key in _SLICES.items()
        if name in names and names[name] not in flat(columns)
    }
    return {"columns": {**columns, **({"slices": slices} if slices else {})}, **extra}


def _choices(
    names: Mapping[str, str], rows: Sequence[Row]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Columns of given answers and of the right one, and how it is told."""
    listed = next((names[name] for name in _CHOICES if name in names), None)
    own = list(names.values())
    lettered = [name for name in _LETTERED if name in own]
    choices = [listed] if listed else lettered if len(lettered) > 1 else []
    right = next((names[name] for name in _RIGHT if name in names), None)
    if not choices or right is None:
        return {}, {}
    values = {str(row.get(right)).strip() for row in rows if row.get(right) is not None}
    return {"choices": choices, "right": right}, {"right": _told(values, len(choices))}


def _told(values: set[str], columns: int) -> str:
    if all(value.isdigit() for value in values):
        # Where nobody is the first, counting from one is as likely; 0 settles it.
        return "index" if "0" in values or columns < 2 else "number"
    return "letter" if all(len(v) == 1 and v.isalpha() for v in values) else "text"


def _fits(field: str, column: str, rows: Sequence[Row]) -> bool:
    """Whether values could be of a field, where a name alone may mean many things."""
    values = [row.get(column) for row in rows]
    if field == "split":
        return all(value in SPLITS for value in values)
    if field == "id":
        plain = all(isinstance(value, (str, int)) for value in values)
        return plain and len(set(map(str, values))) == len(values)
    if field == "label":
        return all(value is None or value in {"yes", "no"} for value in values)
    if field == "image":
        return all(value is None or isinstance(value, str) for value in values)
    if field == "turns":
        return all(value is None or isinstance(value, (list, str)) for value in values)
    return True


def _all_text(column: str, rows: Sequence[Row]) -> bool:
    return all(isinstance(row.get(column), str) for row in rows)


def _first(column: str, rows: Sequence[Row]) -> Any:
    return next((row[column] for row in rows if row.get(column) is not None), None)


def flat(columns: Mapping[str, Any]) -> list[str]:
    """Names of all columns that are read."""
    found: list[str] = []
    for value in columns.values():
        if isinstance(value, str):
            found.append(value)
        else:
            found += value.values() if isinstance(value, Mapping) else value
    return found
