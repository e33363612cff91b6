"""The verbs as functions; the command line and the Python interface both go through here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError
from threatspec.loading import LoadedSpec, load_spec
from threatspec.records import Execution, Ledger, Plan

if TYPE_CHECKING:
    from threatspec.claims import CampaignVerdict, Evidence
    from threatspec.runners import Observer, Profile, SpendLimit

__all__ = [
    "Outcome",
    "check",
    "default_out",
    "evidence",
    "load",
    "plan",
    "resume",
    "run",
    "verdict",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A campaign that ran, and what it says."""

    folder: Path
    evidence: Evidence
    verdict: CampaignVerdict


def load(path: str | Path) -> LoadedSpec:
    """Read a claims file. Raises SpecErrors with every problem of the language."""
    return load_spec(Path(path))


def check(spec: LoadedSpec | str | Path) -> LoadedSpec:
    """Static check: language, names, access, data, budgets. Raises SpecErrors."""
    from threatspec.campaign import check_spec

    loaded = _loaded(spec)
    check_spec(loaded)
    return loaded


def plan(spec: LoadedSpec | str | Path, *, execution: Execution | None = None) -> Plan:
    """Compile a spec to a frozen plan. Raises SpecErrors."""
    from threatspec.campaign import compile_plan

    return compile_plan(_loaded(spec), execution)


def run(
    spec: LoadedSpec | str | Path,
    *,
    out: str | Path | None = None,
    runner: str | Profile = "local",
    observer: Observer | None = None,
    execution: Execution | None = None,
    limit: SpendLimit | None = None,
    plan_id: str | None = None,
) -> Outcome:
    """Run a spec's campaign in `out` (default `runs/<file stem>`), or go on with it there.

    Raises SpecErrors for what is wrong with the spec, ThreatspecError TS-UNDECIDABLE if no outcome
    could decide a claim, and ThreatspecError for what goes wrong while running; a failed trial is a
    result, not an exception. With `limit` it stops before spending more (TS-SPEND-LIMIT);
    with `plan_id` it runs no other plan than that one (TS-CODE-CHANGED).
    """
    from threatspec.campaign import require_decidable
    from threatspec.runners import recover

    profile = _profile(runner, limit)
    loaded = _loaded(spec)
    frozen = plan(loaded, execution=execution)
    require_decidable(frozen)
    _require_plan(frozen, plan_id)
    folder = Path(out) if out is not None else default_out(loaded.path)
    profile = _stored(profile, folder)
    recover(profile, frozen.id, folder)
    with Ledger.create(folder, frozen) as ledger:
        ledger.event("spec-folder", path=str(loaded.folder.resolve()))
        return _finish(ledger, loaded.folder.resolve(), profile, observer, limit)


def resume(
    folder: str | Path,
    *,
    runner: str | Profile = "local",
    observer: Observer | None = None,
    limit: SpendLimit | None = None,
) -> Outcome:
    """Go on with the campaign in `folder`; nothing that has a result runs again.

    Raises ThreatspecError TS-CODE-CHANGED if the program is not the one that wrote the plan.
    """
    from threatspec.campaign import check_code

    profile = _stored(_profile(runner, limit), Path(folder))
    with Ledger.open(Path(folder), writable=True) as ledger:
        if not ledger.events("run-finished"):
            check_code(ledger.plan)
        places = ledger.events("spec-folder")
        spec_folder = Path(places[-1]["path"]) if places else Path.cwd()
        return _finish(ledger, spec_folder, profile, observer, limit)


def evidence(folder: str | Path) -> Evidence:
    """What the campaign in `folder` has measured so far."""
    with Ledger.open(Path(folder)) as ledger:
        return _evidence(ledger)


def verdict(folder: str | Path) -> CampaignVerdict:
    """The verdicts of the campaign in `folder`, from its records alone."""
    from threatspec.claims import decide

    return decide(evidence(folder))


def default_out(spec: Path) -> Path:
    """Where results go if nothing is said: `runs/<file stem>`."""
    return Path("runs") / spec.name.removesuffix(".yaml").removesuffix(".yml")


def _loaded(spec: LoadedSpec | str | Path) -> LoadedSpec:
    return spec if isinstance(spec, LoadedSpec) else load(spec)


def _require_plan(found: Plan, wanted: str | None) -> None:
    if wanted not in {None, found.id}:
        text = f"{found.spec_file} must compile to {wanted}, but compiles to {found.id} here; the "
        text += "file, what it names or the program differ from where that plan was made"
        raise ThreatspecError("TS-CODE-CHANGED", text)


def _answered(ledger: Ledger) -> date | None:
    """Day as of which a finished campaign is answered, whenever it is read; None: not finished."""
    finished = ledger.events("run-finished")
    return datetime.fromtimestamp(finished[-1]["at"], UTC).date() if finished else None


def _profile(runner: str | Profile, limit: SpendLimit | None) -> Profile:
    from threatspec.runners import load_profile

    found = load_profile(runner) if isinstance(runner, str) else runner
    if limit:
        limit.check(found.price_per_hour)
    return found


def _stored(profile: Profile, folder: Path) -> Profile:
    """A campaign that was submitted lives in its storage, with the weights that are unread."""
    from threatspec.runners.submission import SUBMISSION, read_submission

    if profile.storage is not None or not (folder / SUBMISSION).exists():
        return profile
    return profile.model_copy(update={"storage": read_submission(folder).storage})


def _finish(
    ledger: Ledger,
    spec_folder: Path,
    profile: Profile,
    observer: Observer | None,
    limit: SpendLimit | None,
) -> Outcome:
    from threatspec.claims import decide
    from threatspec.runners import run_campaign

    run_campaign(ledger, spec_folder, profile, observer, limit)
    found = _evidence(ledger)
    return Outcome(ledger.folder, found, decide(found))


def _evidence(ledger: Ledger) -> Evidence:
    from threatspec.claims import audits, gather  # here, because `check` does without

    marks = ledger.marks()
    return gather(
        ledger.plan,
        ledger.results(),
        marks=marks,
        at=_answered(ledger),
        audits=audits(ledger.folder, ledger.plan, marks),
        registration=ledger.registration(),
    )
