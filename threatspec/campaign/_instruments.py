"""Instruments of a spec: looked up, checked against the subjects, and planned as trials.

They come after everything that decides a claim, and nothing waits for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from threatspec.campaign._digests import component_digest, source_digest
from threatspec.errors import ThreatspecError
from threatspec.instruments import INSTRUMENTS, Instrument, InstrumentConfig, Prompts
from threatspec.loading import model_problems
from threatspec.measures import Benchmark, benchmark
from threatspec.records import Arm, InstrumentReading, PlannedInstrument, TrialKind

if TYPE_CHECKING:
    from threatspec.campaign._resolution import Resolution
    from threatspec.campaign._trials import TrialBook

__all__ = ["ResolvedInstrument", "find_instruments", "plan_instruments"]

Models = Mapping[str, Mapping[Arm, str]]
"""References by subject and arm."""


@dataclass(frozen=True)
class ResolvedInstrument:
    """One entry of `instruments:` with everything looked up."""

    instrument: Instrument
    config: InstrumentConfig
    models: Models
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    """By name."""

    @property
    def prompts(self) -> tuple[Prompts, ...]:
        """What is read."""
        return self.instrument.prompts(self.config)

    def readings(self) -> Iterator[tuple[str, Arm, str]]:
        """Subject, arm and model of each reading."""
        for name, models in self.models.items():
            for arm in self.instrument.arms:
                if arm in models:
                    yield name, arm, models[arm]

    def base(self, subject: str) -> str | None:
        """What a subject is compared with."""
        return self.models[subject].get(Arm.UNDEFENDED) if self.instrument.compares else None


def find_instruments(found: Resolution, models: Models) -> dict[str, ResolvedInstrument]:
    """All that can be read, by name; whatever is wrong is complained of at its place."""
    known: dict[str, ResolvedInstrument] = {}
    for name in found.spec.instruments:
        resolved = _find(found, name, models)
        if resolved is not None:
            known[name] = resolved
            _check_prompts(found, name, resolved)
            _check_subjects(found, name, resolved)
    return known


def _find(found: Resolution, name: str, models: Models) -> ResolvedInstrument | None:
    use, place = found.spec.instruments[name], ("instruments", name)
    try:
        instrument = INSTRUMENTS.get(use.use)
    except ThreatspecError as error:
        found.resolver.complain(error.code, error.message, *place, "use")
        return None
    config, problems = model_problems(instrument.Config, use.settings, found.loaded, place)
    found.resolver.problems += problems
    return ResolvedInstrument(instrument, config, models) if config is not None else None


def _check_prompts(found: Resolution, name: str, resolved: ResolvedInstrument) -> None:
    for prompts in resolved.prompts:
        place = ("instruments", name, prompts.key)
        try:
            known = benchmark(prompts.benchmark, found.loaded.folder)
        except ThreatspecError as error:
            if not found.resolver.describes("benchmark", prompts.benchmark, *place):
                found.resolver.complain(error.code, error.message, *place)
            continue
        resolved.benchmarks[prompts.benchmark] = known
        if fault := _lacking(known, prompts):
            found.resolver.complain("TS-DATA", fault, *place)


def _lacking(known: Benchmark, prompts: Prompts) -> str:
    items = known.items(prompts.split)
    where = f"{prompts.benchmark} ({prompts.split})"
    if len(items) < prompts.n:
        return f"{where} must have {prompts.n} prompts for the instrument, but has {len(items)}"
    if prompts.answers and not all(item.answer for item in items):
        return f"{where} must have a complying answer to every prompt, but some have none"
    return ""


def _check_subjects(found: Resolution, name: str, resolved: ResolvedInstrument) -> None:
    place = ("instruments", name)
    for subject, models in resolved.models.items():
        if resolved.instrument.compares and Arm.UNDEFENDED not in models:
            text = f"{resolved.instrument.kind} compares with the undefended subject, but subject "
            text += f"{subject!r} declares none; add `undefended:` to it"
            found.resolver.complain("TS-INSTRUMENT", text, *place)
    faults = (_unfit(found, resolved, subject, ref) for subject, _, ref in resolved.readings())
    for fault in dict.fromkeys(filter(None, faults)):
        found.resolver.complain("TS-INSTRUMENT", fault, *place)


def _unfit(found: Resolution, resolved: ResolvedInstrument, subject: str, ref: str) -> str:
    """Why a model cannot be read; what is not there yet is looked at when it runs."""
    base = resolved.base(subject)
    kind = resolved.instrument.kind
    cards = {one: found.cards[one] for one in (ref, base) if one in found.cards}
    for one, card in cards.items():
        if lacking := sorted(resolved.instrument.offers - card.offers):
            return f"{kind} needs a subject that offers {', '.join(lacking)}, but {one} does not"
    sizes = {card.vocabulary for card in cards.values()}
    if len(sizes) > 1:
        text = f"{kind} compares the next tokens of {ref} and {base}, which must be of one "
        return f"{text}vocabulary, but they know {' and '.join(map(str, sorted(sizes)))} tokens"
    return ""


def plan_instruments(found: Resolution, book: TrialBook) -> dict[str, PlannedInstrument]:
    """Enter one trial for each model that an instrument reads."""
    return {name: _planned(found, book, one) for name, one in found.instruments.items()}


def _planned(found: Resolution, book: TrialBook, one: ResolvedInstrument) -> PlannedInstrument:
    settings = one.config.model_dump(mode="json", by_alias=True)
    return PlannedInstrument(
        use=one.instrument.kind,
        settings=settings,
        panels=one.instrument.panels,
        readings=tuple(
            InstrumentReading(
                subject=subject,
                arm=arm,
                model=ref,
                trial=_trial(found, book, one, settings, ref, one.base(subject)),
            )
            for subject, arm, ref in one.readings()
        ),
    )


def _trial(
    found: Resolution,
    book: TrialBook,
    one: ResolvedInstrument,
    settings: dict[str, Any],
    ref: str,
    base: str | None,
) -> str:
    work = {
        "instrument": one.instrument.kind,
        "settings": settings,
        "base": base,
        "benchmarks": sorted(one.benchmarks),
    }
    code = source_digest("instruments", "measures", "subjects", "training")
    determined = [code, component_digest(INSTRUMENTS, one.instrument.kind)]
    determined += [known.digest for known in one.benchmarks.values()]
    determined += [found.cards[base].digest] if base else []
    return book.enter(TrialKind.INSTRUMENT, ref, (), work, determined).id
