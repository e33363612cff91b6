"""Who is shown what: prompts with images need subjects that see them, classifiers need images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from threatspec.measures import JUDGES, Item
from threatspec.schema import Serving, operands
from threatspec.subjects import Offer, SubjectCard

if TYPE_CHECKING:
    from threatspec.campaign._resolution import Resolution

__all__ = ["check_seen"]

Complaint = tuple[str, str]
"""Code and message."""
_UNSAID = ("template", "bos", "system", "decoding")
"""Fields of a serving that mean nothing to a classifier."""


def check_seen(found: Resolution) -> None:
    """Complain of measures that a subject cannot be asked, and of servings that say nothing."""
    said: set[tuple[str, str]] = set()
    for measure, ref in dict.fromkeys(_asked(found)):
        card, known = found.cards.get(ref), found.benchmarks.get(measure)
        if card is None or known is None:
            continue
        use = found.spec.measures[measure]
        for code, text in _unfit(card, use.benchmark, known.items(use.split)):
            if (measure, text) not in said:
                said.add((measure, text))
                found.resolver.complain(code, text, "measures", measure, "benchmark")
        if _is_classifier(card) and (text := _reads_prose(use.judge.use, ref)):
            found.resolver.complain("TS-JUDGE", text, "measures", measure, "judge")
    _servings(found)


def _asked(found: Resolution) -> Iterator[tuple[str, str]]:
    """Measures with the references of the subjects that claims read them on."""
    from threatspec.campaign._resolution import models_of

    for claim in found.spec.claims:
        read = claim.predicate("holds"), claim.predicate("provided"), claim.predicate("counts_if")
        names = {operand.measure for one in read if one for operand in operands(one)}
        for name, subject in found.subjects(claim).items():
            for ref in models_of(subject, name).values():
                yield from ((measure, ref) for measure in sorted(names))


def _is_classifier(card: SubjectCard) -> bool:
    return Offer.CLASSES in card.offers


def _unfit(card: SubjectCard, name: str, items: tuple[Item, ...]) -> Iterator[Complaint]:
    shown = sum(bool(item.image) for item in items)
    if shown and Offer.IMAGE not in card.offers:
        text = f"{name} shows images, which {card.ref} does not see; ask it prompts of text, or "
        yield "TS-ACCESS", f"{text}a model that sees"
    if not _is_classifier(card):
        return
    if shown < len(items):
        text = f"{card.ref} tells classes of images and reads no text, but {len(items) - shown} of "
        yield "TS-ACCESS", f"{text}{len(items)} prompts of {name} show no image"
    named = {choice for item in items for choice in item.choices}
    if lacking := sorted(named - set(card.classes)):
        text = f"{name} has images of classes that {card.ref} does not tell: "
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        text += f"{', '.join(lacking[:5])}{more}; classes are compared by their names"
        yield "TS-ACCESS", text


def _reads_prose(kind: str, ref: str) -> str:
    judge = JUDGES.get(kind)
    if not judge.prose:
        return ""
    good = ", ".join(name for name in ("exact", "target-class", "answered"))
    return f"{kind} reads prose, and {ref} answers with the name of a class; use {good}"


def _servings(found: Resolution) -> None:
    """What is silently ignored would be taken for tested."""
    refs = [ref for ref, card in found.cards.items() if _is_classifier(card)]
    usual = Serving()
    for serving in found.spec.serving if refs else ():
        for name in _UNSAID:
            if getattr(serving, name) != getattr(usual, name):
                text = f"{refs[0]} reads no text and draws nothing, so `{name}` says nothing of it"
                text += "; leave it out, or claim of other subjects in another file"
                found.resolver.complain("TS-SERVING", text, "serving")
                return
