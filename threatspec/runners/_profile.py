"""Runner profiles: where and how a campaign runs (`runners/*.yaml`). They never change a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from threatspec.errors import ExitCode, ThreatspecError, did_you_mean
from threatspec.loading import load_model, read_document
from threatspec.resources import shipped
from threatspec.schema import Described

__all__ = ["LocalProfile", "Profile", "RayProfile", "Resources", "load_profile"]

_ALIASES = {"ray": "ray-local"}


class _Profile(Described):
    format: Literal["threatspec/runner/v1"] = Field(default="threatspec/runner/v1", alias="schema")
    kind: Literal["local", "ray"] = "local"
    """Worker processes on this machine, or on a Ray cluster."""
    workers: int = Field(default=2, ge=1, le=10_000)
    """Processes, each with resident subjects of its own."""
    trial_timeout_s: float = Field(default=900, gt=0)
    """Seconds after which a trial counts as hung."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts after a lost worker or a hung trial; errors of work are never retried."""
    speculation: float = Field(default=0, ge=0)
    """An idle worker repeats a trial that takes this many times as long as trials of its kind did
    (median); the first result counts. 0: never."""
    keep_artefacts: bool = False
    """Keep tampered weights after they were measured."""
    storage: str | None = None
    """Path or fsspec URL where records and tampered weights are kept, so that a lost machine loses
    no campaign; absent: the results folder only."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    """Where subjects are loaded: `auto` is a GPU if the worker has one."""
    price_per_hour: float | None = Field(default=None, ge=0)
    """USD for one hour of one worker."""
    flops_per_second: float = Field(default=20_000_000_000, gt=0)
    """Assumed rate of one worker, for the times that `plan` prints."""

    def hours(self, flops: float) -> float:
        """Worker-hours that so many floating-point operations take."""
        return flops / self.flops_per_second / 3600

    def usd(self, hours: float) -> float | None:
        """Price of worker-hours; None if the profile has no price."""
        return None if self.price_per_hour is None else hours * self.price_per_hour


class LocalProfile(_Profile):
    """Worker processes on this machine."""

    kind: Literal["local"] = "local"


class Resources(Described):
    """What one worker takes of the cluster."""

    cpus: float = Field(default=1, ge=0)
    """Logical CPUs."""
    gpus: float = Field(default=0, ge=0)
    """GPUs; a fraction lets several workers share one, whole numbers above 1 need `device_map`."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory in GiB."""
    custom: dict[str, float] = Field(default_factory=dict)
    """Custom resources of the cluster."""

    @property
    def named(self) -> dict[str, float]:
        """As Ray names them; memory in bytes."""
        memory = {} if self.memory_gib is None else {"memory": self.memory_gib * 2**30}
        found = {"CPU": self.cpus, "GPU": self.gpus, **memory, **self.custom}
        return {name: amount for name, amount in found.items() if amount}


class RayProfile(_Profile):
    """Resident workers on a Ray cluster."""

    kind: Literal["ray"]
    speculation: float = Field(default=4, ge=0)
    address: str = "local"
    """`local` starts a cluster on this machine for the run; `auto` is the one this machine belongs
    to; else the head's `HOST:PORT`."""
    dashboard: str = "http://127.0.0.1:8265"
    """Where the cluster takes jobs (`threatspec submit`)."""
    namespace: str = "threatspec"
    """Ray namespace of the workers."""
    resources: Resources = Resources()
    """What each worker takes."""
    placement: Literal["spread", "pack"] = "spread"
    """How workers are laid over nodes."""
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = None
    """How one subject is laid over a worker's GPUs; the GPUs are reserved on one node."""
    wait_s: float = Field(default=60, ge=0)
    """Seconds to wait for a worker's resources, and for the address to answer."""
    auth: Literal["none", "token"] = "none"
    """`token`: the cluster asks for Ray's token, which Ray reads from its environment or file."""
    install: bool = False
    """Install this machine's versions of libraries on the cluster; else those there are used."""
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    """Further fields of Ray's runtime environment."""

    @model_validator(mode="after")
    def _gpus_fit(self) -> RayProfile:
        gpus = self.resources.gpus
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus above 1 must be a whole number, but is {gpus:g}")
        if gpus > 1 and self.device_map is None:
            raise ValueError(f"{gpus:g} GPUs per worker need a device_map, e.g. device_map: auto")
        if self.device_map and gpus < 1:
            raise ValueError("device_map needs at least one whole GPU per worker")
        return self


Profile = LocalProfile | RayProfile


def load_profile(name: str) -> Profile:
    """The profile in `runners/NAME.yaml`, or in the file called `name`.

    Raises ThreatspecError TS-UNKNOWN-NAME, SpecErrors for what is wrong in the file.
    """
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = shipped("runners") / f"{_ALIASES.get(name, name)}.yaml"
    if not path.exists():
        known = [*_ALIASES, *(file.stem for file in shipped("runners").glob("*.yaml"))]
        text = f"unknown runner {name!r}{did_you_mean(name, known)}"
        raise ThreatspecError("TS-UNKNOWN-NAME", text, exit_code=ExitCode.USAGE)
    kind = read_document(path).data.get("kind", "local")
    if kind not in ("local", "ray"):
        load_model(_Profile, path)  # which says what the kinds are
    return load_model(RayProfile, path) if kind == "ray" else load_model(LocalProfile, path)
