"""Whether scopes name what is run, and waivers name rules that somebody can answer for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threatspec.claims import RULES
from threatspec.errors import did_you_mean
from threatspec.schema import Claim

if TYPE_CHECKING:
    from threatspec.campaign._resolution import Resolution

__all__ = ["check_answers"]


def check_answers(found: Resolution) -> None:
    """Complain of every scope that is not what is run, and of every waiver that answers nothing."""
    for index, claim in enumerate(found.spec.claims):
        _scope(found, claim, index)
        _waivers(found, claim, index)


def _scope(found: Resolution, claim: Claim, index: int) -> None:
    scope, made = claim.scope, found.attacks[claim.against]
    if scope is None:
        return
    kinds = {resolved.attack.kind for resolved in made} - {"none"}
    trainers = {resolved.trainer for resolved in made} - {""}
    for key, named, run in (
        ("trainer", scope.trainer, trainers),
        ("families", scope.families, kinds),
    ):
        if named is not None and set(named) != run:
            got, wanted = ", ".join(named), ", ".join(sorted(run))
            text = f"the {key} of a scope must be what is run, [{wanted}], but got [{got}]"
            found.resolver.complain("TS-OUT-OF-RANGE", text, "claims", index, "scope", key)
    if scope.search is not None and found.spec.adversaries[claim.against].attacks is None:
        text = "the search of a scope must be listed, but the adversary lists no `attacks`"
        found.resolver.complain("TS-OUT-OF-RANGE", text, "claims", index, "scope", "search")


def _waivers(found: Resolution, claim: Claim, index: int) -> None:
    seen: set[str] = set()
    for number, waiver in enumerate(claim.waivers):
        rule = RULES.get(waiver.rule)
        wrong = ""
        if rule is None:
            wrong = f"unknown rule {waiver.rule!r}{did_you_mean(waiver.rule, list(RULES))}"
        elif not rule.waivable:
            wrong = f"{rule.code} ({rule.title}) cannot be waived; meet it"
        elif rule.code in seen:
            wrong = f"a rule must be waived once, but {rule.code} is waived twice"
        seen.add(waiver.rule)
        if wrong:
            place = ("claims", index, "waivers", number, "rule")
            found.resolver.complain("TS-WAIVER", wrong, *place)
