"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import re
import socket
import sys
import time
from typing import Any

from threatspec.errors import ThreatspecError
from threatspec.runners._children import search_path
from threatspec.runners._profile import RayProfile

__all__ = ["answers_at", "asks_for_token", "connect", "require_ray", "token_mode"]

_HOST_PORT = re.compile(r"^(?:ray://)?(?P<host>\[[^\]]+\]|[^:/]+):(?P<port>\d+)$")
_KEPT = ("HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM")
_OBJECT_STORE = 200 * 2**20
"""Bytes of a local cluster's object store: results are small and stay there for moments."""


def require_ray() -> None:
    """Raises ThreatspecError TS-MISSING-EXTRA if Ray is not installed."""
    try:
        there = importlib.util.find_spec("ray") is not None
    except ValueError:  # marked as missing in sys.modules
        there = False
    if not there:
        text = "a runner of kind ray needs Ray, but it is not installed; "
        text += "pip install 'threatspec-claims[run,ray]'"
        raise ThreatspecError("TS-MISSING-EXTRA", text)


def connect(profile: RayProfile, threads: int) -> bool:
    """Have a connection; True if it was made here and is to be closed again.

    Raises ThreatspecError TS-RUNNER-ADDRESS, TS-RUNNER-VERSION, TS-RUNNER-AUTH.
    """
    token_mode(profile)
    import ray

    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {
        "namespace": profile.namespace,
        "runtime_env": _environment(profile, threads),
        "logging_level": "ERROR",
        "log_to_driver": False,
    }
    if profile.address == "local":
        settings |= _local(profile)
    else:
        _await_address(profile)
        settings["address"] = profile.address
    try:
        ray.init(**settings)
    except Exception as error:  # Ray has no common type for what goes wrong here
        raise _refused(profile, error) from error
    return True


def token_mode(profile: RayProfile) -> None:
    """Let Ray read its token, or keep it: a cluster that asks for none is not given one.

    How a cluster of this machine guards itself is left to Ray.
    """
    if profile.auth == "token":
        os.environ["RAY_AUTH_MODE"] = "token"
    elif profile.address != "local":
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    if "ray" in sys.modules:  # which has read its settings already
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")


def _environment(profile: RayProfile, threads: int) -> dict[str, Any]:
    """Of the workers; what a submitted job has set already, Ray does not take twice."""
    given = dict(profile.runtime_env)
    usual = {name: os.environ[name] for name in _KEPT if name in os.environ}
    usual |= {"PYTHONPATH": search_path(), "OMP_NUM_THREADS": str(threads)}
    variables = {**usual, **given.get("env_vars", {})}
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    taken = job.get("runtime_env", {}).get("env_vars", {})
    return {**given, "env_vars": {k: v for k, v in variables.items() if k not in taken}}


def _local(profile: RayProfile) -> dict[str, Any]:
    """A cluster that just holds the workers of the profile."""
    needs, workers = profile.resources, profile.workers
    custom = {name: amount * workers for name, amount in needs.custom.items()}
    memory = {} if needs.memory_gib is None else {"_memory": int(needs.named["memory"] * workers)}
    return {
        "address": "local",
        "num_cpus": max(1, math.ceil(needs.cpus * workers)),
        "resources": custom,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
        **memory,
    }


def _await_address(profile: RayProfile) -> None:
    """Wait until the head's port takes connections, so that Ray need not find out for minutes."""
    found = _HOST_PORT.match(profile.address)
    if found is None:
        return
    if not answers_at(found["host"].strip("[]"), int(found["port"]), profile.wait_s):
        raise _no_answer(profile, f"waited {profile.wait_s:g} s")


def answers_at(host: str, port: int, wait_s: float) -> bool:
    """Whether something takes connections there within so many seconds."""
    end = time.monotonic() + wait_s
    while not _open(host, port):
        if time.monotonic() >= end:
            return False
        time.sleep(0.5)
    return True


def _open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _no_answer(profile: RayProfile, detail: str) -> ThreatspecError:
    return ThreatspecError(
        "TS-RUNNER-ADDRESS",
        f"no Ray cluster answers at {profile.address} ({detail}); "
        "start one with `ray start --head`, or change `address` in the profile",
    )


def _refused(profile: RayProfile, error: Exception) -> ThreatspecError:
    text = str(error)
    if "ersion mismatch" in text:
        return ThreatspecError("TS-RUNNER-VERSION", _versions(text))
    if "auth" in text.lower() and "token" in text.lower():
        return asks_for_token(profile.address)
    detail = text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
    return _no_answer(profile, detail)


def asks_for_token(address: str) -> ThreatspecError:
    """That a cluster, or its job server, was given no token or a wrong one."""
    return ThreatspecError(
        "TS-RUNNER-AUTH",
        f"the cluster at {address} asks for another token; set `auth: token` in the profile and "
        "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH in the environment",
    )


def _versions(text: str) -> str:
    """Versions of the cluster, which Ray's message names first, and of this process."""
    import ray

    found = {name: re.search(rf"{name}: (\S+)", text) for name in ("Ray", "Python")}
    there = " on ".join(f"{name} {match[1]}" for name, match in found.items() if match)
    here = f"Ray {ray.__version__} on Python {platform.python_version()}"
    return (
        f"the cluster runs {there or 'another version'}, but this machine {here}; use the "
        "cluster's versions here"
    )
