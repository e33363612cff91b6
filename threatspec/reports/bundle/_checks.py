"""What a check says, and what all of them together say."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from pydantic import Field

from threatspec.claims import CampaignVerdict, exit_code
from threatspec.errors import ExitCode
from threatspec.schema import Model

__all__ = ["Check", "Status", "Verification", "found", "unknown"]

_SHOWN = 3
"""Faults that a check names; of the others it gives the number."""


class Status(StrEnum):
    """What a check found."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNKNOWN = "CANNOT KNOW"


class Check(Model):
    """One thing that was looked at."""

    name: str
    status: Status
    says: str
    """One sentence."""


class Verification(Model):
    """Everything that was looked at, and the verdicts that follow from the records."""

    format: Literal["threatspec/verification/v1"] = Field(
        default="threatspec/verification/v1", alias="schema"
    )
    plan: str
    plan_sha256: str
    """Of plan.json: what receipts are over."""
    created: str
    as_of: datetime.date
    finished: bool
    checks: tuple[Check, ...]
    expired: dict[str, str]
    """What has expired since, by claim."""
    recorded: CampaignVerdict
    """As the bundle has it."""
    verdict: CampaignVerdict | None
    """Recomputed; None if that cannot be done."""

    @property
    def failed(self) -> tuple[Check, ...]:
        """What speaks against the bundle."""
        return tuple(check for check in self.checks if check.status is Status.FAIL)

    def exit_code(self, *, accept_waivers: bool = False) -> ExitCode:
        """That of the recomputed verdicts; INADMISSIBLE if any check fails."""
        if self.failed or self.verdict is None:
            return ExitCode.INADMISSIBLE
        return exit_code(self.verdict, accept_waivers=accept_waivers)


def found(name: str, faults: Iterable[str], passed: str) -> Check:
    """FAIL with the first of the faults, or PASS."""
    listed = list(dict.fromkeys(faults))
    if not listed:
        return Check(name=name, status=Status.PASS, says=passed)
    more = len(listed) - _SHOWN
    tail = f"; and {more} more like these" if more > 0 else ""
    return Check(name=name, status=Status.FAIL, says="; ".join(listed[:_SHOWN]) + tail + ".")


def unknown(name: str, says: str) -> Check:
    """CANNOT KNOW."""
    return Check(name=name, status=Status.UNKNOWN, says=says)
