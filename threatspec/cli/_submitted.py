"""What the verbs about submissions share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from threatspec.records import Storage
    from threatspec.runners import RayProfile
    from threatspec.runners.submission import JobServer, Submission

__all__ = ["folder_of", "profile_of", "server_of", "storage_of", "target_argument"]

target_argument = click.argument("target", type=click.Path(path_type=Path))


def folder_of(target: Path) -> Path:
    """The results folder that a verb is about: itself, or that of a claims file."""
    from threatspec.cli._settings import settings

    if target.suffix in {".yaml", ".yml"}:
        return settings(target).out
    return target


def profile_of(submission: Submission) -> RayProfile:
    """The profile by which it was submitted, with the cluster that it names."""
    from threatspec.errors import ThreatspecError
    from threatspec.runners import RayProfile, load_profile

    found = load_profile(submission.profile)
    if not isinstance(found, RayProfile):
        text = f"profile {submission.profile} is not of a Ray cluster any more"
        raise ThreatspecError("TS-SUBMISSION", text)
    return found.model_copy(update={"dashboard": submission.dashboard})


def server_of(submission: Submission, wait_s: float | None = None) -> JobServer:
    """The job server that has it; waited for as long as its profile says, or for `wait_s`."""
    from threatspec.runners.submission import JobServer

    profile = profile_of(submission)
    wait = {} if wait_s is None else {"wait_s": min(wait_s, profile.wait_s)}
    return JobServer(profile.model_copy(update=wait))


def storage_of(submission: Submission) -> Storage:
    """Where its records are."""
    from threatspec.records import campaign_storage

    return campaign_storage(submission.storage, submission.plan)
