"""Runners: where trials are executed."""

from threatspec.runners._graph import TrialGraph
from threatspec.runners._local import Observer, run_local
from threatspec.runners._profile import LocalProfile, Profile, RayProfile, Resources, load_profile

__all__ = [
    "LocalProfile",
    "Observer",
    "Profile",
    "RayProfile",
    "Resources",
    "TrialGraph",
    "load_profile",
    "run_local",
]
