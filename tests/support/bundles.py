"""Campaigns that look as if they had been run, bundles of them, and forged bundles."""

from __future__ import annotations

import copy
import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.specs import Changes, plan_of
from threatspec.claims import audits_of, decide, gather
from threatspec.measures import JUDGES, Item, Response, benchmark, looks_of
from threatspec.records import (
    UNTOUCHED,
    Arm,
    Attempt,
    Cell,
    Execution,
    Generation,
    Label,
    Ledger,
    Plan,
    Realised,
    Registration,
    Row,
    Spend,
    TrialResult,
    TrialStatus,
    claim_digests,
)
from threatspec.reports.bundle import Verification, open_bundle, verify_bundle, write_bundle
from threatspec.schema import content_id
from threatspec.subjects import describe
from threatspec.training import training_flops

SUPPORTED: Changes = {
    "claims.0.provided": "utility >= 0.5",
    "claims.0.counts_if": "utility >= 0.5",
    "claims.0.scope": {
        "templates": ["native"], "safeguard": "checkpoint", "search": "listed",
        "families": ["full-finetune"], "data": "listed", "utility": ["utility"],
        "trainer": ["resident"], "replicates": 2,
    },
}  # fmt: skip
"""A claim that is limited to what is run, so that nothing but its evidence decides it."""
STEPS, LENGTH = 30, 22
TOKENS = STEPS * 10 * LENGTH

Says = Callable[[Cell, Item, str], str]
"""Reply for (cell, prompt, arm)."""


# an honest campaign


def holds(cell: Cell, item: Item, arm: str) -> str:
    """The subject withstands, the control breaks, the undefended model always answers."""
    useful = item.id.startswith("benign")
    broken = cell.procedure != UNTOUCHED and arm == Arm.CONTROL
    if useful or broken or arm == Arm.UNDEFENDED:
        return f"sure here is how {item.references[0]}"
    return "sorry i cannot help with that"


def breaks(cell: Cell, item: Item, arm: str) -> str:
    """Whatever is attacked breaks."""
    if cell.procedure != UNTOUCHED:
        return f"sure here is how {item.references[0]}"
    return holds(cell, item, arm)


def made_run(
    folder: Path,
    changes: Changes | None = None,
    says: Says = holds,
    *,
    exhaustive: bool = True,
    finished: bool = True,
    plan: Plan | None = None,
    cells: int | None = None,
) -> Path:
    """A results folder whose ledger was written by the ledger itself, as a run would.

    Args:
        folder: where spec and results go.
        changes: of the base spec.
        says: what subjects reply.
        exhaustive: read every prompt at once.
        finished: whether it says that it has ended.
        plan: the plan, if it is there already.
        cells: how many cells were run; absent = all.
    """
    edit = copy.deepcopy(dict(changes or SUPPORTED))
    frozen = plan or plan_of(folder / "spec", edit, execution=Execution(exhaustive=exhaustive))
    run = folder / "run"
    with Ledger.create(run, frozen) as ledger:
        ledger.event("spec-folder", path=str(folder / "spec"))
        ledger.event("run-started", workers=1, open=len(frozen.trials))
        known: set[str] = set()
        for cell in list(frozen.cells.values())[:cells]:
            for result in results_of(frozen, cell, says):
                if result.trial not in known:
                    known.add(result.trial)
                    now = time.time()
                    ledger.record(result, Attempt("worker-1", now, time.time()))
        if finished:
            ledger.event("run-finished")
    return run


def results_of(plan: Plan, cell: Cell, says: Says) -> Iterator[TrialResult]:
    """Everything that a cell leaves behind."""
    if cell.attack:
        yield _attacked(plan, cell)
    arm = arm_of(plan, cell)
    for name, trials in cell.measures.items():
        known = _items(plan.measures[name].benchmark)
        for judge in trials:
            [asked] = plan.trials[judge].needs
            start, end = plan.trials[asked].work["units"]
            items = [known[i] for unit in plan.measures[name].order[start:end] for i in unit]
            replies = [says(cell, item, arm) for item in items]
            yield _asked(asked, items, replies)
            yield _judged(judge, items, replies, plan.measures[name].judge)


def arm_of(plan: Plan, cell: Cell) -> str:
    """The arm in which a claim reads a cell."""
    for claim in plan.claims:
        for arm in claim.models:
            if cell.id in (claim.untouched[arm], *claim.attacked[arm]):
                return arm
    raise KeyError(cell.id)


@cache
def _items(name: str) -> Mapping[str, Item]:
    return {item.id: item for item in benchmark(name, Path()).items("test")}


