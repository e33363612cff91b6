"""KubeRay's manifests: each field is one that KubeRay or Kubernetes has, and they fit together."""

from __future__ import annotations

import json
import shlex
from copy import deepcopy
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from threatspec.cli import cli
from threatspec.resources import shipped
from threatspec.runners import RayProfile, load_profile

FOLDER = shipped("runners") / "kuberay"
SCHEMA = json.loads(Path(__file__).with_name("kuberay.schema.json").read_text())
KINDS = {"rayjob": "RayJob", "raycluster": "RayCluster"}


def documents(name: str) -> dict[str, dict[str, Any]]:
    """The documents of a manifest by their kinds."""
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())}


def manifest(name: str) -> dict[str, Any]:
    """The one for KubeRay."""
    return documents(name)[KINDS[name]]


def cluster(name: str) -> dict[str, Any]:
    """The cluster that a manifest asks for."""
    spec: dict[str, Any] = manifest(name)["spec"]
    found: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return found


def templates(name: str) -> list[dict[str, Any]]:
    """Of its pods, the head's first."""
    spec = cluster(name)
    return [one["template"] for one in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def check_pod(template: dict[str, Any]) -> None:
    """Raises if Kubernetes would not take it."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
    kubernetes_validate.validate(pod, "1.33", strict=True)


def pinned_ray() -> str:
    """The version in the constraints."""
    lines = shipped("constraints.txt").read_text().splitlines()
    return next(line.removeprefix("ray==") for line in lines if line.startswith("ray=="))


@pytest.mark.parametrize("name", KINDS)
def test_kuberay_has_every_field(name: str) -> None:
    jsonschema.validate(manifest(name), SCHEMA)


@pytest.mark.parametrize("name", KINDS)
def test_kubernetes_has_every_field_of_the_pods(name: str) -> None:
    for template in templates(name):
        check_pod(template)


@pytest.mark.parametrize("name", KINDS)
def test_a_misspelt_field_is_caught(name: str) -> None:
    wrong = deepcopy(manifest(name))
    spec = wrong["spec"].get("rayClusterSpec", wrong["spec"])
    spec["workerGroupSpecs"][0]["replica"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
    template = deepcopy(templates(name)[0])
    template["spec"]["containers"][0]["envFro"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        check_pod(template)


@pytest.mark.parametrize("name", KINDS)
def test_versions_are_the_tested_ones(name: str) -> None:
    assert cluster(name)["rayVersion"] == pinned_ray()
    for template in templates(name):
        assert template["spec"]["containers"][0]["image"].endswith(f":ray-{pinned_ray()}")


@pytest.mark.parametrize("name", KINDS)
def test_no_pod_is_root_or_has_a_secret_in_it(name: str) -> None:
    for template in templates(name):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = template["spec"]["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        hub = next(one for one in container["env"] if one["name"] == "HF_TOKEN")
        assert "value" not in hub
        assert "secretKeyRef" in hub["valueFrom"]


def test_the_job_runs_its_profile_and_its_workers_fit(tmp_path: Path) -> None:
    job = manifest("rayjob")["spec"]
    path = tmp_path / "runner.yaml"
    path.write_text(documents("rayjob")["ConfigMap"]["data"]["runner.yaml"])
    profile = load_profile(str(path))
    assert isinstance(profile, RayProfile)
    assert profile.address == "auto"
    assert profile.storage  # or a second try would begin anew
    (group,) = cluster("rayjob")["workerGroupSpecs"]
    assert group["replicas"] == profile.workers
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["cpu"] == profile.resources.cpus
    assert limits["nvidia.com/gpu"] == profile.resources.gpus
    assert set(yaml.safe_load(job["runtimeEnvYAML"])) == {"env_vars"}
    assert "--exit-zero" in shlex.split(job["entrypoint"])


def test_the_files_of_the_job_are_mounted_in_the_head() -> None:
    command = shlex.split(manifest("rayjob")["spec"]["entrypoint"])
    head = templates("rayjob")[0]["spec"]
    mounts = {one["mountPath"]: one["name"] for one in head["containers"][0]["volumeMounts"]}
    maps = {one["name"]: one["configMap"]["name"] for one in head["volumes"]}
    runner = Path(command[command.index("--runner") + 1])
    settings = documents("rayjob")["ConfigMap"]
    assert maps[mounts[str(runner.parent)]] == settings["metadata"]["name"]
    assert runner.name in settings["data"]
    assert str(Path(command[2]).parent) in mounts


def test_the_job_is_called_with_options_that_there_are() -> None:
    program, verb, *options = shlex.split(manifest("rayjob")["spec"]["entrypoint"])
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    known = {text for one in command.params for text in one.opts}
    assert program == "threatspec"
    assert {option for option in options if option.startswith("--")} <= known


@pytest.mark.parametrize("name", KINDS)
def test_the_dashboard_is_where_profiles_look(name: str) -> None:
    profile = load_profile("cluster")
    assert isinstance(profile, RayProfile)
    ports = {one["containerPort"] for one in templates(name)[0]["spec"]["containers"][0]["ports"]}
    assert int(profile.dashboard.rsplit(":", 1)[1]) in ports


def test_manifests_are_no_profiles() -> None:
    shown = CliRunner().invoke(cli, ["list", "runners"])
    assert shown.exit_code == 0
    assert "cluster" in shown.output
    assert not any(name in shown.output for name in ("rayjob", "raycluster", "kuberay"))
