"""Benchmarks and judges: what is asked, and who decides whether a reply counts."""

from __future__ import annotations

from pathlib import Path

from threatspec.measures._replies import looks_of
from threatspec.measures.base import (
    BENCHMARKS,
    JUDGES,
    Benchmark,
    Item,
    Judge,
    JudgeConfig,
    Judgement,
    Response,
)
from threatspec.schema import content_id

__all__ = [
    "BENCHMARKS",
    "JUDGES",
    "Benchmark",
    "Item",
    "Judge",
    "JudgeConfig",
    "Judgement",
    "Response",
    "benchmark",
    "looks_of",
    "reading_order",
]


def reading_order(found: Benchmark, split: str) -> tuple[tuple[Item, ...], ...]:
    """Items of a split, cluster by cluster, in a random order that the content alone decides.

    Whoever stops reading early has read a random sample, and everybody reads the same one.
    """
    clusters: dict[str, list[Item]] = {}
    for item in found.items(split):
        clusters.setdefault(item.cluster, []).append(item)
    ordered = sorted(clusters, key=lambda name: content_id("order", [found.digest, split, name]))
    return tuple(tuple(clusters[name]) for name in ordered)


def benchmark(name: str, folder: Path) -> Benchmark:
    """The benchmark called `name`, or the one in `file:PATH.jsonl` with PATH relative to `folder`.

    Raises ThreatspecError TS-UNKNOWN-BENCHMARK, TS-FILE-MISSING or TS-DATA.
    """
    if name.startswith("file:"):
        from threatspec.measures._files import file_benchmark

        return file_benchmark(folder / name.removeprefix("file:"))
    return BENCHMARKS.get(name)
