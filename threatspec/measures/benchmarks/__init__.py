"""Benchmarks from files, from hubs, and those that are only described."""

from __future__ import annotations

from pathlib import Path

from threatspec.measures.base import Benchmark
from threatspec.measures.benchmarks._descriptions import description_of
from threatspec.measures.benchmarks._files import (
    FileBenchmark,
    card_beside,
    file_benchmark,
    read_benchmark,
)
from threatspec.measures.benchmarks._hub import hub_benchmark
from threatspec.measures.benchmarks._named import absent, named_benchmark

__all__ = [
    "FileBenchmark",
    "absent",
    "benchmark_from",
    "card_beside",
    "description_of",
    "file_benchmark",
    "read_benchmark",
]


def benchmark_from(name: str, folder: Path, *, fetch: bool) -> Benchmark | None:
    """What `file:PATH`, `hf:REPO@REVISION` or the name of a description stands for; else None.

    Raises ThreatspecError TS-FILE-MISSING, TS-DATA, TS-GATED, TS-MISSING-EXTRA; SpecErrors.
    """
    if name.startswith("file:"):
        return file_benchmark(folder / name.removeprefix("file:"))
    if name.startswith("hf:"):
        return hub_benchmark(name, folder, fetch=fetch)
    return named_benchmark(name, folder, fetch=fetch)
