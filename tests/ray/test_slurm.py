"""The script for Slurm, on a real Slurm of this machine with two nodes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.ray.conftest import Profile, Spec
from tests.support.campaigns import ROOT, measured, threatspec, trials_done
from tests.support.ray_heads import free_port
from threatspec.resources import shipped

pytestmark = pytest.mark.campaign

SCRIPT = shipped("runners") / "slurm" / "threatspec.sbatch"
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Slurm:
    """Daemons of one cluster, in a folder of their own."""

    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """As a user has it who activated the program's environment."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}
        ray = {"THREATSPEC_RAY_PORT": str(free_port()), "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own, **ray}

    def start(self, *command: str) -> None:
        with (self.folder / "daemons.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        self.started.append(process)

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment, cwd=ROOT
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def state(self, job: str) -> str:
        words = self.call("scontrol", "show", "job", job).split()
        return next(w for w in words if w.startswith("JobState=")).removeprefix("JobState=")

    def submit(self, log: Path, *arguments: str | Path) -> str:
        options = ["--parsable", "--nodes=2", "--cpus-per-task=2", "--output", str(log)]
        return self.call("sbatch", *options, str(SCRIPT), *map(str, arguments))

    def ended(self, job: str) -> str:
        """Its state after it has ended."""
        for _ in range(600):
            found = self.state(job)
            if found not in {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}:
                return found
            time.sleep(0.2)
        raise AssertionError(f"job {job} did not end")

    def close(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("needs root, as one user's slurmd runs no jobs of others")
    folder = Path(tempfile.mkdtemp(prefix="ts-slurm-"))  # short: sockets have short names
    found = Slurm(folder)
    try:
        _start(found)
        yield found
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)


def _start(slurm: Slurm) -> None:
    munge = slurm.folder / "munge"
    for folder in (munge, slurm.folder / "state", *(slurm.folder / f"spool-n{n}" for n in (1, 2))):
        folder.mkdir()
    slurm.folder.chmod(0o755)  # munge wants others to reach its socket
    (munge / "key").write_bytes(os.urandom(64))
    (munge / "key").chmod(0o600)
    text = CONFIG.format(
        host=socket.gethostname().partition(".")[0],
        folder=slurm.folder,
        ports=[free_port() for _ in range(3)],
    )
    (slurm.folder / "slurm.conf").write_text(text)
    own = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
    options = [f"--socket={munge / 'socket'}", *own]
    slurm.start("munged", "--foreground", "--force", *options)
    _await(lambda: (munge / "socket").exists(), slurm)
    slurm.start("slurmctld", "-D")
    for name in ("n1", "n2"):
        slurm.start("slurmd", "-D", "-N", name)
    _await(lambda: _idle(slurm) == 2, slurm)


def _idle(slurm: Slurm) -> int:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%T"],
        capture_output=True, text=True, check=False, env=slurm.environment,
    )  # fmt: skip
    return done.stdout.split().count("idle")


def _await(ready: Callable[[], bool], slurm: Slurm) -> None:
    for _ in range(300):
        if ready():
            return
        time.sleep(0.1)
    logs = [path.read_text(errors="replace") for path in slurm.folder.glob("*.log")]
    raise RuntimeError("\n".join(logs))


def left(job: str) -> list[str]:
    """Command lines that still belong to a job."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURM_JOB_ID") == job:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture
def runner(profile: Profile) -> Path:
    return profile(address="auto", workers=2, wait_s=60)


def test_a_campaign_on_two_nodes(slurm: Slurm, spec: Spec, runner: Path, tmp_path: Path) -> None:
    log, file, out = tmp_path / "log", spec(), tmp_path / "run"
    job = slurm.submit(log, file, runner, "--out", out, "--exit-zero")
    assert slurm.ended(job) == "COMPLETED", log.read_text()
    assert threatspec("run", file, "--out", tmp_path / "here").returncode == 1
    assert measured(out) == measured(tmp_path / "here")
    assert left(job) == []


def test_a_signal_stops_it_and_the_same_command_goes_on(
    slurm: Slurm, spec: Spec, runner: Path, tmp_path: Path
) -> None:
    log, file, out = tmp_path / "log", spec(), tmp_path / "run"
    job = slurm.submit(log, file, runner, "--out", out, "--exit-zero", "--exhaustive")
    while not trials_done(out) and slurm.state(job) in {"PENDING", "RUNNING"}:
        time.sleep(0.1)
    slurm.call("scancel", "--batch", f"--signal={signal.SIGUSR1.name}", job)
    assert slurm.ended(job) == "FAILED", log.read_text()
    assert "interrupted with" in log.read_text()
    assert left(job) == []
    before = trials_done(out)
    again = slurm.submit(log, file, runner, "--out", out, "--exit-zero", "--exhaustive")
    assert slurm.ended(again) == "COMPLETED", log.read_text()
    assert trials_done(out) > before > 0


def test_the_script_is_plain_bash() -> None:
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck (Debian: shellcheck)")
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
