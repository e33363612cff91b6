"""Benchmarks and judges: what is asked, and who decides whether a reply counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from threatspec.measures._judge_subject import (
    JudgeSubject,
    check_subject,
    describe_subject,
    judge_use,
)
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
    "JudgeSubject",
    "Judgement",
    "Response",
    "benchmark",
    "check_subject",
    "describe_subject",
    "judge_of",
    "judge_use",
    "judgements",
    "looks_of",
    "rows_of",
]


def benchmark(name: str, folder: Path, *, fetch: bool = True) -> Benchmark:
    """The benchmark called `name`; files and cards are looked for in or around `folder`.

    Args:
        name: what ships or is installed, the name of a description that a card in the workspace is
            a copy of, `file:PATH` relative to `folder`, `hf:REPO@REVISION`, or a folder of images
            (`cifar10:PATH`, relative to `folder`).
        folder: that of the claims file.
        fetch: whether a data set may be fetched from its hub; if not, only the cache is looked at.

    Raises ThreatspecError TS-UNKNOWN-BENCHMARK, TS-FILE-MISSING, TS-DATA, TS-GATED, TS-IMAGE,
    TS-MISSING-EXTRA; SpecErrors for a wrong card.
    """
    if name not in BENCHMARKS.names():
        from threatspec.measures.benchmarks import benchmark_from

        found = benchmark_from(name, folder, fetch=fetch)
        if found is not None:
            return found
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
