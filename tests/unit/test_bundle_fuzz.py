"""Any value of a bundle may be anything: it is refused or verified, and nothing else happens."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bundles import bundled, made_run, members, repacked, verified
from tests.support.specs import plan_of
from threatspec.errors import ThreatspecError
from threatspec.records import Execution
from threatspec.reports.bundle import diff

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**63, 10**30, 0.5, -0.0, 1e308, "", "x", "holds", "untouched", "\0",
    "asr <= 1", "specimen:deep", "path:/etc/passwd", "file:/etc/passwd#test", "hf:a/b@c",
    "9999-12-31",
    [], {}, [[]], ["x"], {"x": 1},
)  # fmt: skip
NAMES = ("plan.json", "results.jsonl", "verdict.json", "registration.json", "events.jsonl",
         "attempts.jsonl", "replies.jsonl", "marks.jsonl", "manifest.json")  # fmt: skip


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small campaign of which everything was read."""
    folder = tmp_path_factory.mktemp("fuzz")
    plan = plan_of(
        folder / "spec", {"claims.0.seeds.replicates": 1}, execution=Execution(exhaustive=True)
    )
    return members(bundled(folder, made_run(folder, plan=plan)))


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32), edits=st.integers(1, 3))
def test_odd_values_are_refused_or_verified(
    content: dict[str, bytes], name: str, seed: int, edits: int
) -> None:
    chooser = random.Random(seed)
    changed = {**content, name: _edited(content[name], name, chooser, edits)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tsb"
        try:
            verified(repacked(path, changed))
            diff(path, path)
        except ThreatspecError as error:
            assert error.code == "TS-BUNDLE"  # noqa: PT017 - either is right
        except (KeyError, TypeError, AttributeError):
            if name != "manifest.json":  # which `repacked` could not read itself
                raise


def _edited(data: bytes, name: str, chooser: random.Random, edits: int) -> bytes:
    lines = data.splitlines() if name.endswith(".jsonl") else [data]
    for _ in range(edits):
        n = chooser.randrange(len(lines))
        document = json.loads(lines[n])
        _edit(document, chooser)
        lines[n] = json.dumps(document).encode()
    return b"\n".join(lines) + b"\n"


def _edit(value: Any, chooser: random.Random) -> None:
    """Change one place, more likely one near the top."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chooser.choice(keys)
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and chooser.random() < 0.8:
            value = inner
            continue
        if chooser.random() < 0.3:
            del value[key]
        else:
            value[key] = chooser.choice(ODD)
        return