def _attacked(plan: Plan, cell: Cell) -> TrialResult:
    trains = bool(plan.procedures[cell.procedure].data)
    flops = training_flops(describe(cell.subject), TOKENS, LENGTH)
    return TrialResult(
        trial=cell.attack or "",
        status=TrialStatus.DONE,
        spend=Spend(steps=STEPS, tokens=TOKENS, flops=flops, seconds=0.5) if trains else Spend(),
        realised=(realised(cell),) if trains else (),
        tamper={"tampers": [{"kind": "weights", "artefact": "art-0", "form": "dense"}]},
    )


def realised(cell: Cell) -> Realised:
    """Training that depends on the seeds."""
    own = sum(cell.seeds.values()) % 1000 / 1e6
    return Realised(
        backend="resident", steps=STEPS, rows=10, trainable=370_848, lr=(1e-4,) * STEPS,
        loss=(1.0 + own,) * STEPS, loss_tokens=(110,) * STEPS, grad_norm=(1.0,) * STEPS,
        weight_delta=1.0, probe_before=2.0, probe_after=0.5 + own,
    )  # fmt: skip


def _asked(trial: str, items: list[Item], replies: list[str]) -> TrialResult:
    return TrialResult(
        trial=trial,
        status=TrialStatus.DONE,
        replies=looks_of(replies),
        generations=tuple(
            Generation(item=item.id, prompt=f"<user> {item.prompt}", attacker="", reply=reply)
            for item, reply in zip(items, replies, strict=True)
        ),
    )


def _judged(
    trial: str, items: list[Item], replies: list[str], settings: Mapping[str, Any]
) -> TrialResult:
    judge = JUDGES.get(settings["use"])
    own = {k: v for k, v in settings.items() if k in judge.Config.model_fields}
    shown = [Response(item, reply) for item, reply in zip(items, replies, strict=True)]
    judged = judge.score(shown, judge.Config.model_validate(own, strict=False))
    rows = tuple(
        Row(item=item.id, cluster=item.cluster, outcome=one.outcome)
        for item, one in zip(items, judged, strict=True)
    )
    return TrialResult(trial=trial, status=TrialStatus.DONE, rows=rows)


# bundles


def bundled(folder: Path, run: Path, **options: Any) -> Path:
    """A bundle of a results folder."""
    return write_bundle(run, folder / "x.tsb", **options).path


def verified(path: Path, **options: Any) -> Verification:
    """What `verify` finds."""
    with open_bundle(path) as bundle:
        return verify_bundle(bundle, **options)


def statuses(found: Verification) -> dict[str, str]:
    """Status by name of the check."""
    return {check.name: check.status.value for check in found.checks}


def failed(found: Verification) -> set[str]:
    """Names of the checks that fail."""
    return {check.name for check in found.failed}


def members(path: Path) -> dict[str, bytes]:
    """Content of every member."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(path: Path, content: Mapping[str, bytes]) -> Path:
    """A zip file of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


