"""A results folder at one moment, as it is handed on; a campaign may go on meanwhile."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threatspec.claims import CampaignVerdict, audits_of, decide, gather
from threatspec.records import (
    Generation,
    Label,
    LabelBook,
    Ledger,
    Plan,
    Registration,
    TrialKind,
    TrialResult,
    TrialStatus,
    environment,
)
from threatspec.reports.bundle._lines import (
    AttemptLine,
    EnvironmentFile,
    EventLine,
    PictureLine,
    RepliesLine,
    TextLine,
    by_item,
    hash_of,
)
from threatspec.reports.bundle._scrub import Scrubber, nameless

__all__ = ["Snapshot", "take"]

_KEPT = frozenset({"frozen", "interrupted", "run-finished", "run-started"})
"""Events whose details are the program's own words and numbers."""


_SAID = {"item", "prompt", "attacker", "reply", "variant"}


@dataclass(frozen=True)
class Snapshot:
    """Everything that goes into a bundle but replies, which are read one trial at a time."""

    ledger: Ledger
    plan: Plan
    results: Mapping[str, TrialResult]
    """In the order of the plan, without tampers."""
    marks: Mapping[str, bytes]
    attempts: tuple[AttemptLine, ...]
    events: tuple[EventLine, ...]
    labels: tuple[Label, ...]
    seed: int
    registration: Registration
    environment: EnvironmentFile
    finished: bool
    as_of: datetime.date

    @property
    def verdict(self) -> CampaignVerdict:
        """The answers, as of the day on which they were given."""
        evidence = gather(
            self.plan,
            self.results,
            marks=self.marks,
            at=self.as_of,
            audits=audits_of(self.plan, self.marks, self.labels, self.seed),
            registration=self.registration,
        )
        return decide(evidence)

    def replies(self) -> Iterator[RepliesLine]:
        """What was asked and answered, as hashes."""
        return (_hashed(trial, found) for trial, found in self._generations())

    def texts(self) -> Iterator[TextLine]:
        """The same in words."""
        for trial, found in self._generations():
            for one in found:
                said = one.model_dump(include=_SAID)
                yield TextLine(trial=trial, **said, lacking=one.outcome is not None)

    def pictures(self, own: bool) -> Iterator[PictureLine]:
        """Images that were shown.

        Args:
            own: whether those of the user's own files too, and not those alone that anybody has.
        """
        for trial in self._asked():
            for one in self.ledger.pictures(trial):
                if own or not one.own:
                    yield PictureLine(trial=trial, **one.model_dump())

    def _asked(self) -> Iterator[str]:
        for trial, result in self.results.items():
            asked = self.plan.trials[trial].kind is TrialKind.GENERATE
            if asked and result.status is TrialStatus.DONE:
                yield trial

    def _generations(self) -> Iterator[tuple[str, tuple[Generation, ...]]]:
        for trial in self._asked():
            yield trial, self.ledger.generations(trial)


def take(ledger: Ledger, created: datetime.datetime) -> Snapshot:
    """What is there now. Raises ThreatspecError TS-RECORDS if it cannot be read."""
    history = ledger.history()  # first: whoever has finished has everything
    places = [entry["detail"].get("path") for entry in history if entry["kind"] == "spec-folder"]
    scrubber = Scrubber([ledger.folder, ledger.folder.resolve(), *filter(None, places)])
    results = _results(ledger, scrubber)
    finished = [entry["at"] for entry in history if entry["kind"] == "run-finished"]
    at = datetime.datetime.fromtimestamp(finished[-1], datetime.UTC) if finished else created
    book = LabelBook.open(ledger.folder, ledger.plan)
    attempts = tuple(_attempts(ledger, results, scrubber))
    return Snapshot(
        ledger=ledger,
        plan=ledger.plan,
        results=results,
        marks={trial: found for trial, found in ledger.marks().items() if trial in results},
        attempts=attempts,
        events=tuple(_event(entry) for entry in history),
        labels=tuple(nameless(book.labels)),
        seed=book.seed,
        registration=_registration(ledger, attempts),
        environment=_environment(history),
        finished=bool(finished),
        as_of=at.date(),
    )


def _results(ledger: Ledger, scrubber: Scrubber) -> dict[str, TrialResult]:
    """A tamper may hold what an attacker writes; no verdict reads it."""
    found = ledger.results()
    return {
        trial: found[trial].model_copy(
            update={
                "tamper": None,
                "message": scrubber.text(found[trial].message),
                "warnings": tuple(map(scrubber.text, found[trial].warnings)),
            }
        )
        for trial in ledger.plan.trials
        if trial in found
    }


def _attempts(
    ledger: Ledger, results: Mapping[str, TrialResult], scrubber: Scrubber
) -> Iterator[AttemptLine]:
    for entry in ledger.attempts():
        final = bool(entry["final"])
        if final and entry["trial"] not in results:
            continue  # finished after the results were read
        told = {name: scrubber.text(entry[name]) for name in ("worker", "message")}
        yield AttemptLine(**{**entry, **told, "final": final})


def _event(entry: Mapping[str, Any]) -> EventLine:
    detail = entry["detail"] if entry["kind"] in _KEPT else {}
    return EventLine(at=entry["at"], kind=entry["kind"], detail=detail)


def _environment(history: Sequence[Mapping[str, Any]]) -> EnvironmentFile:
    told = [e["detail"]["environment"] for e in history if "environment" in e["detail"]]
    return EnvironmentFile(**(told[-1] if told else environment().model_dump()))


def _registration(ledger: Ledger, attempts: tuple[AttemptLine, ...]) -> Registration:
    asked = [a.started for a in attempts if ledger.plan.trials[a.trial].kind is TrialKind.GENERATE]
    found = ledger.registration()
    if not found.plan:
        return found
    return found.model_copy(update={"first_row_at": min(asked, default=0.0)})


def _hashed(trial: str, found: tuple[Generation, ...]) -> RepliesLine:
    prompts = by_item(found)
    written = any(one.attacker for one in found)
    return RepliesLine(
        trial=trial,
        items=tuple(prompts),
        asked=tuple(map(len, prompts.values())) if len(prompts) < len(found) else (),
        seen=tuple(hash_of(g.prompt for g in own).hex() for own in prompts.values()),
        attacker=tuple(hash_of(g.attacker for g in own).hex() for own in prompts.values())
        if written
        else (),
        replies=tuple(hash_of(g.reply for g in own).hex() for own in prompts.values()),
        outcomes={
            name: own[0].outcome
            for name, own in prompts.items()
            if own[0].outcome is not None and all(one.outcome is not None for one in own)
        },
    )
