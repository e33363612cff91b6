"""Runner profiles: where and how a campaign runs (`runners/*.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from threatspec.errors import ExitCode, ThreatspecError, did_you_mean
from threatspec.loading import load_model
from threatspec.resources import shipped
from threatspec.schema import Described

__all__ = ["LocalProfile", "load_profile"]


class LocalProfile(Described):
    """Worker processes on this machine."""

    format: Literal["threatspec/runner/v1"] = Field(default="threatspec/runner/v1", alias="schema")
    kind: Literal["local"] = "local"
    workers: int = Field(default=2, ge=1, le=256)
    """Processes, each with its own resident subjects."""
    trial_timeout_s: float = Field(default=900, gt=0)
    """Seconds after which a trial counts as hung."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts after a lost worker or a hung trial; errors of work are never retried."""
    keep_artefacts: bool = False
    """Keep tampered weights after they were measured."""


def load_profile(name: str) -> LocalProfile:
    """The profile in `runners/NAME.yaml`, or in the file called `name`."""
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = shipped("runners") / f"{name}.yaml"
    if not path.exists():
        known = [file.stem for file in shipped("runners").glob("*.yaml")]
        text = f"unknown runner {name!r}{did_you_mean(name, known)}"
        raise ThreatspecError("TS-UNKNOWN-NAME", text, exit_code=ExitCode.USAGE)
    return load_model(LocalProfile, path)
