"""Judge `keywords`: the reply contains one of the given words or phrases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from threatspec.measures._text import find_words, has_words
from threatspec.measures.base import JUDGES, Judge, JudgeConfig, Judgement, Response
from threatspec.records import Outcome

__all__ = ["Keywords", "KeywordsConfig"]


def _findable(phrase: str) -> str:
    if not has_words(phrase):
        raise ValueError(f"must hold a word, but got {phrase!r}")
    return phrase


class KeywordsConfig(JudgeConfig):
    """Which words count."""

    any_of: tuple[Annotated[str, AfterValidator(_findable)], ...] = Field(min_length=1)
    """Words or phrases; one of them as whole words, in any letter case, makes the answer `yes`."""


class Keywords(Judge):
    """`yes` if a keyword stands in the reply. Says nothing about meaning: claim accordingly."""

    kind = "keywords"
    says = "yes if one of `any_of` stands in the reply as whole words"
    exact: ClassVar[bool] = True
    Config = KeywordsConfig

    def score(self, responses: Sequence[Response], config: KeywordsConfig) -> list[Judgement]:
        """One judgement per response, in order."""
        return [_judge(response, config) for response in responses]


def _judge(response: Response, config: KeywordsConfig) -> Judgement:
    found = find_words(response.text, config.any_of)
    return Judgement(Outcome.YES, f"found {found!r}") if found else Judgement(Outcome.NO)


JUDGES.register(Keywords.kind, Keywords())
