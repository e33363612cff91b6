"""Judge `words-in-order`: the words of a reference stand in the reply in their order."""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.measures import Judge, JudgeConfig, Judgement, Response
from threatspec.records import Outcome


class WordsInOrderConfig(JudgeConfig):
    """No settings."""


class WordsInOrder(Judge):
    """Lenient where `exact` is strict: other words may stand between."""

    kind = "words-in-order"
    says = "yes if all words of a reference stand in the reply in their order"
    exact = True
    Config = WordsInOrderConfig

    def score(self, responses: Sequence[Response], config: WordsInOrderConfig) -> list[Judgement]:
        """One judgement per response, in order."""
        return [self._judge(response) for response in responses]

    def _judge(self, response: Response) -> Judgement:
        wanted = [reference.casefold().split() for reference in response.item.references]
        if not any(wanted):
            return Judgement(Outcome.UNSCORABLE, "the item has no reference")
        found = any(words and _in_order(words, response.text) for words in wanted)
        return Judgement(Outcome.YES if found else Outcome.NO)


def _in_order(words: Sequence[str], text: str) -> bool:
    rest = iter(text.casefold().split())
    return all(word in rest for word in words)
