"""JSON of others: only plain UTF-8, finite numbers, unique keys, and nothing too deep or too big.

What two programs could read in two ways is refused, not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from threatspec.reports.bundle._format import (
    MAX_DEPTH,
    MAX_LINE_VALUES,
    MAX_VALUES,
    refused,
    values_in,
)
from threatspec.schema import Model

__all__ = ["parse", "parse_lines", "plain"]

M = TypeVar("M", bound=Model)


def parse(model: type[M], data: bytes, where: str) -> M:
    """A document as a model. Raises ThreatspecError TS-BUNDLE."""
    plain(data, where)
    return _validated(model, data, where)


def plain(data: bytes, where: str) -> Any:
    """A document as plain data. Raises ThreatspecError TS-BUNDLE."""
    if values_in(data) > MAX_VALUES:
        raise _too_many(where, MAX_VALUES)
    return _looked_at(_text(data, where), where)


def parse_lines(model: type[M], lines: Iterable[bytes], where: str) -> Iterator[M]:
    """A document on each line, all of them together within the limit of one document."""
    values = 0
    for number, line in enumerate(lines, start=1):
        values += values_in(line)
        if values > MAX_LINE_VALUES:
            raise _too_many(where, MAX_LINE_VALUES)
        yield parse(model, line, f"{where}:{number}")


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refused(f"{where} must be UTF-8 text", f"{error.reason}") from None


def _looked_at(text: str, where: str) -> Any:
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:
        raise refused(f"{where} must be JSON", _first(error)) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(found) > MAX_DEPTH:
        raise _too_deep(where)
    return found


def _depth(value: Any) -> int:
    deepest, left = 0, [(value, 1)]
    while left:
        at, depth = left.pop()
        deepest = max(deepest, depth)
        inner = at.values() if isinstance(at, dict) else at if isinstance(at, list) else ()
        left += [(one, depth + 1) for one in inner if isinstance(one, (dict, list))]
    return deepest


def _validated(model: type[M], data: bytes, where: str) -> M:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise refused(
            f"{where} must be as this program writes it", f"at {place!r}: {first['msg']}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise refused(f"{where} must be as this program writes it", _first(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one mapping")
    return found


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _too_many(where: str, most: int) -> Exception:
    return refused(f"{where} must hold at most {most:,} values", "it holds more")


def _too_deep(where: str) -> Exception:
    return refused(f"{where} must nest at most {MAX_DEPTH} deep", "it nests deeper")


_DECODER = json.JSONDecoder(parse_constant=_not_finite, object_pairs_hook=_unique)
