"""Attacks that make trouble for whoever runs them, as a plug-in."""

from __future__ import annotations

from pathlib import Path

from tests.support.distributions import lay_out

__all__ = ["install"]

_SOURCE = '''
import os, signal, time
from pydantic import Field
from threatspec.attacks import AttackConfig
from threatspec.attacks.none import NoAttack


class Lethal(NoAttack):
    """Kills the process that runs it, wherever that is."""

    kind = "lethal"
    says = "ends its process"

    def run(self, context, config):
        os.kill(os.getpid(), signal.SIGKILL)
        return ()
        yield


class SleepyConfig(AttackConfig):
    """How long."""

    seconds: float = Field(default=60.0, gt=0)
    """Time asleep."""


class Sleepy(NoAttack):
    """Takes its time."""

    kind = "sleepy"
    says = "sleeps"
    Config = SleepyConfig

    def run(self, context, config):
        time.sleep(config.seconds)
        return ()
        yield


class Hungry(NoAttack):
    """Takes memory until somebody ends it."""

    kind = "hungry"
    says = "eats memory"

    def run(self, context, config):
        kept = []
        while len(kept) < 400:
            kept.append(bytearray(os.urandom(2**20) * 32))
            time.sleep(0.02)
        time.sleep(30)
        return ()
        yield
'''


def install(site: Path) -> Path:
    """Lay the plug-in out in the folder `site`, which is to be on the search path."""
    entries = {name.lower(): f"trouble:{name}" for name in ("Lethal", "Sleepy", "Hungry")}
    lay_out(site, "trouble", "threatspec.attacks", entries, {"trouble.py": _SOURCE})
    return site
