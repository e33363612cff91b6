"""Judge `exact`: the reply contains a reference answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from threatspec.measures._text import find_words, has_words
from threatspec.measures.base import JUDGES, Judge, JudgeConfig, Judgement, Response
from threatspec.records import Outcome

__all__ = ["Exact", "ExactConfig"]


class ExactConfig(JudgeConfig):
    """No settings."""


class Exact(Judge):
    """`yes` if a reference stands in the reply; `unscorable` if the item has none."""

    kind = "exact"
    says = "yes if one of the item's references stands in the reply as whole words"
    exact: ClassVar[bool] = True
    Config = ExactConfig

    def score(self, responses: Sequence[Response], config: ExactConfig) -> list[Judgement]:
        """One judgement per response, in order."""
        return [_judge(response) for response in responses]


def _judge(response: Response) -> Judgement:
    if not any(map(has_words, response.item.references)):
        return Judgement(Outcome.UNSCORABLE, "the item has no reference with a word in it")
    found = find_words(response.text, response.item.references)
    return Judgement(Outcome.YES, f"found {found!r}") if found else Judgement(Outcome.NO)


JUDGES.register(Exact.kind, Exact())
