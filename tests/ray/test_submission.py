"""A campaign as a job of a real head, through its job server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

import threatspec as ts
from tests.ray.conftest import TINY
from tests.support.campaigns import answered, measured, threatspec
from tests.support.ray_heads import Head, start_head
from threatspec.runners import RayProfile, load_profile
from threatspec.runners.submission import JobServer, Submission, read_submission
from threatspec.runners.submission._pack import pack_program

pytestmark = pytest.mark.campaign

NOBODY = "http://127.0.0.1:9"


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


def load_ray(path: Path) -> RayProfile:
    found = load_profile(str(path))
    assert isinstance(found, RayProfile)
    return found


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
    profile = cluster(tmp_path, head, storage=str(tmp_path / "elsewhere"))
    again = threatspec("submit", spec, "--profile", profile, "--out", out, "--json")
    assert json.loads(again.stdout)["attached"] is True, "one plan runs once"
    assert read_submission(out).storage == str(tmp_path / "storage"), "where the job writes"
    profile = cluster(tmp_path, head)
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
    status_needs_no_progress_file(here)
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


def test_the_job_runs_the_program_that_was_sent(
    head: Head, workspace: Path, tmp_path: Path
) -> None:
    """A changed copy makes another plan, and its job runs just that plan: not what is installed."""
    package = pack_program(tmp_path / "program")
    attack = package / "attacks" / "full_finetune.py"
    attack.write_text(attack.read_text() + "\nCHANGED = 1\n")
    spec, out = workspace / "claims" / "tiny.yaml", tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    command = ["-P", "-m", "threatspec", "submit", spec, "--out", out, "--profile"]
    made = subprocess.run(
        [sys.executable, *map(str, command), str(cluster(tmp_path, head))],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    submission = read_submission(out)
    assert submission.plan != ts.plan(spec).id
    told = finished(out)
    assert told["job"]["state"] == "SUCCEEDED", threatspec("logs", out).stdout
    assert told["progress"]["plan"] == submission.plan


def test_a_job_of_another_plan_fails_with_a_code(workspace: Path, tmp_path: Path) -> None:
    spec = workspace / "claims" / "tiny.yaml"
    done = threatspec("run", spec, "--plan", "plan-of-another", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "TS-CODE-CHANGED" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_limit_is_the_one_of_the_job_server(tmp_path: Path, head: Head) -> None:
    server = JobServer(load_ray(cluster(tmp_path, head)))

    def answer(size: int) -> int:
        path = f"/api/packages/gcs/_ray_pkg_{size:016x}.zip"
        return int(server._client._do_request("PUT", path, data=b"x" * size).status_code)

    assert answer(server.most_bytes) == 200
    assert answer(server.most_bytes + 1) == 413


def test_status_without_a_job_server(workspace: Path, tmp_path: Path) -> None:
    profile = {"schema": "threatspec/runner/v1", "kind": "ray", "storage": str(tmp_path / "s")}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({**profile, "dashboard": NOBODY}))
    Submission(
        job="threatspec-tiny-1", plan="plan-1", profile=str(tmp_path / "p.yaml"),
        dashboard=NOBODY, storage=str(tmp_path / "s"), spec_file="tiny.yaml", submitted_at=0,
    ).write(tmp_path / "run")  # fmt: skip
    told = threatspec("status", tmp_path / "run")
    assert told.returncode == 0, told.stderr
    assert f"no job server answers at {NOBODY}" in " ".join(told.stdout.split())
    assert "nothing is recorded yet" in told.stdout
    assert "TS-RUNNER-ADDRESS" in threatspec("status", tmp_path / "run", "--json").stdout


def status_needs_no_progress_file(out: Path) -> None:
    """A ledger alone says the same."""
    before = json.loads(threatspec("status", out, "--json").stdout)["progress"]
    (out / "progress.json").unlink()
    after = json.loads(threatspec("status", out, "--json").stdout)["progress"]
    assert after["total"] == before["total"]
    assert after["spend"]["flops"] == before["spend"]["flops"]
    assert after["verdicts"] == before["verdicts"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"runtime_env": {"working_dir": "."}}, "must leave working_dir to the submission"),
        ({"storage": "s3://user:word@bucket/runs"}, "must name no user or password"),
    ],
)
def test_profiles_that_take_no_submissions(
    workspace: Path, tmp_path: Path, head: Head, fields: dict[str, Any], said: str
) -> None:
    spec = workspace / "claims" / "tiny.yaml"
    profile = cluster(tmp_path, head, **fields)
    made = threatspec("submit", spec, "--profile", profile, "--out", tmp_path / "x")
    assert made.returncode == 4
    assert said in made.stderr
    assert not (tmp_path / "x").exists()


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
