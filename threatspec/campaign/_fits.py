"""Whether attacks can be run on the subjects they are aimed at, as far as a check can know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threatspec.campaign._entries import count_of
from threatspec.errors import ThreatspecError
from threatspec.schema import Claim
from threatspec.subjects import SubjectCard

if TYPE_CHECKING:
    from threatspec.campaign._resolution import Resolution
    from threatspec.campaign._resolve import Resolved

__all__ = ["check_fits"]


def check_fits(found: Resolution) -> None:
    """Named attacks must be possible; of the others, those that no subject admits are left out."""
    for name in dict.fromkeys(claim.against for claim in found.spec.claims):
        claims = [claim for claim in found.spec.claims if claim.against == name]
        refs = dict.fromkeys(ref for claim in claims for ref in _references(found, claim))
        cards = {ref: found.cards[ref] for ref in refs if ref in found.cards}
        for resolved, place in found.entries(claims[0]):
            needed = resolved.attack.offers
            lacking = {ref: sorted(needed - card.offers) for ref, card in cards.items()}
            if cards and all(lacking.values()) and not resolved.named:
                found.attacks[name].remove(resolved)
                continue
            for ref, offers in lacking.items():
                if offers:
                    text = f"{resolved.name} needs a subject that offers {', '.join(offers)}, "
                    found.resolver.complain("TS-ACCESS", f"{text}but {ref} does not", *place)
                elif resolved.named and (error := _misfit(resolved, cards[ref])):
                    found.resolver.complain(error.code, error.message, *place)


def _misfit(resolved: Resolved, card: SubjectCard) -> ThreatspecError | None:
    """Why no setting of an attack can be run on a subject, as far as that is known by now."""
    error, rows = None, count_of(resolved.data)
    for config in resolved.configs:
        try:
            resolved.attack.fits(card, config, rows)
        except ThreatspecError as found:
            error = found
        else:
            return None
    return error


def _references(found: Resolution, claim: Claim) -> list[str]:
    from threatspec.campaign._resolution import models_of

    subjects = found.subjects(claim).items()
    refs = (ref for name, subject in subjects for ref in models_of(subject, name).values())
    return list(dict.fromkeys(refs))
