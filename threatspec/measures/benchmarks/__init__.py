"""Benchmarks from files, from hubs, and those that are only described."""

from __future__ import annotations

from pathlib import Path

from threatspec.measures.base import Benchmark
from threatspec.measures.benchmarks._audit import Audit, audited
from threatspec.measures.benchmarks._cards import Added, card_of, card_text
from threatspec.measures.benchmarks._descriptions import description_of, shipped
from threatspec.measures.benchmarks._files import FileBenchmark, card_beside, file_benchmark
from threatspec.measures.benchmarks._find import copies_of
from threatspec.measures.benchmarks._folders import FolderBenchmark, folder_benchmark
from threatspec.measures.benchmarks._hub import hub_benchmark
from threatspec.measures.benchmarks._looks import Looks, looks_like
from threatspec.measures.benchmarks._named import absent, named_benchmark

__all__ = [
    "Added",
    "Audit",
    "FileBenchmark",
    "FolderBenchmark",
    "Looks",
    "absent",
    "audited",
    "benchmark_from",
    "card_beside",
    "card_of",
    "card_text",
    "copies_of",
    "description_of",
    "file_benchmark",
    "folder_benchmark",
    "looks_like",
    "shipped",
]


def benchmark_from(name: str, folder: Path, *, fetch: bool) -> Benchmark | None:
    """What `file:PATH`, `hf:REPO@REVISION`, a folder of images (`cifar10:PATH`) or the name of a
    description stands for; else None.

    Raises ThreatspecError TS-FILE-MISSING, TS-DATA, TS-GATED, TS-IMAGE, TS-MISSING-EXTRA;
    SpecErrors.
    """
    if name.startswith("file:"):
        return file_benchmark(folder / name.removeprefix("file:"), folder)
    if (of_folder := folder_benchmark(name, folder)) is not None:
        return of_folder
    if name.startswith("hf:"):
        return hub_benchmark(name, folder, fetch=fetch)
    return named_benchmark(name, folder, fetch=fetch)
