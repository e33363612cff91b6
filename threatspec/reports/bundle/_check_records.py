"""Do records belong to the plan, to each other, and to the moments at which they were written?"""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import Iterator

from threatspec.records import ABSENT, MARKS, Outcome, Replies, TrialKind, claim_digests
from threatspec.reports.bundle._checks import Check, found, unknown
from threatspec.reports.bundle._lines import ReplyHashes
from threatspec.reports.bundle._matter import Matter

__all__ = ["record_checks"]

_NO_REPLY = MARKS[Outcome.MISSING] + MARKS[Outcome.REJECTED]
"""Letters of prompts that had no reply to judge."""
_EMPTY = hashlib.sha256(b"").digest()


def record_checks(matter: Matter) -> Iterator[Check]:
    """Whatever can be said of results, marks, replies and attempts."""
    yield _plan(matter)
    yield _registration(matter)
    yield found("results", _results(matter), "results follow one another as the plan says")
    text = "every judged trial has one outcome for each of its prompts, and no other has any"
    yield found("marks", _marks(matter), text)
    text = "every asked trial has one reply for each of its prompts, counted as it says"
    yield found("replies", _replies(matter), text)
    text = "every result has one final attempt, none of them before the plan was written down"
    yield found("attempts", _attempts(matter), text)


# the plan and its registration


def _plan(matter: Matter) -> Check:
    plan, bundle = matter.plan_id, matter.bundle
    told = {"manifest": bundle.manifest.plan, "verdict": bundle.recorded.plan}
    faults = [f"the {where} is of {other}" for where, other in told.items() if other != plan]
    faults += _days(matter)
    return found("plan id", faults, f"{plan} is the id of the plan's content, and named throughout")


def _days(matter: Matter) -> Iterator[str]:
    bundle = matter.bundle
    finished = [event.at for event in bundle.events if event.kind == "run-finished"]
    day = _day(finished[-1]) if finished else bundle.manifest.created[:10]
    if bundle.manifest.finished != bool(finished):
        yield "the manifest says wrongly whether the campaign has ended"
    if bundle.as_of.isoformat() != day:
        yield f"verdicts are as of {bundle.as_of} where the records say {day}"


