"""Campaigns on real Ray clusters of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.specs import ABSENT, scoped, spec_data
from tests.support.trouble import install

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")

TINY: dict[str, Any] = spec_data(
    scoped(
        {
            "claims.0.id": "tiny",
            "claims.0.provided": "utility >= 0.5",
            "claims.0.counts_if": "utility >= 0.1",
            "adversaries.tuner.attacks": [{"use": "full-finetune", "lr": 1e-4, "steps": 60}],
            "adversaries.tuner.compute": ABSENT,
        }
    )
)
"""Some forty trials where every prompt is read."""

Spec = Callable[..., Path]
Profile = Callable[..., Path]


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Writes the tiny campaign, with other attacks and replicates where they are given."""

    def write(*attacks: dict[str, Any] | str, replicates: int = 2) -> Path:
        data = yaml.safe_load(yaml.safe_dump(TINY))
        if attacks:
            data["adversaries"]["tuner"]["attacks"] = list(attacks)
        [claim] = data["claims"]
        used = data["adversaries"]["tuner"]["attacks"]
        claim["scope"]["families"] = sorted({a if isinstance(a, str) else a["use"] for a in used})
        if not any("finetune" in kind for kind in claim["scope"]["families"]):
            del claim["scope"]["trainer"], claim["scope"]["data"]
        claim["seeds"]["replicates"] = claim["scope"]["replicates"] = replicates
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    """Writes a profile of kind ray."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump({"schema": "threatspec/runner/v1", "kind": "ray", **fields}))
        return path

    return write


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacks of `tests.support.trouble`, for processes that are started now."""
    site = install(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    return
