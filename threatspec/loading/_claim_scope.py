"""Whether what a claim is limited to is what will be run. Reads plain data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from threatspec.errors import Problem
from threatspec.loading._marks import Place, Source

__all__ = ["scope_problems"]

_TRAINER = "resident"
"""The one back-end that attacks are trained with."""


def scope_problems(
    claim: dict[str, Any], data: dict[str, Any], source: Source, place: Place
) -> Iterator[Problem]:
    """A scope names exactly what is run: more would not have been tested."""
    scope = claim.get("scope")
    if not isinstance(scope, dict):
        return
    serving = data.get("serving")
    template = serving.get("template", "native") if isinstance(serving, dict) else "native"
    for key, run in (("trainer", _TRAINER), ("templates", template)):
        named = scope.get(key)
        if isinstance(named, list) and named and set(map(str, named)) != {run}:
            got = ", ".join(map(str, named))
            text = f"the {key} of a scope must be what is run, [{run}], but got [{got}]"
            yield source.problem("TS-OUT-OF-RANGE", text, (*place, "scope", key))
