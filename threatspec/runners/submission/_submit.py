"""Submitting a campaign as a job."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.loading import LoadedSpec
from threatspec.records import Plan
from threatspec.runners._profile import RayProfile
from threatspec.runners.submission._jobs import JobServer, jobs_of
from threatspec.runners.submission._libraries import libraries, pins
from threatspec.runners.submission._pack import pack_program, pack_workspace
from threatspec.runners.submission._record import Submission

__all__ = ["submit"]

_PROFILE = ".threatspec-profile.yaml"
_OWN = ("py_modules", "working_dir")
_SUFFIXES = (".yaml", ".yml")
_TOLD = (
    "import sys; from threatspec.runners.submission import differences; "
    "sys.stdout.writelines(differences(sys.argv[1]))"
)


def submit(
    spec: LoadedSpec, plan: Plan, profile: RayProfile, name: str, out: Path
) -> tuple[Submission, bool]:
    """Have a job run `plan`, and note it in `out`; True if a job of the plan was running already.

    Args:
        spec: the claims file.
        plan: compiled from it here; the job refuses to run anything else.
        profile: the cluster; it must have a `storage`.
        name: name or path of the profile, to be noted.
        out: results folder on this machine.

    Raises ThreatspecError: TS-USAGE for a profile that cannot take submissions, and what the job
    server and packing raise.
    """
    profile = _checked(profile, name)
    server = JobServer(profile)
    before = jobs_of(server, plan.id)
    running = next((job for job in before if not job.over), None)
    submission = Submission(
        job=running.id if running else _id(plan, len(before)),
        plan=plan.id,
        profile=os.path.abspath(name) if name.endswith(_SUFFIXES) else name,
        dashboard=profile.dashboard,
        storage=running.storage if running else str(profile.storage),
        spec_file=plan.spec_file,
        submitted_at=time.time(),
    )
    if running is None:
        _send(server, submission.job, spec, plan, profile)
    submission.write(out)
    return submission, running is not None


def _checked(profile: RayProfile, name: str) -> RayProfile:
    """The profile with a storage that means the same on the cluster."""
    taken = sorted(set(_OWN) & set(profile.runtime_env))
    storage, text = profile.storage, ""
    if storage is None:
        text = f"profile {name} must have a `storage` that this machine sees too, where the records"
        text += " of the campaign are kept, but has none"
    elif "@" in urlsplit(storage).netloc:
        text = f"storage of profile {name} must name no user or password, which would be uploaded; "
        text += "give them to this machine and to the cluster by their environments"
    elif taken:
        text = f"runtime_env of profile {name} must leave {taken[0]} to the submission, but has it"
    if storage is None or text:
        raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE)
    place = storage if "://" in storage else os.path.abspath(storage)
    return profile.model_copy(update={"storage": place})


def _id(plan: Plan, before: int) -> str:
    """Recognisable among other jobs, and another one for each further run."""
    stem = "".join(c if c.isalnum() else "-" for c in plan.spec_file.partition(".")[0])
    return f"threatspec-{stem}-{plan.id.removeprefix('plan-')[:8]}-{before + 1}"


def _send(server: JobServer, job: str, spec: LoadedSpec, plan: Plan, profile: RayProfile) -> None:
    with tempfile.TemporaryDirectory(prefix="threatspec-submit-") as staged:
        work = Path(staged) / "work"
        work.mkdir()
        file = pack_workspace(spec, work, server.most_bytes)
        inner = profile.model_dump(mode="json", by_alias=True, exclude={"dashboard", "install"})
        own = {"address": "auto", "runtime_env": {}}
        (work / _PROFILE).write_text(yaml.safe_dump(inner | own), encoding="utf-8")
        program = pack_program(Path(staged))
        environment = _environment(profile, work, program)
        about = {"threatspec_plan": plan.id, "threatspec_storage": str(profile.storage)}
        server.submit(job, _command(file, plan), environment, about)


def _command(file: str, plan: Plan) -> str:
    """The job leaves its working directory alone; records are in the storage.

    `-P`: a workspace may have folders named like libraries.
    """
    told = shlex.join(["python", "-P", "-c", _TOLD, json.dumps(libraries())])
    words = ["run", file, "--runner", _PROFILE, "--plan", plan.id, "--exit-zero"]
    words += ["--exhaustive"] if plan.execution.exhaustive else []
    out = '--out "$(mktemp -d)"/run'
    return f"{told}; exec python -P -m threatspec {shlex.join(words)} {out}"


def _environment(profile: RayProfile, work: Path, program: Path) -> dict[str, Any]:
    given = dict(profile.runtime_env)
    variables = {"HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    if profile.install:
        given["pip"] = [*given.get("pip", []), *pins()]
    return {
        **given,
        "working_dir": str(work),
        "py_modules": [str(program)],
        "env_vars": {**variables, **given.get("env_vars", {})},
    }
