"""Judge `agreement`: the reply is what people said of the same row. For subjects that are judges.

The share of rows that it answers `yes` is the accuracy of the judge that is the subject; read on
the slices `[label=yes]` and `[label=no]` it is the two recalls. Kappa is no share of rows:
`threatspec judges compare` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from threatspec.measures._text import words_of
from threatspec.measures.base import JUDGES, Item, Judge, JudgeConfig, Judgement, Response
from threatspec.records import Outcome

__all__ = ["Agreement", "AgreementConfig"]


class AgreementConfig(JudgeConfig):
    """No settings."""


class Agreement(Judge):
    """`yes` if the reply is the item's label; what a judge cannot score is no agreement."""

    kind = "agreement"
    says = "yes if the reply is the word (yes or no) by which people labelled the row"
    exact: ClassVar[bool] = True
    Config = AgreementConfig

    def lacks(self, config: AgreementConfig, items: Sequence[Item]) -> str:
        """Rows that nobody has labelled."""
        bare = [item.id for item in items if not item.label]
        if not bare:
            return ""
        return f"rows must have a label (yes or no), but {len(bare)} of {len(items)} have none"

    def score(self, responses: Sequence[Response], config: AgreementConfig) -> list[Judgement]:
        """One judgement per response, in order."""
        return [_judge(response) for response in responses]


def _judge(response: Response) -> Judgement:
    label = response.item.label
    if not label:
        return Judgement(Outcome.UNSCORABLE, "nobody has labelled the row")
    agrees = words_of(response.text) == [label]
    return Judgement(Outcome.YES if agrees else Outcome.NO, f"people said {label}")


JUDGES.register(Agreement.kind, Agreement())
