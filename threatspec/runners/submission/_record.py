"""What is known of a submission on the machine that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.schema import Model

__all__ = ["SUBMISSION", "Submission", "read_submission"]

SUBMISSION = "submission.json"


class Submission(Model):
    """Schema ``threatspec/submission/v1``; nothing in it is secret."""

    format: Literal["threatspec/submission/v1"] = Field(
        default="threatspec/submission/v1", alias="schema"
    )
    job: str
    """Id of the job on the cluster."""
    plan: str
    """Id of the plan that it runs."""
    profile: str
    """Name or path of the runner profile."""
    dashboard: str
    storage: str
    spec_file: str
    submitted_at: float
    """Seconds since the epoch."""

    def write(self, folder: Path) -> None:
        """Keep it in a results folder."""
        folder.mkdir(parents=True, exist_ok=True)
        text = self.model_dump_json(by_alias=True, indent=1)
        (folder / SUBMISSION).write_text(text + "\n", encoding="utf-8")


def read_submission(folder: Path) -> Submission:
    """The submission of a results folder. Raises ThreatspecError TS-SUBMISSION, TS-RECORDS."""
    path = folder / SUBMISSION
    if not path.exists():
        text = f"{folder} holds no submission; `threatspec submit FILE --runner PROFILE` makes one"
        raise ThreatspecError("TS-SUBMISSION", text, exit_code=ExitCode.USAGE)
    try:
        return Submission.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        detail = str(error).splitlines()[0]
        raise ThreatspecError("TS-RECORDS", f"{path} cannot be read: {detail}") from None
