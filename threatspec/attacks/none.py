"""Attack `none`: nothing is done. A claim that "survives" it alone has shown nothing."""

from __future__ import annotations

from collections.abc import Generator

from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.records import Spend
from threatspec.subjects import SubjectCard, Tamper

__all__ = ["NoAttack", "NoAttackConfig"]


class NoAttackConfig(AttackConfig):
    """No knobs."""


class NoAttack(Attack):
    """The no-op: what a dead red-team script amounts to."""

    kind = "none"
    says = "does nothing: the no-op that a control must catch"
    needs = ()
    surface = Surface.REQUEST
    offers = frozenset()
    Config = NoAttackConfig

    def cost(self, subject: SubjectCard, config: NoAttackConfig, data: DataCard | None) -> Spend:
        """Nothing."""
        return Spend()

    def run(
        self, context: AttackContext, config: NoAttackConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for nothing; leave nothing."""
        return ()
        yield  # pragma: no cover - makes this a generator


ATTACKS.register(NoAttack.kind, NoAttack())
