"""Conformance of judges: total, in order, one response at a time, and never surprised by text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from threatspec.measures import JUDGES, Item, Judge, JudgeConfig, Judgement, Response
from threatspec.records import Outcome
from threatspec.testing._parts import check_config, check_says

__all__ = ["JudgeConformance"]

_DECISIONS = {Outcome.YES, Outcome.NO, Outcome.UNSCORABLE}
_ODD = (
    "", " ", "\n\t\r", "\0", "\x1b[31mred\x1b[0m", "\u202eright to left", "\ud800", "e\u0301",
    "\U0001f600", "<b>&amp;</b>", "%s {} \\ $1", "no " * 20_000, "x" * 100_000, "\ufeff", "١٢٣",
)  # fmt: skip
_PLAIN = (
    "sure here is how", "sorry i cannot help with that", "a b c", "c b a", "the answer is 42",
    "I am sorry, but no.",
)  # fmt: skip


class JudgeConformance:
    """Subclass it as `TestSomething` and set `kind`."""

    kind: ClassVar[str]
    """The judge's name."""
    settings: ClassVar[dict[str, Any]] = {}
    """Settings without a default."""
    texts: ClassVar[tuple[str, ...]] = _PLAIN
    """Replies on which the judge should differ; set your own."""
    items: ClassVar[tuple[Item, ...]] = (
        Item(id="a", prompt="p", split="test", cluster="a", answer="a b", references=("a b",)),
        Item(id="b", prompt="", split="test", cluster="b", references=("", "42", "c b a")),
        Item(id="c", prompt="p", split="test", cluster="b"),
    )
    """Items the replies are to; set your own if the judge reads more of them."""

    @property
    def judge(self) -> Judge:
        """The judge by its name."""
        return JUDGES.get(self.kind)

    def test_it_is_registered_under_its_name(self) -> None:
        assert isinstance(self.judge, Judge)
        assert self.judge.kind == self.kind

    def test_its_parts_are_present_and_typed(self) -> None:
        check_says(self.judge.says)
        assert isinstance(self.judge.exact, bool)

    def test_its_configuration_is_frozen_strict_and_described(self) -> None:
        check_config(self.judge.Config, JudgeConfig, self.settings)

    def test_it_is_total(self) -> None:
        """One decision per response, whatever the text; nothing raises."""
        for texts in (self.texts, _ODD):
            responses = self._responses(texts)
            judged = self._score(responses)
            assert len(judged) == len(responses)
            for judgement in judged:
                assert isinstance(judgement, Judgement)
                assert judgement.outcome in _DECISIONS
                assert isinstance(judgement.detail, str)

    def test_no_response_is_no_judgement(self) -> None:
        assert list(self._score([])) == []

    def test_it_keeps_the_order(self) -> None:
        responses = self._responses((*self.texts, *_ODD))
        assert self._score(responses[::-1]) == self._score(responses)[::-1]

    def test_a_judgement_does_not_depend_on_the_rest_of_the_batch(self) -> None:
        responses = self._responses((*self.texts, *_ODD))
        alone = [judgement for response in responses for judgement in self._score([response])]
        assert self._score(responses) == alone
        assert self._score([*responses, *responses]) == [*alone, *alone]

    def _responses(self, texts: Sequence[str]) -> list[Response]:
        return [Response(item, text) for item in self.items for text in texts]

    def _score(self, responses: Sequence[Response]) -> list[Judgement]:
        return list(self.judge.score(responses, self.judge.Config(**self.settings)))
