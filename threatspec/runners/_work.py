"""What travels between a driver and its workers: JSON text, whatever carries it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from threatspec.records import (
    ArtefactStore,
    Execution,
    Storage,
    Trial,
    TrialResult,
    campaign_storage,
)

__all__ = ["Desk", "Errand", "task"]


@dataclass(frozen=True, slots=True)
class Errand:
    """All that a worker must know of a campaign before its first trial."""

    folder: str
    """Results folder; tampered weights are kept there where there is no storage."""
    spec_folder: str
    """Where relative files of the spec are looked for."""
    plan: str
    """Id of the plan."""
    execution: str
    """How the plan fixes the arithmetic, as JSON."""
    storage: str | None = None
    device: str = "auto"
    device_map: str | None = None

    @property
    def text(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Errand:
        """Of `text`."""
        return cls(**json.loads(text))

    @property
    def place(self) -> Storage:
        """Where the campaign's shared files are: its storage, else its results folder."""
        return campaign_storage(self.storage, self.plan) if self.storage else Storage(self.folder)

    @property
    def artefacts(self) -> ArtefactStore:
        """Tampered weights, as driver and workers see them."""
        if self.storage:
            return ArtefactStore(self.place.child("artefacts"))
        return ArtefactStore(Path(self.folder) / "artefacts")


class Desk:
    """Does tasks in this process, with subjects that stay loaded."""

    def __init__(self, errand: Errand) -> None:
        from threatspec.runners._executor import Executor

        self._executor = Executor(
            errand.artefacts,
            Path(errand.spec_folder),
            Execution.model_validate_json(errand.execution),
            device=errand.device,
            device_map=errand.device_map,
        )

    def answer(self, text: str) -> str:
        """The result of a task, as one line of JSON."""
        given = json.loads(text)
        inputs = [TrialResult.model_validate_json(each) for each in given["inputs"]]
        trial = Trial.model_validate_json(given["trial"])
        return self._executor.run(trial, {r.trial: r for r in inputs}).model_dump_json()


def task(trial: Trial, inputs: Sequence[TrialResult]) -> str:
    """A trial with what it reads, as one line of JSON."""
    return json.dumps(
        {"trial": trial.model_dump_json(), "inputs": [i.model_dump_json() for i in inputs]}
    )
