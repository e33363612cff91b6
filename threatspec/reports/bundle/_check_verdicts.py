"""Do the recorded verdicts follow from the records, and have they expired since?"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from threatspec.claims import CampaignVerdict, ClaimVerdict
from threatspec.errors import ThreatspecError
from threatspec.reports.bundle._checks import Check, found, unknown
from threatspec.reports.bundle._matter import Matter
from threatspec.reports.bundle._values import changes
from threatspec.reports.bundle._write import this_program

__all__ = ["expired", "recompute", "verdict_checks"]

_WITHIN = 1e-6
"""Relative difference of numbers that another machine's arithmetic may make."""
_WORDS = frozenset(
    {"because", "by", "next_step", "note", "reasons", "remedy", "says", "scope", "seeds", "turning"}
)
"""Parts of a verdict that say in words what others say in numbers."""


def recompute(matter: Matter) -> CampaignVerdict | None:
    """The verdicts of the records; None if nothing can be concluded from them."""
    try:
        return matter.bundle.decided()
    except ThreatspecError:
        return None


def verdict_checks(matter: Matter, verdict: CampaignVerdict | None) -> Iterator[Check]:
    """Verdicts, and whether all that they need is there."""
    if verdict is None:
        yield found("verdicts", ["no verdict can be computed from these records"], "")
        return
    yield _complete(matter, verdict)
    yield _recorded(matter, verdict)


def _complete(matter: Matter, verdict: CampaignVerdict) -> Check:
    total, there = len(matter.plan.trials), len(matter.bundle.results)
    if matter.bundle.manifest.finished:
        fault = (
            f"the campaign has ended, but planned cells were not read; {there} of {total} trials"
        )
        faults = [] if verdict.complete else [f"{fault} have a result"]
        text = "every trial that a verdict needs has a result"
        return found("completeness", faults, text)
    text = f"the campaign has not ended: {there} of {total} trials have a result"
    return unknown("completeness", f"{text}, and what the others would show is open")


def _recorded(matter: Matter, verdict: CampaignVerdict) -> Check:
    """Another version of the program may say the same in other words."""
    recorded = matter.bundle.recorded
    differing = list(changes(_data(recorded), _data(verdict), within=_WITHIN))
    own = matter.bundle.manifest.program == this_program()
    decisive = [c for c in differing if own or not _WORDS & set(c.path.split("."))]
    faults = [f"{c.path} is recorded as {_short(c.old)}, but is {_short(c.new)}" for c in decisive]
    listed = ", ".join(f"{claim.id} {claim.verdict.value}" for claim in verdict.claims)
    words = "" if len(decisive) == len(differing) else "; some of it is worded in another way"
    return found("verdicts", faults, f"the records give what was recorded: {listed}{words}")


def _data(verdict: CampaignVerdict) -> Mapping[str, Any]:
    """With claims and cells by name, so that a place says where it is."""
    data = verdict.model_dump(mode="json", exclude={"format"})
    data["claims"] = {claim["id"]: claim for claim in data["claims"]}
    return data


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def expired(verdict: CampaignVerdict, today: datetime.date, matter: Matter) -> dict[str, str]:
    """What verdicts rely on and what has run out since, by claim."""
    planned = matter.planned
    found_ = {c.id: _expiry(c, planned[c.id].claim.waivers, today) for c in verdict.claims}
    return {name: text for name, text in found_.items() if text}


def _expiry(claim: ClaimVerdict, waivers: tuple[Any, ...], today: datetime.date) -> str:
    if claim.governance and claim.governance.expired(today):
        return f"the evidence expired on {claim.governance.expires}"
    used = {one.rule for one in claim.rules if one.answer == "waived"}
    late = [w for w in waivers if w.rule in used and w.expired(today)]
    return "; ".join(f"the waiver of {w.rule} by {w.owner} expired on {w.expires}" for w in late)
