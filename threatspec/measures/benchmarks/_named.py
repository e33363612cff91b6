"""Copies of described benchmarks: used by the name of the description once a card says so."""

from __future__ import annotations

from pathlib import Path

from threatspec.measures.benchmarks._descriptions import description_of, not_here
from threatspec.measures.benchmarks._files import FileBenchmark, file_benchmark
from threatspec.measures.benchmarks._find import copies_of, one_of
from threatspec.measures.benchmarks._hub import absent_hub, hub_benchmark
from threatspec.schema import DescriptionCard

__all__ = ["absent", "named_benchmark"]


def named_benchmark(name: str, place: Path, *, fetch: bool) -> FileBenchmark | None:
    """The copy of the benchmark that is described as `name`; None if nothing ships or is described.

    Raises ThreatspecError TS-GATED or TS-DATA with the way to get a copy; whatever reading raises.
    """
    about = description_of(name, place)
    if about is None or about.obtain is None:
        return None
    found = copies_of(name, place)
    if not found:
        raise not_here(about)
    path, card = one_of(name, found)
    if card.data_set is not None:
        return hub_benchmark(card.data_set, place, fetch=fetch)
    return file_benchmark(path.parent / card.file, place)


def absent(name: str, place: Path) -> DescriptionCard | None:
    """The description of a benchmark of which no copy is here; None if one is, or none is known.

    Raises SpecErrors if the workspace has a description or a card that is wrong.
    """
    if name.startswith("hf:"):
        return absent_hub(name, place)
    about = description_of(name, place)
    if about is None or about.obtain is None:
        return about
    found = copies_of(name, place)
    data_set = found[0][1].data_set if len(found) == 1 else None
    if data_set is not None:
        return absent_hub(data_set, place)
    return None if found else about
