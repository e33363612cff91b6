"""What attacks share that search on another model which the adversary owns."""

from __future__ import annotations

from pathlib import Path

from threatspec.errors import ThreatspecError
from threatspec.subjects import Offer, SubjectCard, describe

__all__ = ["surrogate_card"]


def surrogate_card(
    kind: str, ref: str | None, folder: Path, searched: frozenset[Offer], own: str
) -> SubjectCard:
    """The card of a surrogate.

    Args:
        kind: of the attack.
        ref: what the adversary owns; None: nothing.
        searched: what a search needs of it.
        own: what to own in the place of one that lacks some of it.

    Raises ThreatspecError TS-ACCESS if there is none or it cannot be searched on, TS-MODEL-MISSING
    or TS-MODEL-DIGEST if it is not there.
    """
    if ref is None:
        text = f"{kind} needs a model to search on, but the adversary owns none; declare "
        raise ThreatspecError("TS-ACCESS", f"{text}`owns: {{surrogate: MODEL}}`")
    place = ref.removeprefix("path:")
    if place != ref and not Path(place).is_absolute():
        text = f"the folder of a surrogate must be absolute, but is {place!r}; write all of it"
        raise ThreatspecError("TS-MODEL-MISSING", text)
    card = describe(ref, folder)
    if lacking := sorted(searched - card.offers):
        text = f"a surrogate must offer {', '.join(lacking)}, but {ref} does not; own {own}"
        raise ThreatspecError("TS-ACCESS", text)
    return card
