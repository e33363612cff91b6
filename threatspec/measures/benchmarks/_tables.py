"""Rows of a file as mappings: JSON Lines and CSV, also packed by gzip or xz, and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from threatspec.errors import ThreatspecError

__all__ = ["SUFFIXES", "Line", "bad_line", "read_lines", "stem_of"]

SUFFIXES = (".jsonl", ".csv", ".parquet")
MOST_BYTES = 1 << 30
"""What a packed file may unpack to."""
_PACKED = (".gz", ".xz")

Line = tuple[int, dict[str, Any]]
"""Line of the file (row, in Parquet) from 1, and values by column; null is None."""


def read_lines(name: str, data: bytes) -> Iterator[Line]:
    """The rows of a file called `name`, in order; blank lines are no rows.

    Raises ThreatspecError TS-DATA for what is no row, TS-MISSING-EXTRA for Parquet without pyarrow.
    """
    suffix = _suffix(name)
    if suffix == ".parquet":
        return _parquet(name, data)
    plain = _unpacked(name, data)
    return _csv(name, plain) if suffix == ".csv" else _json_lines(name, plain)


def stem_of(name: str) -> str:
    """The name without what says its format: `a` of `a.jsonl.gz`."""
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    return PurePath(name).stem


def bad_line(name: str, number: int, problem: str) -> ThreatspecError:
    """TS-DATA for one line."""
    return ThreatspecError("TS-DATA", f"{name}:{number}: {problem}")


def _suffix(name: str) -> str:
    plain = name
    for packed in _PACKED:
        plain = plain.removesuffix(packed)
    suffix = PurePath(plain).suffix.lower()
    if suffix not in SUFFIXES or (suffix == ".parquet" and plain != name):
        text = f"a benchmark must be a file {', '.join(SUFFIXES)} (the first two also with .gz or "
        raise ThreatspecError("TS-DATA", f"{text}.xz), but got {name}")
    return suffix


def _unpacked(name: str, data: bytes) -> bytes:
    if not name.endswith(_PACKED):
        return data
    import gzip
    import lzma

    try:
        with (gzip if name.endswith(".gz") else lzma).open(io.BytesIO(data)) as packed:
            plain: bytes = packed.read(MOST_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ThreatspecError("TS-DATA", f"{name} cannot be unpacked: {error}") from None
    if len(plain) > MOST_BYTES:
        text = f"{name} must unpack to at most {MOST_BYTES} bytes, but has more"
        raise ThreatspecError("TS-DATA", text)
    return plain


def _json_lines(name: str, data: bytes) -> Iterator[Line]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line.decode("utf-8"), parse_constant=_no_number)
        except ValueError as error:
            raise bad_line(name, number, f"not an item: {error}") from None
        if not isinstance(entry, dict):
            raise bad_line(name, number, "not an item: it must be a mapping in braces")
        yield number, entry


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _csv(name: str, data: bytes) -> Iterator[Line]:
    """An empty cell is null, as CSV knows no other."""
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        text = f"{name} must be UTF-8, but is not: {error}"
        raise ThreatspecError("TS-DATA", text) from None
    header: list[str] | None = None
    for number, cells in _records(name, reader):
        if header is None:
            header = _header(name, number, cells) if cells else None
        elif cells and len(cells) != len(header):
            text = f"a row must have the {len(header)} cells of the header, but has {len(cells)}"
            raise bad_line(name, number, text)
        elif cells:
            yield number, {key: cell or None for key, cell in zip(header, cells, strict=True)}


def _records(name: str, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line that it starts in; one may reach over several."""
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise bad_line(name, start, f"not CSV: {error}") from None
        if cells is None:
            return
        yield start, cells


def _header(name: str, number: int, cells: list[str]) -> list[str]:
    if len(set(cells)) < len(cells) or not all(cells):
        raise bad_line(name, number, "names of columns must be there and unique, but are not")
    return cells


def _parquet(name: str, data: bytes) -> Iterator[Line]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        text = f"{name} is Parquet, which needs the extra 'data': "
        text += "pip install 'threatspec-claims[data]'"
        raise ThreatspecError("TS-MISSING-EXTRA", text) from None
    try:
        rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise ThreatspecError("TS-DATA", f"{name} must be Parquet, but: {first}") from None
    yield from enumerate(rows, start=1)
