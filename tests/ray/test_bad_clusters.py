"""A cluster that is not there, is another one, or has too little: one message with a code."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray.conftest import Profile, Spec
from tests.support.bundles import bundled, made_run
from tests.support.campaigns import ROOT, threatspec
from tests.support.ray_heads import Head, start_head

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with start_head() as found:
        yield found


def test_an_address_that_does_not_answer(spec: Spec, profile: Profile, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    runner = profile(address=address, wait_s=1)
    done = threatspec("run", spec(), "--out", tmp_path / "run", "--runner", runner)
    assert done.returncode == 3
    assert f"no Ray cluster answers at {address} (waited 1 s)" in done.stderr
    assert "TS-RUNNER-ADDRESS" in done.stderr
    assert "Traceback" not in done.stderr


def test_resources_that_the_cluster_lacks(
    head: Head, spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    needs = {"cpus": 1, "gpus": 4, "custom": {"fast-disk": 1}}
    runner = profile(address=head.address, resources=needs, device_map="auto", wait_s=2)
    done = threatspec("run", spec(), "--out", tmp_path / "run", "--runner", runner)
    assert done.returncode == 3
    assert "no node has room for a worker of 1 CPU, 4 GPU, 1 fast-disk" in done.stderr
    assert "there are: 2 CPU" in done.stderr
    assert "TS-RUNNER-RESOURCES" in done.stderr


def test_ray_that_is_not_installed(spec: Spec, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from threatspec.cli import main\n"
        f"main(['run', {str(spec())!r}, '--out', {str(tmp_path / 'run')!r}, '--runner', 'ray'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 3
    assert "threatspec-claims[run,ray]" in done.stderr
    assert "TS-MISSING-EXTRA" in done.stderr


def test_checking_and_verifying_need_no_ray(tmp_path: Path) -> None:
    bundle = bundled(tmp_path, made_run(tmp_path))
    code = (
        "import sys; sys.modules['ray'] = sys.modules['fsspec'] = None\n"
        "from threatspec.cli import main\n"
        "main(sys.argv[1:])"
    )
    for verb in (["check", "claims/quickstart.yaml"], ["verify", str(bundle)]):
        done = subprocess.run(
            [sys.executable, "-c", code, *verb], capture_output=True, text=True, check=False,
            cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_a_folder_that_workers_do_not_see(
    head: Head, spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    """Workers of another machine: here, ones whose root folder differs."""
    runner = profile(address=head.address, storage=str(tmp_path / "storage"), wait_s=20)
    path = spec()
    code = f"""
from pathlib import Path
import threatspec.runners._run as run
errand = run._errand
run._errand = lambda *a: __import__("dataclasses").replace(errand(*a), storage="/nowhere/at/all")
from threatspec.cli import main
main(["run", {str(path)!r}, "--out", {str(tmp_path / "run")!r}, "--runner", {str(runner)!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 3
    assert "is not seen from there" in done.stderr
    assert "TS-STORAGE" in done.stderr
