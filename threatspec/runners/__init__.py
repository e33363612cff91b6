"""Runners: where trials are executed."""

from threatspec.runners._graph import TrialGraph
from threatspec.runners._profile import LocalProfile, Profile, RayProfile, Resources, load_profile
from threatspec.runners._progress import (
    Observers,
    Progress,
    ProgressFile,
    TimeLeft,
    read_progress,
)
from threatspec.runners._run import recover, run_campaign
from threatspec.runners._state import Observer, RunState, WorkerState
from threatspec.runners._stopping import SpendLimit

__all__ = [
    "LocalProfile",
    "Observer",
    "Observers",
    "Profile",
    "Progress",
    "ProgressFile",
    "RayProfile",
    "Resources",
    "RunState",
    "SpendLimit",
    "TimeLeft",
    "TrialGraph",
    "WorkerState",
    "load_profile",
    "read_progress",
    "recover",
    "run_campaign",
]