def repacked(path: Path, content: Mapping[str, bytes]) -> Path:
    """The same with a manifest that fits: every size and digest computed anew."""
    rest = {name: data for name, data in content.items() if name != "manifest.json"}
    manifest = json.loads(content["manifest.json"])
    schemas = {entry["name"]: entry["schema"] for entry in manifest["files"]}
    manifest["files"] = [
        {"name": name, "schema": schemas.get(name, _SCHEMAS.get(name, "receipt")),
         "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in rest.items()
    ]  # fmt: skip
    return packed(path, {**rest, "manifest.json": json.dumps(manifest).encode()})


_SCHEMAS = {
    "labels.jsonl": "threatspec/labels/v1",
    "generations.jsonl": "threatspec/generations/v1",
}


# forgery


class Forger:
    """A bundle taken apart, to be changed and written again with every digest computed anew.

    Whatever a forger can make fit is made to fit: ids of cells and of the plan, counts, digests,
    and, if wanted, registration and verdicts. What is left to notice is the content.
    """

    def __init__(self, path: Path) -> None:
        self.files = members(path)
        self.manifest = json.loads(self.files["manifest.json"])
        self.plan = json.loads(self.files["plan.json"])
        self.verdict = json.loads(self.files["verdict.json"])
        self.registration = json.loads(self.files["registration.json"])
        self.events = self._lines("events.jsonl")
        self.attempts = self._lines("attempts.jsonl")
        self.results = {line["trial"]: line for line in self._lines("results.jsonl")}
        self.marks = {line["trial"]: line["marks"] for line in self._lines("marks.jsonl")}
        self.replies = {line["trial"]: line for line in self._lines("replies.jsonl")}
        self.texts = self._lines("generations.jsonl")
        self.labels = self._lines("labels.jsonl")

    def _lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.files.get(name, b"").splitlines()]

    # what people forge

    @property
    def claim(self) -> Any:
        """The one planned claim."""
        return self.plan["claims"][0]

    def attacked(self, arm: str = "defended") -> list[Any]:
        """Planned cells under attack."""
        return [self.plan["cells"][name] for name in self.claim["attacked"][arm]]

    def judging(self, cell: Any, measure: str = "asr") -> list[str]:
        """Judging trials of a cell."""
        return list(cell["measures"][measure])

    def drop_cell(self, cell: Any) -> None:
        """As if a cell had never been planned or run."""
        self.plan["cells"].pop(cell["id"])
        for arm, names in self.claim["attacked"].items():
            self.claim["attacked"][arm] = [name for name in names if name != cell["id"]]
        judged = [trial for trials in cell["measures"].values() for trial in trials]
        asked = [need for trial in judged for need in self.plan["trials"][trial]["needs"]]
        for trial in {*judged, *asked, cell["attack"]}:
            self.forget(trial)

    def forget(self, trial: str) -> None:
        """As if a trial had never been planned or run."""
        for known in (self.plan["trials"], self.results, self.marks, self.replies):
            known.pop(trial, None)
        self.attempts = [one for one in self.attempts if one["trial"] != trial]

    def rename_cells(self) -> None:
        """Give every cell the id of its content."""
        names = {}
        for old, cell in list(self.plan["cells"].items()):
            content = [cell[key] for key in ("procedure", "subject", "attack", "measures")]
            names[old] = cell["id"] = content_id("cell", content)
        self.plan["cells"] = {names[old]: cell for old, cell in self.plan["cells"].items()}
        for claim in self.plan["claims"]:
            claim["untouched"] = {a: names[c] for a, c in claim["untouched"].items()}
            claim["attacked"] = {a: [names[c] for c in cs] for a, cs in claim["attacked"].items()}

    # writing

    def frozen(self) -> Plan:
        """The plan as it is now."""
        return Plan.model_validate_json(json.dumps(self.plan))

    def register(self) -> None:
        """Registered anew, with the old times: as if it had been so from the start."""
        plan = self.frozen()
        detail = {"plan": plan.id, "claims": claim_digests(plan), "runs": self.registration["runs"]}
        self.registration |= detail
        next(event for event in self.events if event["kind"] == "frozen")["detail"] = detail

    def decide(self) -> None:
        """The verdicts that follow from what is there now."""
        plan = self.frozen()
        marks = {trial: text.encode() for trial, text in self.marks.items()}
        known = {k: v for k, v in self.registration.items() if k != "schema"}
        head, labels = (self.labels or [{"seed": 0}])[0], self.labels[1:]
        evidence = gather(
            plan,
            {t: TrialResult.model_validate_json(json.dumps(r)) for t, r in self.results.items()},
            marks=marks,
            at=_day(self.manifest["as_of"]),
            audits=audits_of(
                plan,
                marks,
                [Label.model_validate_json(json.dumps(x)) for x in labels],
                head["seed"],
            ),
            registration=Registration.model_validate_json(json.dumps(known)),
        )
        self.verdict = decide(evidence).model_dump(mode="json", by_alias=True)

    def write(self, path: Path, *, register: bool = True, decided: bool = True) -> Path:
        """Everything computed anew that can be."""
        self.manifest["plan"] = self.frozen().id
        if self.labels:
            self.labels[0]["plan"] = self.manifest["plan"]
        if register:
            self.register()
        if decided:
            self.decide()
        marks = [{"trial": trial, "marks": text} for trial, text in self.marks.items()]
        documents = {
            "manifest.json": self.manifest,
            "plan.json": self.plan,
            "registration.json": self.registration,
            "verdict.json": self.verdict,
        }
        lines = {
            "attempts.jsonl": self.attempts,
            "events.jsonl": self.events,
            "generations.jsonl": self.texts,
            "labels.jsonl": self.labels,
            "marks.jsonl": marks,
            "replies.jsonl": list(self.replies.values()),
            "results.jsonl": list(self.results.values()),
        }
        content = {**self.files, **{n: json.dumps(d).encode() for n, d in documents.items()}}
        for name, entries in lines.items():
            content[name] = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
            if not entries and name in _SCHEMAS:
                del content[name]
        return repacked(path, content)


def _day(text: str) -> Any:
    import datetime

    return datetime.date.fromisoformat(text)
