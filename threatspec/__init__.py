"""threatspec checks claims of the form "this safeguard holds against that adversary".

::

    import threatspec as ts

    spec = ts.load("claims/quickstart.yaml")   # raises ts.SpecErrors with every problem
    ts.check(spec)                             # static: names, access, budgets
    plan = ts.plan(spec)                       # every cell and trial, before anything runs
    outcome = ts.run(spec)                     # the campaign and its verdicts
    ts.expect(outcome).claim("my-claim").is_supported()

Importing the package is cheap: rooms are imported when a name of theirs is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threatspec._expect import expect
    from threatspec.api import check, load, plan, run
    from threatspec.errors import SpecErrors, ThreatspecError

__all__ = [
    "SpecErrors",
    "ThreatspecError",
    "__version__",
    "check",
    "expect",
    "load",
    "plan",
    "run",
]

__version__ = "0.1.0"

_HOMES = {
    "SpecErrors": "threatspec.errors",
    "ThreatspecError": "threatspec.errors",
    "check": "threatspec.api",
    "expect": "threatspec._expect",
    "load": "threatspec.api",
    "plan": "threatspec.api",
    "run": "threatspec.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'threatspec' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
