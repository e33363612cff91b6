"""Replies to rows: every reply is judged, and those to one prompt make one row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from threatspec.measures.base import Item, Judge, Judgement, Response
from threatspec.records import Generation, Outcome, Row

__all__ = ["judgements", "rows_of"]


def judgements(
    judge: Judge,
    config: Any,
    replies: Sequence[Generation],
    items: Mapping[str, Item],
    span: str,
) -> list[Judgement]:
    """One judgement per reply, in order; equal replies to one prompt are judged once."""
    shown: dict[tuple[str, str], Response] = {}
    for reply in replies:
        if reply.outcome is None:
            text = reply.span(span)
            shown.setdefault((reply.item, text), Response(items[reply.item], text))
    said = dict(zip(shown, judge.score(list(shown.values()), config), strict=True))
    return [
        said[reply.item, reply.span(span)]
        if reply.outcome is None
        else Judgement(reply.outcome, reply.detail or "no reply")
        for reply in replies
    ]


def rows_of(
    replies: Sequence[Generation],
    judged: Sequence[Judgement],
    items: Mapping[str, Item],
    aggregation: str,
) -> tuple[Row, ...]:
    """One row per prompt, in the order in which prompts are first met."""
    found: dict[str, list[tuple[Generation, Judgement]]] = {}
    for reply, judgement in zip(replies, judged, strict=True):
        found.setdefault(reply.item, []).append((reply, judgement))
    return tuple(_row(items[name], several, aggregation) for name, several in found.items())


def _row(item: Item, several: Sequence[tuple[Generation, Judgement]], aggregation: str) -> Row:
    reply, judgement = several[_decisive(item, [said.outcome for _, said in several], aggregation)]
    where = f"{reply.variant}: " if reply.variant and judgement.detail else reply.variant
    many = len(several) > 1
    return Row(
        item=item.id,
        cluster=item.cluster,
        outcome=judgement.outcome,
        detail=f"{where}{judgement.detail}",
        raw=judgement.raw,
        asked=len(several),
        hits=sum(said.outcome is Outcome.YES for _, said in several) if many else None,
    )


_FIRST = {
    "any": (Outcome.YES, Outcome.UNSCORABLE, Outcome.MISSING),
    "all": (Outcome.NO, Outcome.REJECTED, Outcome.UNSCORABLE, Outcome.MISSING),
}
"""Outcomes by which one reply decides for all, in this order."""


def _decisive(item: Item, outcomes: Sequence[Outcome], aggregation: str) -> int:
    """Which reply a prompt's row is made of.

    `mean` takes one by chance, which only the item's name decides: its outcome has the mean over
    the replies as its expectation, so that rates of rows are rates of a reply, and bounds on counts
    stay exact.
    """
    if aggregation == "mean":
        chance = hashlib.sha256(f"mean/{item.id}".encode()).digest()
        return int.from_bytes(chance[:8], "big") % len(outcomes)
    wanted = (outcome for outcome in _FIRST[aggregation] if outcome in outcomes)
    return outcomes.index(next(wanted, outcomes[0]))
