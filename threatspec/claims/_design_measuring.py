"""Rules R4 to R8 read on a design: how the subject is asked, on which prompts, what is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from threatspec.claims._design import SAFEGUARD_SPLIT, Design
from threatspec.claims._text import listed, plural
from threatspec.claims._weak import met_by_silence
from threatspec.claims._wording import CAPABILITY, UNBOUNDED, found_words
from threatspec.schema import Capability

__all__ = ["FORESEEN", "OF_MEASURING"]

BENCHMARKS = 3
_TEMPLATES = frozenset({"native", "none"})
_CHOOSES = frozenset({Capability.TEMPLATE, Capability.WEIGHTS_WRITE})


def _templates(design: Design) -> Iterator[str]:
    """Every attack is read under all templates: by the serving, or by the end of its chain."""
    chosen = design.adversary.capabilities & _CHOOSES
    declared = set(design.templates)
    if not chosen or declared == _TEMPLATES or _of_classifiers(design.kinds):
        return
    tried = [set(one.knobs.get("templates") or ()) for one in design.procedures]
    short = sum(templates != _TEMPLATES for templates in tried)
    if short:
        means, only = listed(sorted(chosen)), listed(sorted(declared))
        by = "" if short == len(tried) else f" by {short} of {plural(len(tried), 'attack')}"
        yield f"the adversary may choose the template ({means}), but only `{only}` is used{by}"


def _of_classifiers(kinds: Sequence[str]) -> bool:
    """Whether all attacks are such as classifiers alone admit, which nobody asks by a template."""
    from threatspec.attacks import ATTACKS  # here: most claims have no need of it
    from threatspec.subjects import Offer

    known = [ATTACKS.get(kind) for kind in kinds if kind in ATTACKS.names()]
    return len(known) == len(kinds) > 0 and all(Offer.CLASSES in a.offers for a in known)


def _elicitations(design: Design) -> Iterator[str]:
    if design.claim.about == "capability" and len(design.elicitations) < 2:
        way = listed(design.elicitations)
        yield f"it is about a capability, but the subject is asked in one way ({way})"


def _coherence(design: Design) -> Iterator[str]:
    if met_by_silence(design.claim) and design.claim.counts_if is None:
        yield "a subject that answers nothing would meet it, and no `counts_if` tells such a cell"


def _utility(design: Design) -> Iterator[str]:
    if not met_by_silence(design.claim):
        return
    benchmarks = {design.measures[name].benchmark for name in design.utility}
    if not benchmarks:
        yield "no measure of utility is read both before the attack and after it"
    elif len(benchmarks) < BENCHMARKS:
        read = plural(len(benchmarks), "benchmark")
        yield f"utility is read on {read} ({listed(sorted(benchmarks))}) of at least {BENCHMARKS}"


def _attacker_overlap(design: Design) -> Iterator[str]:
    rows = {source for one in design.training for source in one.rows.values()}
    for left in sorted({design.source(name) for name in design.measures}):
        for found in design.between(left, rows):
            if found.equal:
                yield (
                    f"{found.equal:,} of {plural(found.prompts, 'prompt')} of {left} stand among "
                    f"the training rows {found.right}"
                )


def _safeguard_overlap(design: Design) -> Iterator[str]:
    """Of what is only described nothing can be counted; it is foreseen instead."""
    if not design.safeguarded:
        return
    own = {one.source for use in design.subject.safeguards for one in use.data.values()}
    seen = sorted(
        o.right
        for o in {o.right: o for o in design.overlaps}.values()
        if o.right in own or o.right.endswith(f"#{SAFEGUARD_SPLIT}")
    )
    for left, described in _decisive(design):
        known = design.between(left, seen)
        if not known and not described:
            yield _not_known(left)
        for found in known:
            if found.near:
                yield (
                    f"{found.near:,} of {plural(found.prompts, 'prompt')} of {left} stand, at "
                    f"least nearly, among the safeguard's rows {found.right}"
                )


def _uncounted(design: Design) -> Iterator[str]:
    """TS-R7b where only a description is there: it is met when the prompts are."""
    for left, described in _decisive(design):
        if described and design.safeguarded:
            yield _not_known(left)


def _decisive(design: Design) -> list[tuple[str, bool]]:
    """Prompts that `holds` reads, and whether they are only described."""
    found = {design.source(name): design.measures[name].benchmark for name in design.decided_by}
    return [(source, name in design.described) for source, name in sorted(found.items())]


def _not_known(left: str) -> str:
    return f"whether prompts of {left} stand among the safeguard's own rows is not known"


def _wording(design: Design) -> Iterator[str]:
    unbounded = found_words(design.claim.says, UNBOUNDED)
    if unbounded:
        yield f"`says` claims more than can be tested: {listed(map(repr, unbounded))}"
    capability = found_words(design.claim.says, CAPABILITY)
    if capability and design.claim.about != "capability":
        words = listed(map(repr, capability))
        about = design.claim.about
        yield f"`says` speaks of a capability ({words}), but the claim is about: {about}"


def _uncalibrated(design: Design) -> Iterator[str]:
    """TS-R5c is met by the run, unless the design has met it already."""
    if design.claim.about == "label":
        return
    for name in sorted(design.decided_by):
        measure = design.measures[name]
        known = {calibration.family for calibration in measure.calibration}
        open_ = [kind for kind in design.kinds if kind not in known]
        if open_ and not design.exact[name]:
            yield (
                f"the judge {measure.judge.use} of {name} can err, and how often on replies to "
                f"{listed(open_)} is not known"
            )


OF_MEASURING: Mapping[str, Callable[[Design], Iterator[str]]] = {
    "TS-R4": _templates,
    "TS-R5": _elicitations,
    "TS-R5b": _coherence,
    "TS-R6": _utility,
    "TS-R7": _attacker_overlap,
    "TS-R7b": _safeguard_overlap,
    "TS-R8": _wording,
}
"""How a design breaks each rule, in words; nothing where it meets it."""

FORESEEN: Mapping[str, Callable[[Design], Iterator[str]]] = {
    "TS-R5c": _uncalibrated,
    "TS-R7b": _uncounted,
}
"""What each rule will ask that nothing has been done about yet, in words."""
