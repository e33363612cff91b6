"""Evidence for claims files, found or measured: the part of the pytest plugin that is not pytest.

Apart from `pytest_plugin.py`, because that module is imported in sessions without claims too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from threatspec import api
from threatspec.claims import decide, gather
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.loading import LoadedSpec
from threatspec.records import Execution, Plan

__all__ = ["Campaigns", "planned_claims"]

_PAUSE_S = 0.5


def planned_claims(file: Path) -> Iterator[tuple[str, Path, int]]:
    """Ids as verdicts will have them, in the order of the plan, with the file and line of each.

    Raises ThreatspecError for what is wrong with the file or keeps its campaign from being planned.
    """
    loaded = api.load(file)
    numbers = {claim.id: number for number, claim in enumerate(loaded.spec.claims)}
    for claim in decide(gather(api.plan(loaded), {})).claims:
        written = claim.id.partition("[")[0]  # one claim of a file may stand for several
        # a problem knows where its text stands, in whatever file that is
        at = loaded.problem("TS-INTERNAL", "", ("claims", numbers[written]))
        yield claim.id, Path(at.file), at.line


@dataclass
class Campaigns:
    """Evidence by claims file, found or measured once."""

    root: Path
    """Where `runs/` lies if no results are given."""
    results: Path | None
    """A results folder, or a folder of results folders."""
    run: bool
    """Whether to measure what is missing."""
    wait_s: float
    """How long to wait for another process that runs the same campaign."""
    _known: dict[Path, api.Outcome | ThreatspecError] = field(default_factory=dict)

    def of(self, file: Path) -> api.Outcome:
        """Evidence of `file`. Raises ThreatspecError, the same one each time it is asked."""
        if file not in self._known:
            try:
                self._known[file] = self._find(file)
            except ThreatspecError as error:
                if error.code == "TS-INTERRUPTED":
                    raise KeyboardInterrupt from error  # ends the session, not only one claim
                self._known[file] = error
        found = self._known[file]
        if isinstance(found, ThreatspecError):
            raise found.with_traceback(None)
        return found

    def _find(self, file: Path) -> api.Outcome:
        loaded, folder = api.load(file), self.folder(file)
        there = (folder / "plan.json").exists()
        if not there and not self.run:
            raise _no_evidence(file, folder)
        if not there:
            return self._measure(loaded, folder)
        evidence = api.evidence(folder)
        _require_same_plan(loaded, evidence.plan, folder)
        if self.run:
            return self._measure(loaded, folder, evidence.plan.execution)
        return api.Outcome(folder, evidence, decide(evidence))

    def folder(self, file: Path) -> Path:
        """The results folder of `file`."""
        own = api.default_out(file)
        if self.results is None:
            return self.root / own
        return self.results if (self.results / "plan.json").exists() else self.results / own.name

    def _measure(
        self, loaded: LoadedSpec, folder: Path, execution: Execution | None = None
    ) -> api.Outcome:
        """Run the campaign, or wait for who runs it; then the run finds everything done."""
        end = time.monotonic() + self.wait_s
        while True:
            try:
                return api.run(loaded, out=folder, execution=execution)
            except ThreatspecError as error:
                if error.code != "TS-RUN-LOCKED" or time.monotonic() >= end:
                    raise
            time.sleep(_PAUSE_S)


def _no_evidence(file: Path, folder: Path) -> ThreatspecError:
    text = (
        f"no evidence for {file.name} in {folder}: run its campaign with `pytest "
        "--threatspec-run`, or name a folder that has it with `--threatspec-results DIR`"
    )
    return ThreatspecError("TS-NO-RUN", text, exit_code=ExitCode.USAGE)


def _require_same_plan(loaded: LoadedSpec, found: Plan, folder: Path) -> None:
    """Raises ThreatspecError TS-RUN-OTHER-PLAN: evidence speaks only for what was planned."""
    plan = api.plan(loaded, execution=found.execution)
    if plan.id != found.id:
        text = (
            f"{folder} must hold evidence of {plan.spec_file} as it is now, but it was measured "
            f"with {_difference(plan, found)}; run again into another folder "
            "(`--threatspec-run --threatspec-results DIR`), or remove this one"
        )
        raise ThreatspecError("TS-RUN-OTHER-PLAN", text, exit_code=ExitCode.USAGE)


def _difference(plan: Plan, found: Plan) -> str:
    if plan.spec != found.spec:
        return f"another claims file ({found.spec_file})"
    names = sorted({*plan.digests, *found.digests})
    changed = [name for name in names if plan.digests.get(name) != found.digests.get(name)]
    return f"another state of {', '.join(changed) or 'the attack cards'}"
