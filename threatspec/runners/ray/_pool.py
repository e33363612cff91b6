"""The workers of a Ray cluster."""

from __future__ import annotations

import atexit
import queue
import time
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.records import Plan, Trial, TrialResult
from threatspec.runners._pool import Answer
from threatspec.runners._profile import RayProfile
from threatspec.runners._work import Errand
from threatspec.runners.ray._cluster import fits, lacking
from threatspec.runners.ray._connect import answers_at, connect, require_ray
from threatspec.runners.ray._metrics import Metrics
from threatspec.runners.ray._worker import RayWorker

__all__ = ["RayPool"]


class RayPool:
    """Actors of one campaign.

    Raises ThreatspecError TS-MISSING-EXTRA, and what `connect` raises.
    """

    def __init__(self, errand: Errand, profile: RayProfile, plan: Plan) -> None:
        require_ray()
        import ray

        with ExitStack() as stack:
            log = stack.enter_context((Path(errand.folder) / "ray.log").open("a"))
            self._mine = connect(profile, plan.execution.threads)
            if self._mine:  # Ray tells of lost workers on standard output, which is not its own
                stack.enter_context(redirect_stdout(log))
            self._exit = stack.pop_all()
        self._profile = profile
        self._head = ray.get_runtime_context().gcs_address
        self._heard = time.monotonic()
        """When the head answered last."""
        self._lost = False
        self._since = time.monotonic()
        """Since when no worker is ready."""
        self._metrics = Metrics(Path(errand.folder).name)
        self.answers: queue.Queue[Answer] = queue.Queue()
        relative = _relative(errand.spec_folder)
        self.workers = {
            name: RayWorker(name, errand, relative, profile, self.answers)
            for name in (f"worker-{n}" for n in range(1, profile.workers + 1))
        }

    def check(self) -> None:
        """Raises ThreatspecError if the head is gone, or no worker is ready for too long."""
        self._check_head()
        if any(worker.ready for worker in self.workers.values()):
            self._since = time.monotonic()
            return
        trouble = next((w.trouble for w in self.workers.values() if w.trouble), None)
        if trouble and trouble.code == "TS-STORAGE":
            raise ThreatspecError(trouble.code, f"{trouble.message}; {_SHARE}")
        if time.monotonic() - self._since > self._profile.wait_s:
            raise self._none(trouble.message if trouble else "")

    def _check_head(self) -> None:
        """Ray itself ends this process when its head is gone for a minute, without a word to us."""
        now = time.monotonic()
        if now - self._heard < _EVERY_S:
            return
        if self._answers():
            self._heard = now
        elif now - self._heard > _SILENT_S:
            raise self._gone()

    def _answers(self) -> bool:
        host, _, port = self._head.rpartition(":")
        return answers_at(host.strip("[]"), int(port), 0)

    def _gone(self) -> ThreatspecError:
        self._lost = True
        text = f"the Ray cluster at {self._head} was lost: its head does not answer any more; "
        return ThreatspecError("TS-RUNNER-LOST", f"{text}{_RESUME}")

    def _none(self, trouble: str) -> ThreatspecError:
        if not self._answers():  # and Ray would wait for it
            return self._gone()
        if not trouble or not fits(self._profile):
            return lacking(self._profile)
        text = f"no worker could be started for {self._profile.wait_s:g} s: {trouble}; "
        return ThreatspecError("TS-RUNNER-LOST", f"{text}{_RESUME}")

    def finished(self, trial: Trial, result: TrialResult, seconds: float) -> None:
        """Count the trial in the cluster's metrics."""
        self._metrics.add(trial, result, seconds)

    def close(self) -> None:
        """End the actors, and the cluster if it was started for this run."""
        import ray

        with self._exit:
            if not ray.is_initialized():
                return
            if self._lost:
                atexit.unregister(ray.shutdown)  # it would wait for the head, and then crash
                return
            for worker in self.workers.values():
                worker.kill()
            if self._mine:
                ray.shutdown()  # ends what the threads of kill() have not yet


_EVERY_S = 5.0
"""Between two looks at the head."""
_SILENT_S = 20.0
_RESUME = "`threatspec resume` goes on from what was measured"
_SHARE = "choose a `storage` in the profile that all nodes see, or use `threatspec submit`"


def _relative(spec_folder: str) -> str | None:
    """Where the spec lies in the working directory that Ray unpacks on every node of a job."""
    import ray

    if "working_dir" not in ray.get_runtime_context().runtime_env:
        return None
    here = Path.cwd().resolve()
    folder = Path(spec_folder).resolve()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else None
