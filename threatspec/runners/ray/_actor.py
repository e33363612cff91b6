"""What runs in a worker of a Ray cluster."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

from threatspec.runners._work import Desk, Errand

__all__ = ["TrialActor"]


class TrialActor:
    """Does trials with subjects that stay loaded; one for each worker of a profile.

    Args:
        name: the worker's name, as people see it.
        errand: the campaign.
        relative: the spec's folder lies in the job's working directory, under this path.
    """

    def __init__(self, name: str, errand: str, relative: str | None) -> None:
        self._name = name
        self._errand = Errand.read(errand)
        if relative is not None:
            self._errand = replace(self._errand, spec_folder=str(Path.cwd() / relative))
        self._desk = Desk(self._errand)

    def __repr__(self) -> str:
        return f"{self._name} of {Path(self._errand.folder).name}"

    def hello(self) -> tuple[str, int, str, str]:
        """Host, process, node, and what is wrong here (empty if nothing is)."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return socket.gethostname(), os.getpid(), node, self._trouble()

    def _trouble(self) -> str:
        if "plan.json" not in self._errand.place:
            return f"{self._errand.place.url} is not seen from there"
        if not Path(self._errand.spec_folder).is_dir():
            return f"{self._errand.spec_folder} is not there"
        return ""

    def run(self, trial: str, task: str) -> str:
        """The result of a task, as one line of JSON; the worker's log names its trials."""
        print(trial, flush=True)  # noqa: T201
        return self._desk.answer(task)
