"""Reading a bundle of somebody else: refused by code unless every part is of its form."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from threatspec.claims import CampaignVerdict
from threatspec.records import Label, Plan, TrialKind, TrialResult, items_by_trial
from threatspec.reports.bundle._archive import Archive
from threatspec.reports.bundle._bundle import Bundle
from threatspec.reports.bundle._format import (
    FILES,
    MANIFEST,
    OPTIONAL,
    RECEIPTS,
    SCHEMA,
    Manifest,
    refused,
    schema_of,
)
from threatspec.reports.bundle._json import parse, parse_lines, plain
from threatspec.reports.bundle._lines import (
    AttemptLine,
    EnvironmentFile,
    EventLine,
    LabelsHead,
    MarksLine,
    PictureLine,
    RegistrationFile,
    RepliesLine,
    ReplyHashes,
)
from threatspec.reports.bundle._pause import uncollected
from threatspec.reports.bundle._references import require_whole, spec_of
from threatspec.schema import Model

__all__ = ["open_bundle"]

M = TypeVar("M", bound=Model)
T = TypeVar("T")


@uncollected()
def open_bundle(path: Path) -> Bundle:
    """Read a bundle; close it when done.

    Raises ThreatspecError TS-FILE-MISSING if there is none, TS-BUNDLE for anything in it that is
    not as `write_bundle` writes it. What it says is believed only as far as `verify_bundle` finds.
    """
    archive = Archive(path)
    try:
        return _read(archive)
    except BaseException:
        archive.close()
        raise


def _read(archive: Archive) -> Bundle:
    manifest = _manifest(archive)
    archive.expect(manifest.files)
    plan_data = archive.read("plan.json")
    plan = parse(Plan, plan_data, "plan.json")
    require_whole(plan)
    seed, labels = _labels(archive, plan)
    if "generations.jsonl" in archive.names:
        deque(archive.chunks("generations.jsonl"), maxlen=0)  # only its digest, for now
    _look_at_pictures(archive, plan)
    return Bundle(
        path=archive.path,
        archive=archive,
        manifest=manifest,
        plan=plan,
        spec=spec_of(plan),
        plan_sha256=hashlib.sha256(plan_data).hexdigest(),
        results=_results(archive, plan),
        marks=_marks(archive, plan),
        replies=_replies(archive, plan),
        attempts=tuple(_lines(archive, AttemptLine, "attempts.jsonl")),
        events=tuple(_lines(archive, EventLine, "events.jsonl")),
        labels=labels,
        seed=seed,
        registration=_document(archive, RegistrationFile, "registration.json").registration(),
        environment=_document(archive, EnvironmentFile, "environment.json"),
        recorded=_document(archive, CampaignVerdict, "verdict.json"),
        receipts={
            name.removeprefix(RECEIPTS): archive.read(name)
            for name in sorted(archive.names)
            if name.startswith(RECEIPTS)
        },
    )


def _manifest(archive: Archive) -> Manifest:
    if MANIFEST not in archive.names:
        raise refused("a bundle must have a manifest.json", "this one has none")
    data = archive.read(MANIFEST)
    _require_schema(MANIFEST, _said(plain(data, MANIFEST)), SCHEMA)
    manifest = parse(Manifest, data, MANIFEST)
    named = [entry.name for entry in manifest.files]
    if len(set(named)) < len(named):
        raise refused("the manifest must name every member once", "it names one twice")
    _require_names(set(named), archive.names - {MANIFEST})
    for entry in manifest.files:
        _require_schema(entry.name, entry.format, schema_of(entry.name))
    return manifest


def _require_names(named: set[str], there: frozenset[str]) -> None:
    known = {name for name in named | there if name in FILES or name.startswith(RECEIPTS)}
    for rule, wrong in (
        ("the manifest must name every member", there - named),
        ("every member that the manifest names must be there", named - there),
        ("members must be those that this program knows", named - known),
        ("a bundle must have all its members", FILES.keys() - OPTIONAL - named),
    ):
        if wrong:
            raise refused(rule, f"{sorted(wrong)[0]!r} is not so")


def _said(document: Any) -> str:
    found = document.get("schema", "") if isinstance(document, Mapping) else ""
    return str(found)[:100]


def _require_schema(name: str, found: str, wanted: str) -> None:
    if found != wanted:
        text = f"it is {found!r}, which another version of the program may read"
        raise refused(f"{name} must be {wanted!r}, which is what this program reads", text)


def _document(archive: Archive, model: type[M], name: str) -> M:
    return parse(model, archive.read(name), name)


def _lines(archive: Archive, model: type[M], name: str) -> Iterator[M]:
    return parse_lines(model, archive.lines(name), name)


def _results(archive: Archive, plan: Plan) -> dict[str, TrialResult]:
    name = "results.jsonl"
    found: dict[str, TrialResult] = {}
    for result in _lines(archive, TrialResult, name):
        if result.rows or result.generations or result.pictures or result.tamper:
            raise refused(f"{name} must hold heads of results", f"{result.trial} has more")
        _enter(found, plan, result.trial, result, name)
    return found


def _marks(archive: Archive, plan: Plan) -> dict[str, bytes]:
    name = "marks.jsonl"
    found: dict[str, bytes] = {}
    for line in _lines(archive, MarksLine, name):
        _enter(found, plan, line.trial, line.marks.encode(), name)
    return found


def _look_at_pictures(archive: Archive, plan: Plan) -> None:
    """Whether they are of their form; they are kept nowhere, since nothing follows from them."""
    name = "pictures.jsonl"
    for line in _lines(archive, PictureLine, name) if name in archive.names else ():
        asked = plan.trials.get(line.trial)
        if asked is None or asked.kind is not TrialKind.GENERATE:
            raise refused(f"{name} must be about trials that ask", "a picture is of none")


def _replies(archive: Archive, plan: Plan) -> dict[str, ReplyHashes]:
    """A line of it is as long as a trial, so only lines are bounded, not their sum."""
    name = "replies.jsonl"
    asked = {
        need: items for t, items in items_by_trial(plan).items() for need in plan.trials[t].needs
    }
    found: dict[str, ReplyHashes] = {}
    for text in archive.lines(name):
        for line in parse_lines(RepliesLine, (text,), name):
            _enter(found, plan, line.trial, _packed(line, asked.get(line.trial, ())), name)
    return found


def _packed(line: RepliesLine, asked: tuple[str, ...]) -> ReplyHashes:
    lengths = {len(line.items), len(line.seen), len(line.replies), len(line.attacker or line.items)}
    if len(lengths) > 1:
        raise refused("replies.jsonl must have as many hashes as prompts", f"{line.trial} has not")
    return ReplyHashes(
        items=asked if line.items == asked else line.items,  # one copy for all trials
        seen=bytes.fromhex("".join(line.seen)),
        attacker=bytes.fromhex("".join(line.attacker)),
        replies=bytes.fromhex("".join(line.replies)),
        outcomes=line.outcomes,
        asked=line.asked,
    )


def _labels(archive: Archive, plan: Plan) -> tuple[int, tuple[Label, ...]]:
    name = "labels.jsonl"
    if name not in archive.names:
        return 0, ()
    lines = archive.lines(name)
    head = parse(LabelsHead, next(lines, b""), f"{name}:1")
    if head.plan != (known := plan.id):
        raise refused(f"{name} must be of {known}", f"it is of {head.plan}")
    labels = tuple(parse_lines(Label, lines, name))
    if any(label.trial not in plan.trials for label in labels):
        raise refused(f"{name} must be about trials of the plan", "a label is about another")
    return head.seed, labels


def _enter(found: dict[str, T], plan: Plan, trial: str, value: T, name: str) -> None:
    if trial not in plan.trials:
        raise refused(f"{name} must be about trials of the plan", f"{trial[:100]!r} is none")
    if trial in found:
        raise refused(f"{name} must have one line for each trial", f"{trial} has two")
    found[trial] = value
