"""The job server of a cluster."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from threatspec.errors import ThreatspecError
from threatspec.runners._profile import RayProfile
from threatspec.runners.ray import answers_at, asks_for_token, require_ray, token_mode

__all__ = ["Job", "JobServer", "jobs_of"]

_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
_PYTHON = platform.python_version().split(".")[:2]
_OVER = ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True, slots=True)
class Job:
    """One job as the server knows it."""

    id: str
    state: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED, as Ray says."""
    message: str
    plan: str
    """Id of the plan that it runs; empty if it is none of ours."""
    storage: str
    """Where its records are; empty if it is none of ours."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in _OVER


class JobServer:
    """Asks the job server at a profile's `dashboard`.

    Raises ThreatspecError TS-RUNNER-ADDRESS, TS-RUNNER-VERSION, TS-RUNNER-AUTH, TS-SUBMISSION.
    """

    def __init__(self, profile: RayProfile) -> None:
        require_ray()
        token_mode(profile)
        _await(profile)
        from ray.job_submission import JobSubmissionClient

        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._address = profile.dashboard
        with self._told():
            self._client: Any = JobSubmissionClient(profile.dashboard)
            self._check_version()

    def _check_version(self) -> None:
        import ray

        there, python = self._versions()
        here = f"Ray {ray.__version__} on Python {platform.python_version()}"
        if there != ray.__version__ or python.split(".")[:2] != _PYTHON:
            raise ThreatspecError(
                "TS-RUNNER-VERSION",
                f"the cluster runs Ray {there} on Python {python}, but this machine {here}; use "
                "the cluster's versions here",
            )

    def _versions(self) -> tuple[str, str]:
        """Of Ray and Python, as the cluster was started with."""
        told = self._client._do_request("GET", "/api/v0/cluster_metadata")
        if told.status_code == 200:
            data = told.json()["data"]  # with keys as JavaScript has them
            return str(data["rayVersion"]), str(data["pythonVersion"])
        told = self._client._do_request("GET", "/api/version")  # a dashboard with the least
        return str(told.json()["ray_version"]), platform.python_version()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ThreatspecError:
            raise
        except Exception as error:  # requests', Ray's and plain runtime errors alike
            raise _refused(self._address, error) from error

    @property
    def most_bytes(self) -> int:
        """What one upload may have: the job server's own limit is below that of Ray's store."""
        from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE
        from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

        return min(int(DASHBOARD_CLIENT_MAX_SIZE), int(GCS_STORAGE_MAX_SIZE))

    def submit(
        self, job: str, command: str, environment: dict[str, Any], metadata: dict[str, str]
    ) -> None:
        """Upload what the runtime environment names, and start a job."""
        with self._told():
            self._client.submit_job(
                entrypoint=command, submission_id=job, runtime_env=environment, metadata=metadata
            )

    def jobs(self) -> list[Job]:
        """All that the server knows."""
        with self._told():
            return [_job(details) for details in self._client.list_jobs() if details.submission_id]

    def job(self, name: str) -> Job:
        """One of them. Raises ThreatspecError TS-SUBMISSION if the server does not know it."""
        found = next((job for job in self.jobs() if job.id == name), None)
        if found is None:
            text = f"{self._address} knows no job {name}; was the cluster restarted? "
            text += "`threatspec submit` goes on from the storage"
            raise ThreatspecError("TS-SUBMISSION", text)
        return found

    def logs(self, name: str) -> str:
        """What the job has printed."""
        with self._told():
            return str(self._client.get_job_logs(name))

    def stop(self, name: str, wait_s: float = 60.0) -> Job:
        """End a job and wait until it has ended. Raises ThreatspecError TS-SUBMISSION if it goes
        on."""
        with self._told():
            self._client.stop_job(name)
        end = time.monotonic() + wait_s
        while not (job := self.job(name)).over:
            if time.monotonic() >= end:
                text = f"{name} must end within {wait_s:g} s, but is {job.state}; try again"
                raise ThreatspecError("TS-SUBMISSION", text)
            time.sleep(0.5)
        return job


def jobs_of(server: JobServer, plan: str) -> list[Job]:
    """Jobs that run, or ran, a plan."""
    return [job for job in server.jobs() if job.plan == plan]


def _job(details: Any) -> Job:
    metadata = details.metadata or {}
    return Job(
        id=details.submission_id,
        state=str(getattr(details.status, "value", details.status)),
        message=details.message or "",
        plan=metadata.get("threatspec_plan", ""),
        storage=metadata.get("threatspec_storage", ""),
    )


def _await(profile: RayProfile) -> None:
    parts = urlsplit(profile.dashboard)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not answers_at(parts.hostname or "", port, profile.wait_s):
        raise ThreatspecError(
            "TS-RUNNER-ADDRESS",
            f"no job server answers at {profile.dashboard} (waited {profile.wait_s:g} s); start "
            "the cluster with its dashboard, or change `dashboard` in the profile",
        )


def _refused(address: str, error: Exception) -> ThreatspecError:
    text = " ".join(str(error).split())[:300]
    if type(error).__name__ == "AuthenticationError" or "status code 401" in text:
        return asks_for_token(address)
    return ThreatspecError("TS-SUBMISSION", f"{address} refused: {type(error).__name__}: {text}")
