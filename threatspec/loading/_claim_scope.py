"""Whether what a claim is limited to is what the file says. Reads plain data.

What only names of attacks can tell is checked by `threatspec.campaign`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticCustomError

from threatspec.errors import Problem
from threatspec.loading._marks import Place, Source
from threatspec.schema import PredicateError, Seeds, operands, parse_predicate, parse_quantity

__all__ = ["scope_problems"]

_REPLICATES = {"replicate": 1.0, "replicates": 1.0}


def scope_problems(
    claim: dict[str, Any], data: dict[str, Any], source: Source, place: Place
) -> Iterator[Problem]:
    """A scope names exactly what is run: more would not have been tested."""
    scope = claim.get("scope")
    if not isinstance(scope, dict):
        return
    for key, wrong in (
        ("templates", _templates(scope.get("templates"), data)),
        ("replicates", _replicates(scope.get("replicates"), claim)),
        ("utility", _utility(scope.get("utility"), claim)),
    ):
        if wrong:
            text = f"the {key} of a scope must be {wrong}"
            yield source.problem("TS-OUT-OF-RANGE", text, (*place, "scope", key))


def _templates(named: Any, data: dict[str, Any]) -> str:
    serving = data.get("serving", {})
    every = serving if isinstance(serving, list) else [serving]
    used = {str(one.get("template", "native")) for one in every if isinstance(one, dict)}
    if not isinstance(named, list) or not named or set(map(str, named)) == used:
        return ""
    return f"what is used, [{', '.join(sorted(used))}], but got [{', '.join(map(str, named))}]"


def _replicates(named: Any, claim: dict[str, Any]) -> str:
    seeds = claim.get("seeds")
    planned = seeds.get("replicates") if isinstance(seeds, dict) else None
    run = _count(Seeds().replicates if planned is None else planned)
    if named is None or run is None or _count(named) in {None, run}:
        return ""
    return f"the number that is run, {run:g}, but got {named}"


def _count(value: Any) -> float | None:
    try:
        return parse_quantity(value, _REPLICATES)
    except PydanticCustomError:
        return None


def _utility(named: Any, claim: dict[str, Any]) -> str:
    """The measures that both gates read, beside those that the claim is about."""
    if not isinstance(named, list) or not named:
        return ""
    before = _read(claim.get("provided"), "", "before")
    read = before & _read(claim.get("counts_if"), "") - _read(claim.get("holds"), "")
    if set(map(str, named)) == read:
        return ""
    are = f"are {', '.join(sorted(read))}" if read else "are none"
    return (
        "the measures that `provided` and `counts_if` both read, beside those of `holds`; they "
        f"{are}, but got {', '.join(map(str, named))}"
    )


def _read(text: Any, *arms: str) -> frozenset[str]:
    try:
        found = operands(parse_predicate(text)) if isinstance(text, str) else ()
        return frozenset(operand.measure for operand in found if operand.arm in arms)
    except PredicateError:
        return frozenset()