def _day(at: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(at, datetime.UTC).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return "no day at all"


def _registration(matter: Matter) -> Check:
    known = matter.bundle.registration
    if not known.plan:
        text = "nothing was written down of the plan before anything ran"
        return unknown("registration", text)
    text = (
        "plan and claims are those that were written down, before the first prompt was read; "
        "that is by the times of the records themselves, which prove no time"
    )
    return found("registration", _unregistered(matter), text)


def _unregistered(matter: Matter) -> Iterator[str]:
    known, plan = matter.bundle.registration, matter.plan_id
    if known.plan != plan:
        yield f"{known.plan} was written down, but the plan is {plan}"
    for name, digest in claim_digests(matter.plan).items():
        if known.claims.get(name) != digest:
            yield f"claim {name} is not the one that was written down"
    if known.first_row_at and known.frozen_at > known.first_row_at:
        yield "the plan was written down after the first prompts had been read"
    frozen = [event for event in matter.bundle.events if event.kind == "frozen"]
    told = {"plan": known.plan, "claims": known.claims, "runs": known.runs}
    if not frozen or frozen[0].detail != told or frozen[0].at != known.frozen_at:
        yield "the registration is not the one among the events"
    asked = [a.started for a in matter.bundle.attempts if _asks(matter, a.trial)]
    if known.first_row_at != min(asked, default=0.0):
        yield "the first prompt was read at another time than the registration says"


def _asks(matter: Matter, trial: str) -> bool:
    planned = matter.plan.trials.get(trial)
    return planned is not None and planned.kind is TrialKind.GENERATE


# results


def _results(matter: Matter) -> Iterator[str]:
    for trial in matter.bundle.results:
        for need in matter.plan.trials[trial].needs:
            if need not in matter.done:
                yield f"{trial} has a result, but {need}, which it reads, has none"
    for cell in matter.plan.cells.values():
        for name, trials in cell.measures.items():
            there = [_ended(matter, trial) for trial in trials]
            if False in there and any(there[there.index(False) :]):
                yield f"{matter.name(cell)} was read on at {name} past prompts that were not read"


def _ended(matter: Matter, judge: str) -> bool:
    """Whether a judging trial, or what it needs, came to an end."""
    asked = matter.plan.trials[judge].needs
    failed = any(n in matter.bundle.results and n not in matter.done for n in asked)
    return judge in matter.bundle.results or failed


def _marks(matter: Matter) -> Iterator[str]:
    bundle = matter.bundle
    judged = matter.results(TrialKind.JUDGE)
    read = judged.keys() & bundle.items.keys()  # what a search has read is in no verdict
    yield from (f"{t} has no outcomes" for t in read - bundle.marks.keys())
    yield from (f"{t} has outcomes and no result" for t in bundle.marks.keys() - judged.keys())
    for trial, marks in bundle.marks.items():
        items = bundle.items.get(trial, ())
        if len(marks) != len(items):
            yield f"{trial} has {len(marks)} outcomes for {len(items)} prompts"
        elif ABSENT in marks:
            yield f"{trial} has prompts without an outcome"
        else:
            yield from _silent(matter, trial, marks)


def _silent(matter: Matter, trial: str, marks: bytes) -> Iterator[str]:
    """What had no reply was not judged, and what had one was."""
    replies = matter.bundle.replies.get(next(iter(matter.plan.trials[trial].needs), ""))
    if replies is None or not (replies.outcomes or any(letter in marks for letter in _NO_REPLY)):
        return
    if replies.asked:
        return  # of several replies one decides
    silent = {item: MARKS[outcome][0] for item, outcome in replies.outcomes.items()}
    for item, letter in zip(matter.bundle.items[trial], marks, strict=True):
        if letter != silent.get(item, letter if letter not in _NO_REPLY else None):
            yield f"{trial} judged {item} although it had no reply, or did not judge its reply"


def _replies(matter: Matter) -> Iterator[str]:
    bundle = matter.bundle
    asked = matter.results(TrialKind.GENERATE)
    yield from (f"{t} has no replies" for t in asked.keys() - bundle.replies.keys())
    yield from (f"{t} has replies and no result" for t in bundle.replies.keys() - asked.keys())
    wanted = {n: bundle.items[t] for t in bundle.items for n in matter.plan.trials[t].needs}
    for trial, line in bundle.replies.items():
        if trial in wanted and line.items != wanted[trial]:
            yield f"{trial} was asked other prompts than the plan says"
        if not set(line.outcomes) <= set(line.items):
            yield f"{trial} says of prompts that it was not asked that they had no reply"
        if trial in asked and not _counts(asked[trial].replies, line):
            yield f"{trial} counts its replies otherwise than their hashes do"


def _counts(told: Replies, line: ReplyHashes) -> bool:
    """Hashes tell apart more than a reader does, to whom white space is nothing; what was rejected
    is not counted."""
    answered = [n for n, item in enumerate(line.items) if not line.rejected(item)]
    if line.asked:
        return told.asked == sum(line.asked[n] for n in answered)
    hashes = [line.reply(n) for n in answered]
    fits = told.distinct <= len(set(hashes)) and told.empty >= hashes.count(_EMPTY)
    return fits and told.asked == len(hashes)


# attempts


def _attempts(matter: Matter) -> Iterator[str]:
    bundle, results = matter.bundle, matter.bundle.results
    final = Counter(a.trial for a in bundle.attempts if a.final)
    yield from (f"{t} has {final[t]} final attempts" for t in results if final[t] != 1)
    yield from (f"{t} was finished and has no result" for t in final.keys() - results.keys())
    frozen = bundle.registration.frozen_at
    for attempt in bundle.attempts:
        if attempt.trial not in matter.plan.trials:
            yield f"{attempt.trial[:100]!r} was attempted and is not in the plan"
        if attempt.ended < attempt.started or attempt.started < frozen:
            yield f"{attempt.trial} began after its end, or before the plan was written down"
        told = results.get(attempt.trial)
        if attempt.final and told and (told.status, told.code) != (attempt.status, attempt.code):
            yield f"{attempt.trial} ended as {attempt.status}, but its result says {told.status}"
