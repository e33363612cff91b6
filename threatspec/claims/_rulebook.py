"""The rules of admissibility: what each asks of a claim's design or run, and what answers it.

A table, so that verdicts, `check`, `list`, `explain` and the manual say the same of a rule.
"""

from __future__ import annotations

from collections.abc import Mapping

from threatspec.claims._rule import Rule
from threatspec.claims._rulebook_attacks import OF_ATTACKS
from threatspec.claims._rulebook_measuring import OF_MEASURING

__all__ = ["RULES", "Rule"]

RULES: Mapping[str, Rule] = {rule.code: rule for rule in (*OF_ATTACKS, *OF_MEASURING)}
"""Every rule by its code, in the order of the codes."""
