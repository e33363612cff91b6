"""A campaign on a cluster gives what it gives on one machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray.conftest import Profile, Spec
from tests.support.campaigns import ROOT, answered, attempts, measured, threatspec
from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.records import Ledger
from threatspec.runners import RayProfile, load_profile
from threatspec.runners._profile import Resources

pytestmark = pytest.mark.campaign


def test_local_and_ray_with_one_and_two_workers_give_equal_rows_and_verdicts(
    spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    path = spec("prefill", {"use": "lora-finetune", "lr": 1e-3, "steps": 20})
    runs = {"local": "local", "two": "ray", "one": profile(workers=1)}
    for name, runner in runs.items():
        done = threatspec("run", path, "--out", tmp_path / name / "run", "--runner", runner)
        assert done.returncode == 1, done.stdout + done.stderr
    local = tmp_path / "local" / "run"
    for name in ("one", "two"):
        assert measured(tmp_path / name / "run") == measured(local)
        assert answered(tmp_path / name / "run") == answered(local)
    assert {a["worker"] for a in attempts(tmp_path / "two" / "run")} == {"worker-1", "worker-2"}
    assert not (tmp_path / "two" / "run" / "artefacts").exists()


def test_a_run_is_resumed_on_another_runner(spec: Spec, profile: Profile, tmp_path: Path) -> None:
    path, out = spec(), tmp_path / "run"
    priced = profile(kind="local", price_per_hour=3600)
    assert threatspec("run", path, "--out", out, "--runner", priced, "--max-usd", 1).returncode == 3
    assert threatspec("resume", out, "--runner", "ray").returncode == 1
    plain = tmp_path / "plain"
    assert threatspec("run", path, "--out", plain).returncode == 1
    assert measured(out) == measured(plain)


def test_gpus_of_one_worker_are_reserved_together(
    spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    """The cluster is told of GPUs that it does not have: placement is what is looked at."""
    needs = {"cpus": 1, "gpus": 2}
    runner = profile(workers=2, device="cpu", device_map="auto", resources=needs)
    code = f"""
import ray
from threatspec import api
ray.init(num_cpus=2, num_gpus=4, include_dashboard=False, log_to_driver=False)
api.run({str(spec())!r}, out={str(tmp_path / "run")!r}, runner={str(runner)!r})
from ray.util import placement_group_table
groups = list(placement_group_table().values())
assert len(groups) == 2, groups
assert all(list(g["bundles"].values()) == [{{"CPU": 1.0, "GPU": 2.0}}] for g in groups), groups
assert all(g["strategy"] == "STRICT_PACK" for g in groups), groups
assert ray.is_initialized(), "a connection that was there is left open"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert {a["worker"] for a in attempts(tmp_path / "run")} == {"worker-1", "worker-2"}


def test_starts_are_recorded_with_their_nodes(spec: Spec, tmp_path: Path) -> None:
    assert threatspec("run", spec(), "--out", tmp_path, "--runner", "ray").returncode == 1
    with Ledger.open(tmp_path) as ledger:
        starts = ledger.events("worker-started")
    assert {start["worker"] for start in starts} == {"worker-1", "worker-2"}
    assert all(len(start["node"]) == 56 and start["pid"] > 0 for start in starts)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"resources": {"gpus": 1.5}}, "whole number"),
        ({"resources": {"gpus": 2}}, "device_map"),
        ({"device_map": "auto"}, "at least one whole GPU"),
        ({"wokers": 3}, "did you mean 'workers'?"),
        ({"kind": "kubernetes"}, "local"),
        ({"resources": {"cpu": 3}}, "did you mean 'cpus'?"),
        ({"wait_s": -1}, "wait_s"),
    ],
)
def test_a_profile_that_cannot_be_meant(
    profile: Profile, fields: dict[str, object], text: str
) -> None:
    with pytest.raises(SpecErrors) as caught:
        load_profile(str(profile(**fields)))
    assert text in str(caught.value)


def test_ray_is_short_for_a_cluster_of_this_machine() -> None:
    found = load_profile("ray")
    assert isinstance(found, RayProfile)
    assert (found.address, found.workers) == ("local", 2)
    with pytest.raises(ThreatspecError, match="did you mean 'ray'"):
        load_profile("rai")


def test_resources_are_named_as_ray_does() -> None:
    needs = Resources(cpus=2, gpus=0.5, memory_gib=1, custom={"fast-disk": 1})
    assert needs.named == {"CPU": 2, "GPU": 0.5, "memory": 2**30, "fast-disk": 1}
