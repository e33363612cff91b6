"""A bundle that has been read: everything is of the form it must be; nothing of it is believed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

from threatspec.claims import CampaignVerdict, Evidence, audits_of, decide, gather
from threatspec.errors import ThreatspecError
from threatspec.records import Label, Plan, Registration, TrialResult, items_by_trial
from threatspec.reports.bundle._archive import Archive
from threatspec.reports.bundle._format import Manifest, refused
from threatspec.reports.bundle._json import parse_lines
from threatspec.reports.bundle._lines import (
    AttemptLine,
    EnvironmentFile,
    EventLine,
    PictureLine,
    ReplyHashes,
    TextLine,
)
from threatspec.schema import Spec

__all__ = ["Bundle"]

_TORN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Bundle:
    """One campaign as somebody handed it over; use as a context, or close it."""

    path: Path
    archive: Archive
    manifest: Manifest
    plan: Plan
    spec: Spec
    """The spec inside the plan."""
    plan_sha256: str
    """Of the bytes of plan.json: what receipts are over."""
    results: Mapping[str, TrialResult]
    """By trial, without rows and replies."""
    marks: Mapping[str, bytes]
    """Outcomes by judging trial, one letter per prompt."""
    replies: Mapping[str, ReplyHashes]
    """By generating trial."""
    attempts: tuple[AttemptLine, ...]
    events: tuple[EventLine, ...]
    labels: tuple[Label, ...]
    seed: int
    """From which the order of labelling derives."""
    registration: Registration
    environment: EnvironmentFile
    recorded: CampaignVerdict
    """The verdicts as the bundle has them."""
    receipts: Mapping[str, bytes]

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; texts of replies cannot be read any more."""
        self.archive.close()

    @property
    def as_of(self) -> datetime.date:
        """Day as of which the claims are answered."""
        return self.manifest.as_of

    @property
    def has_texts(self) -> bool:
        """Whether replies are there in words."""
        return "generations.jsonl" in self.archive.names

    def texts(self) -> Iterator[TextLine]:
        """Replies in words, as far as they are there. Raises ThreatspecError TS-BUNDLE."""
        if self.has_texts:
            name = "generations.jsonl"
            for line in self.archive.lines(name):
                yield from parse_lines(TextLine, (line,), name)

    def pictures(self) -> Iterator[PictureLine]:
        """A few images that were shown, if any are there. Raises ThreatspecError TS-BUNDLE."""
        name = "pictures.jsonl"
        if name in self.archive.names:
            for line in self.archive.lines(name):
                yield from parse_lines(PictureLine, (line,), name)

    @cached_property
    def items(self) -> Mapping[str, tuple[str, ...]]:
        """Prompts of every judging trial, in the order in which they are read."""
        return items_by_trial(self.plan)

    def decided(self) -> CampaignVerdict:
        """The verdicts that follow from the records.

        Raises ThreatspecError TS-BUNDLE if none do: a stranger's plan may be torn in ways that
        nothing has foreseen.
        """
        try:
            return decide(self.evidence)
        except ThreatspecError as error:
            raise refused("verdicts must follow from the records", error.message) from None
        except _TORN as error:
            text = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise refused("verdicts must follow from the records", text) from None

    @cached_property
    def evidence(self) -> Evidence:
        """What verdicts are made from."""
        return gather(
            self.plan,
            self.results,
            marks=self.marks,
            at=self.as_of,
            audits=audits_of(self.plan, self.marks, self.labels, self.seed),
            registration=self.registration,
        )
