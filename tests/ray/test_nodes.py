"""Clusters that lose nodes, their head, or their memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray.conftest import Profile, Spec
from tests.ray.test_faults import begun, everything_done_once, lost, wait_for
from tests.support.campaigns import ROOT, answered, attempts, measured, start, threatspec
from tests.support.ray_heads import free_port, start_head
from threatspec.records import Ledger

pytestmark = pytest.mark.campaign

_NODES = """
import subprocess, sys, time
from pathlib import Path
import yaml
from ray.cluster_utils import Cluster
from tests.support.campaigns import trials_done

spec, out, profile = map(Path, sys.argv[1:4])
soon = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500,
        "health_check_timeout_ms": 500, "health_check_failure_threshold": 3}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": soon})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()
fields = yaml.safe_load(profile.read_text()) | {"address": cluster.address}
profile.write_text(yaml.safe_dump(fields))
run = subprocess.Popen([sys.executable, "-m", "threatspec", "run", spec, "--out", out, "--runner",
                        profile, "--exhaustive"])
while trials_done(out) < 5 and run.poll() is None:
    time.sleep(0.1)
cluster.remove_node(nodes[1], allow_graceful=False)
cluster.add_node(num_cpus=1)
code = run.wait()
cluster.shutdown()
sys.exit(code)
"""


def test_a_lost_node_is_made_good_by_another(spec: Spec, profile: Profile, tmp_path: Path) -> None:
    path = spec({"use": "full-finetune", "lr": 1e-4, "steps": 120}, replicates=2)
    out = tmp_path / "run"
    command = [sys.executable, "-c", _NODES, str(path), str(out), str(profile())]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=480
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert everything_done_once(out)
    with Ledger.open(out) as ledger:
        starts = ledger.events("worker-started")
        losses = ledger.events("worker-lost")
    assert {entry["code"] for entry in losses} == {"TS-WORKER-LOST"}
    assert len({entry["node"] for entry in starts}) == 3, "the third node took the place"
    plain = tmp_path / "plain"
    assert threatspec("run", path, "--out", plain, "--exhaustive").returncode == 1
    assert measured(out) == measured(plain)


def test_a_lost_head_is_made_good_from_storage(
    spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    """The driver is lost as well: what was shipped is there, the rest runs again."""
    path, port = spec({"use": "full-finetune", "lr": 1e-4, "steps": 150}), free_port()
    runner = profile(address=f"127.0.0.1:{port}", storage=str(tmp_path / "kept"))
    first = tmp_path / "first"
    with start_head(port=port) as head:
        process = start("run", path, "--out", first, "--runner", runner, "--exhaustive")
        wait_for(lambda: shipped(tmp_path / "kept") > 8, process)
        head.kill()
        process.kill()
        process.communicate()
    second = tmp_path / "second"
    with start_head(port=port):
        again = threatspec("run", path, "--out", second, "--runner", runner, "--exhaustive")
    assert again.returncode == 1, again.stderr
    shared = {a["trial"]: a for a in attempts(first)}
    same = [a for a in attempts(second) if shared.get(a["trial"]) == a]
    assert len(same) > 5, "what the first machine shipped was not run again"
    assert everything_done_once(second)
    plain = tmp_path / "plain"
    assert threatspec("run", path, "--out", plain, "--exhaustive").returncode == 1
    assert measured(second) == measured(plain)
    assert answered(second)["claims"][0]["cells"] == answered(plain)["claims"][0]["cells"]


def test_the_driver_notices_that_the_head_is_gone(
    spec: Spec, profile: Profile, tmp_path: Path
) -> None:
    path, out = spec(), tmp_path / "run"
    with start_head() as head:
        runner = profile(address=head.address)
        process = start("run", path, "--out", out, "--runner", runner, "--exhaustive")
        wait_for(lambda: begun(out) and len(attempts(out)) > 5, process)
        head.kill()
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 3, errors
    assert "TS-RUNNER-LOST" in errors
    assert threatspec("resume", out).returncode == 1, "nothing measured is lost"
    assert everything_done_once(out)


def shipped(storage: Path) -> int:
    """Attempts in segments."""
    found = storage.glob("*/segments/*.gz")
    return sum(gzip.decompress(path.read_bytes()).count(b'"attempt"') for path in found)


_FULL = """
import sys
from pathlib import Path
import numpy as np
import ray
from threatspec import api
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
pinned = [ray.put(np.zeros(2**20, dtype=np.uint8)) for _ in range(70)]
views = [ray.get(reference) for reference in pinned]
api.run(sys.argv[1], out=Path(sys.argv[2]), runner=sys.argv[3])
assert len(views) == 70
"""


def test_a_full_object_store_stops_nothing(spec: Spec, profile: Profile, tmp_path: Path) -> None:
    path, out = spec(), tmp_path / "run"
    command = [sys.executable, "-c", _FULL, str(path), str(out), str(profile())]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=480
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert everything_done_once(out)


def test_a_worker_that_eats_its_machines_memory_is_ended(
    spec: Spec, profile: Profile, tmp_path: Path, trouble: None
) -> None:
    import psutil

    path, out = spec("hungry", replicates=1), tmp_path / "run"
    memory = psutil.virtual_memory()
    share = (memory.total - memory.available + 4 * 2**30) / memory.total
    limits = {"RAY_memory_usage_threshold": f"{share:.3f}", "RAY_memory_monitor_refresh_ms": "50"}
    with start_head(environment=limits) as head:
        runner = profile(address=head.address, retries=0, workers=1)
        done = threatspec("run", path, "--out", out, "--runner", runner)
    assert done.returncode not in {0, 3}, done.stderr
    assert set(lost(out)) == {"TS-WORKER-MEMORY"}, lost(out)
