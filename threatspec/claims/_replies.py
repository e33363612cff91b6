"""How many replies to a prompt there are, and what counts of them, in words.

Several servings and several samples are several replies; an attack on the serving puts other ones
in the place of those that are declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from threatspec.claims._text import listed, plural
from threatspec.errors import ThreatspecError
from threatspec.records import PlannedMeasure, Procedure
from threatspec.schema import Serving

__all__ = ["replies", "reply_words"]


def replies(procedure: Procedure, servings: Sequence[Serving]) -> int:
    """Replies to one prompt under a procedure, as planned.

    An attack that is not installed here is taken for one that leaves servings as they are.
    """
    samples = [serving.samples for serving in servings]
    for changes in _changes(procedure):
        samples = [change.get("samples", n) for n in samples for change in changes]
    return sum(samples)


def reply_words(
    measure: PlannedMeasure, servings: Sequence[Serving], procedures: Sequence[Procedure]
) -> str:
    """`any of 9 replies to a prompt`; "" where there is one reply and nothing to put together."""
    if measure.query == "logprob":  # nothing is drawn there
        servings = [one.model_copy(update={"samples": 1}) for one in servings]
    declared = sum(serving.samples for serving in servings)
    other: dict[int, list[str]] = {}
    for one in procedures:
        many = replies(one, servings)
        if many != declared:
            other.setdefault(many, []).append(one.name)
    if declared == 1 and not other and measure.aggregation == "any":
        return ""
    under = "; ".join(f"{many} under {_names(names)}" for many, names in other.items())
    return f"{measure.aggregation} of {_counted(declared)}{f' ({under})' if under else ''}"


def _changes(procedure: Procedure) -> Iterator[Sequence[dict[str, Any]]]:
    """Of each attack on the serving that a procedure makes: the servings it puts there."""
    from threatspec.attacks import attack_of  # here: most claims have no need of it

    try:
        whole = attack_of(procedure.attack).Config.model_validate(procedure.config, strict=False)
    except (ThreatspecError, ValueError):
        return
    links = [link.config for link in getattr(whole, "links", ())] or [whole]
    yield from (link.changes for link in links if hasattr(link, "changes"))


def _counted(number: int) -> str:
    return f"{number:,} repl{'y' if number == 1 else 'ies'} to a prompt"


def _names(names: Sequence[str]) -> str:
    return listed(names) if len(names) <= 3 else plural(len(names), "procedure")
