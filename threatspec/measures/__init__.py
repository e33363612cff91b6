"""Benchmarks and judges: what is asked, and who decides whether a reply counts."""

from __future__ import annotations

from pathlib import Path

from threatspec.measures._replies import looks_of
from threatspec.measures.base import (
    BENCHMARKS,
    DEV_SPLIT,
    JUDGES,
    Benchmark,
    Item,
    Judge,
    JudgeConfig,
    Judgement,
    Response,
)

__all__ = [
    "BENCHMARKS",
    "DEV_SPLIT",
    "JUDGES",
    "Benchmark",
    "Item",
    "Judge",
    "JudgeConfig",
    "Judgement",
    "Response",
    "benchmark",
    "looks_of",
]


def benchmark(name: str, folder: Path) -> Benchmark:
    """The benchmark called `name`, or the one in `file:PATH.jsonl` with PATH relative to `folder`.

    Raises ThreatspecError TS-UNKNOWN-BENCHMARK, TS-FILE-MISSING or TS-DATA.
    """
    if name.startswith("file:"):
        from threatspec.measures._files import file_benchmark

        return file_benchmark(folder / name.removeprefix("file:"))
    return BENCHMARKS.get(name)
