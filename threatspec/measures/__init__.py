"""Benchmarks and judges: what is asked, and who decides whether a reply counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from threatspec.measures._replies import looks_of
from threatspec.measures._rows import judgements, rows_of
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
from threatspec.schema import JudgeUse

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
    "judge_of",
    "judgements",
    "looks_of",
    "rows_of",
]


def benchmark(name: str, folder: Path) -> Benchmark:
    """The benchmark called `name`, or the one in `file:PATH.jsonl` with PATH relative to `folder`.

    Raises ThreatspecError TS-UNKNOWN-BENCHMARK, TS-FILE-MISSING or TS-DATA.
    """
    if name.startswith("file:"):
        from threatspec.measures._files import file_benchmark

        return file_benchmark(folder / name.removeprefix("file:"))
    return BENCHMARKS.get(name)


def judge_of(use: JudgeUse | dict[str, Any], folder: Path) -> tuple[Judge, Any]:
    """A judge and its settings, files looked for in `folder`.

    Args:
        use: as the spec has it, or as plain data (`{"use": ..., "settings": {...}}`).
        folder: that of the claims file.

    Raises ThreatspecError TS-UNKNOWN-JUDGE; ValueError for settings that it does not have.
    """
    used = use if isinstance(use, JudgeUse) else JudgeUse.model_validate(use)
    judge = JUDGES.get(used.use)
    config = judge.Config.model_validate_json(json.dumps(used.settings))
    return judge, judge.located(config, folder)
