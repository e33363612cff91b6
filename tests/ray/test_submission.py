"""A campaign as a job of a real head, through its job server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ray.conftest import TINY
from tests.support.campaigns import answered, measured, threatspec
from tests.support.ray_heads import Head, start_head
from threatspec.runners.submission import read_submission

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with start_head(jobs=True) as found:
        yield found


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with the tiny campaign and something that is not to travel."""
    folder = tmp_path / "workspace"
    (folder / "claims").mkdir(parents=True)
    (folder / "threatspec.yaml").write_text("schema: threatspec/workspace/v1\n")
    (folder / ".gitignore").write_text("big.bin\n")
    (folder / "big.bin").write_bytes(b"0" * 1000)
    (folder / "claims" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return folder


def cluster(tmp_path: Path, head: Head, **more: Any) -> Path:
    data = {
        "schema": "threatspec/runner/v1", "kind": "ray", "address": head.address,
        "dashboard": head.dashboard, "storage": str(tmp_path / "storage"), "workers": 1,
        "wait_s": 30, "price_per_hour": 2.0, **more,
    }  # fmt: skip
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def finished(out: Path) -> dict[str, Any]:
    for _ in range(180):
        told = json.loads(threatspec("status", out, "--json").stdout)
        if told["job"]["state"] in {"SUCCEEDED", "FAILED", "STOPPED"}:
            return told
        time.sleep(1)
    raise AssertionError("the job did not end")


def test_submitted_watched_fetched_and_verified(
    head: Head, workspace: Path, tmp_path: Path
) -> None:
    out, profile = tmp_path / "run", cluster(tmp_path, head)
    spec = workspace / "claims" / "tiny.yaml"
    made = threatspec("submit", spec, "--profile", profile, "--out", out)
    assert made.returncode == 0, made.stdout + made.stderr
    again = threatspec("submit", spec, "--profile", profile, "--out", out, "--json")
    assert json.loads(again.stdout)["attached"] is True, "one plan runs once"
    told = finished(out)
    logs = threatspec("logs", out).stdout
    assert told["job"]["state"] == "SUCCEEDED", logs
    assert "tiny" in logs
    assert told["progress"]["finished"] == told["progress"]["total"]
    assert [w["lost"] for w in told["progress"]["workers"]] == [0]
    assert "USD" in threatspec("status", out).stdout
    got = threatspec("fetch", out, "--json")
    assert got.returncode == 1, got.stderr
    [claim] = json.loads(got.stdout)["claims"]
    assert claim["verdict"] == "REFUTED"
    assert threatspec("verify", out / "run.tsb").returncode == 1
    here = tmp_path / "here"
    assert threatspec("run", spec, "--out", here).returncode == 1
    assert measured(out) == measured(here)
    ended = threatspec("cancel", out)
    assert "has ended already: SUCCEEDED" in ended.stdout
    later = threatspec("submit", spec, "--profile", profile, "--out", out, "--json")
    assert json.loads(later.stdout)["job"].endswith("-2"), "a job that ended is not attached to"
    assert finished(out)["job"]["state"] == "SUCCEEDED"
    assert threatspec("fetch", out).returncode == 1
    assert measured(out) == measured(here)


def test_cancelled_and_gone_on_with_elsewhere(head: Head, workspace: Path, tmp_path: Path) -> None:
    out, profile = tmp_path / "run", cluster(tmp_path, head)
    spec = workspace / "claims" / "tiny.yaml"
    made = threatspec("submit", spec, "--profile", profile, "--out", out, "--exhaustive")
    assert made.returncode == 0, made.stderr
    plan = read_submission(out).plan
    segments = tmp_path / "storage" / plan / "segments"
    for _ in range(100):
        if len(list(segments.glob("*.gz"))) > 1:
            break
        time.sleep(0.5)
    partly = threatspec("fetch", out, "--json")
    assert json.loads(partly.stdout)["claims"][0]["verdict"] != "SUPPORTED"
    cancelled = threatspec("cancel", out)
    assert cancelled.returncode == 0, cancelled.stderr
    assert "STOPPED" in cancelled.stdout
    assert threatspec("fetch", out).returncode in {1, 5, 6, 7}
    from_here = threatspec("resume", out)
    assert from_here.returncode == 1, from_here.stderr
    plain = tmp_path / "plain"
    assert threatspec("run", spec, "--out", plain, "--exhaustive").returncode == 1
    assert measured(out) == measured(plain)
    assert answered(out)["claims"][0]["verdict"] == "REFUTED"


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"version": "2.51.0"}, "the cluster runs Ray 2.51.0 on Python 3."),
        ({"python": "3.9.1"}, f"the cluster runs Ray {version('ray')} on Python 3.9.1"),
    ],
)
def test_a_head_of_another_version(
    workspace: Path, tmp_path: Path, versions: dict[str, str], said: str
) -> None:
    spec = workspace / "claims" / "tiny.yaml"
    with start_head(jobs=True, **versions) as old:
        runner = cluster(tmp_path, old)
        made = threatspec("submit", spec, "--profile", runner, "--out", tmp_path / "run")
        done = threatspec("run", spec, "--runner", runner, "--out", tmp_path / "run")
    for refused in (made, done):
        assert refused.returncode == 3
        assert said in refused.stderr
        assert "TS-RUNNER-VERSION" in refused.stderr


