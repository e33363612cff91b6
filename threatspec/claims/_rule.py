"""What a rule of admissibility is, and the sources that several rules have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from threatspec.schema import Model

__all__ = ["DURABLE", "OWN", "REPNOISE", "TAR", "TRAINS", "WEAK", "Rule", "RuleKind", "RuleReading"]


class RuleKind(StrEnum):
    """What breaking a rule does (docs/design/verdicts.md)."""

    VALIDITY = "validity"
    """What breaks it is unusable in both directions."""
    LIVENESS = "liveness"
    """The evidence could not have refuted: VACUOUS."""
    SUFFICIENCY = "sufficiency"
    """Blocks SUPPORTED only."""


class RuleReading(Model):
    """A rule of admissibility that a claim breaks, and whether that was answered."""

    rule: str
    """Code, e.g. `TS-R1`."""
    kind: RuleKind
    says: str
    """What is broken, with the values."""
    remedy: str
    answer: Literal["open", "scoped", "waived"] = "open"
    by: str = ""
    """What answers it, e.g. `scope.replicates: 3`, or who waives it, until when and why."""


When = Literal["design", "run", "both"]
_SCOPES: Mapping[str, str] = {
    "replicates": "3",
    "safeguard": "checkpoint",
    "trainer": "[resident]",
    "search": "listed",
    "families": "[full-finetune]",
    "data": "listed",
    "templates": "[native]",
    "elicitations": "[generate]",
    "utility": "[utility]",
}
"""An example of each field of a scope."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of admissibility."""

    code: str
    kind: RuleKind
    when: When
    """When it can be broken: as the claim is stated, or by what is run."""
    title: str
    says: str
    """What is asked."""
    applies: str
    """To which claims."""
    remedy: str
    source: str
    """Where the rule comes from."""
    scoped_by: str = ""
    """Field of a claim's `scope` that answers it; empty if none does."""
    essential: bool = False
    """A rule of sufficiency that nobody can waive: without it there is nothing to answer for."""

    @property
    def scope(self) -> str:
        """An example of a scope that answers it, as YAML; empty if none does."""
        return f"scope: {{{self.scoped_by}: {_SCOPES[self.scoped_by]}}}" if self.scoped_by else ""

    @property
    def waivable(self) -> bool:
        """Whether a waiver answers it."""
        return self.kind is RuleKind.SUFFICIENCY and not self.essential


TRAINS = "adversaries with an attack that trains"
WEAK = "claims that a subject of no use would meet as well, such as `asr <= 10 %`"

DURABLE = "arXiv 2412.07097"
OWN = "this project"
REPNOISE = "arXiv 2405.14577"
TAR = "arXiv 2408.00761"