def test_a_token_is_asked_for_and_stands_nowhere(workspace: Path, tmp_path: Path) -> None:
    token = "a-token-of-" + "this-test" * 4
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    spec, out = workspace / "claims" / "tiny.yaml", tmp_path / "run"
    with start_head(jobs=True, environment=secret) as head:
        without = cluster(tmp_path, head)
        refused = threatspec("submit", spec, "--profile", without, "--out", out)
        assert refused.returncode == 3
        assert "TS-RUNNER-AUTH" in refused.stderr
        given = {**os.environ, "RAY_AUTH_TOKEN": token}
        profile = cluster(tmp_path, head, auth="token")
        made = threatspec("submit", spec, "--profile", profile, "--out", out, env=given)
        assert made.returncode == 0, made.stderr
        for _ in range(120):
            told = json.loads(threatspec("status", out, "--json", env=given).stdout)
            if told["job"]["state"] in {"SUCCEEDED", "FAILED"}:
                break
            time.sleep(1)
        printed = threatspec("logs", out, env=given).stdout
        assert told["job"]["state"] == "SUCCEEDED", printed
        fetched = threatspec("fetch", out, env=given)
    assert fetched.returncode == 1, fetched.stderr
    kept = [path for folder in (out, tmp_path / "storage") for path in folder.rglob("*")]
    texts = [path.read_bytes() for path in kept if path.is_file()]
    texts += [t.encode() for t in (printed, made.stdout, made.stderr, fetched.stdout)]
    assert texts
    assert not any(token.encode() in text for text in texts)


def test_no_job_server(workspace: Path, tmp_path: Path, head: Head) -> None:
    profile = cluster(tmp_path, head, dashboard="http://127.0.0.1:9", wait_s=1)
    made = threatspec(
        "submit", workspace / "claims" / "tiny.yaml", "--profile", profile, "--out", tmp_path / "x"
    )
    assert made.returncode == 3
    assert "no job server answers at http://127.0.0.1:9 (waited 1 s)" in made.stderr


def test_a_profile_without_storage_takes_no_submissions(
    workspace: Path, tmp_path: Path, head: Head
) -> None:
    profile = cluster(tmp_path, head, storage=None)
    spec = workspace / "claims" / "tiny.yaml"
    made = threatspec("submit", spec, "--profile", profile, "--out", tmp_path / "x")
    assert made.returncode == 4
    assert "must have a `storage`" in made.stderr
    local = threatspec("submit", spec, "--profile", "local", "--out", tmp_path / "x")
    assert local.returncode == 4
    assert "kind ray" in local.stderr


def test_a_folder_without_a_submission(tmp_path: Path) -> None:
    for verb in ("logs", "fetch", "cancel"):
        done = threatspec(verb, tmp_path)
        assert done.returncode == 4
        assert "TS-SUBMISSION" in done.stderr
    assert threatspec("status", tmp_path).returncode == 4
