"""Does this program, given the spec, plan the very same campaign?

Only where all that the spec names comes with the program: nothing that a stranger's spec names is
read from the disk, and nothing is fetched.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from threatspec.campaign import compile_plan, models_of
from threatspec.errors import ThreatspecError
from threatspec.loading import LoadedSpec
from threatspec.measures import BENCHMARKS
from threatspec.records import Plan
from threatspec.reports.bundle._checks import Check, found, unknown
from threatspec.reports.bundle._matter import Matter
from threatspec.reports.bundle._values import changes
from threatspec.schema import Spec

__all__ = ["recompiled"]

_NAME = "compiled again"
_HERE = ("specimen:", "gguf:")
_PROGRAM = "threatspec"
"""Name of the program's own source among the digests of a plan."""


def recompiled(matter: Matter) -> Check:
    """Compare with the plan that this program makes; only for a plan that fits its spec."""
    spec = matter.spec
    foreign = list(_foreign(spec))
    if foreign:
        text = f"{', '.join(foreign)} is not part of this program, so the plan cannot be made again"
        return unknown(_NAME, text)
    try:
        own = _compile(matter.plan, spec)
    except ThreatspecError as error:
        return unknown(_NAME, f"this program cannot plan the spec: {error.message.rstrip('.')}")
    if own.id == matter.plan_id:
        return found(_NAME, [], f"this program makes the same plan of the spec, {own.id}")
    return _differing(matter.plan, own)


def _foreign(spec: Spec) -> Iterator[str]:
    """What a spec names and only its author has."""
    settings = (v for one in spec.instruments.values() for v in one.settings.values())
    yield from (value for value in settings if isinstance(value, str) and value[:5] == "file:")
    for name, subject in spec.all_subjects.items():
        yield from (r for r in models_of(subject, name).values() if not r.startswith(_HERE))
    known = BENCHMARKS.names()  # a file, a hub or somebody's copy is nothing of the program's
    yield from (m.benchmark for m in spec.measures.values() if m.benchmark not in known)
    for adversary in spec.adversaries.values():
        sources = (source.source for source in adversary.data.values())
        yield from (source for source in sources if source.partition("#")[0] not in known)


def _compile(plan: Plan, spec: Spec) -> Plan:
    """A plan holds its spec with all defaults; some may not be written where they do not apply."""
    written = spec.model_dump_json(by_alias=True, exclude_defaults=True)
    spec = Spec.model_validate_json(written)
    with tempfile.TemporaryDirectory(prefix="threatspec-") as empty:
        loaded = LoadedSpec(spec, Path(empty) / "spec.yaml", Path(empty))
        return compile_plan(loaded, plan.execution)


def _differing(plan: Plan, own: Plan) -> Check:
    """Another program gives other ids to the same work; then only what is asked is compared."""
    theirs, ours = _structure(plan), _structure(own)
    where = [change.path for change in changes(theirs, ours)]
    if plan.digests.get(_PROGRAM) == own.digests.get(_PROGRAM):
        faults = [f"this program plans the spec otherwise at {path}" for path in where]
        return found(_NAME, faults or ["this program gives the plan other ids"], "")
    if where:
        more = f" and {len(where) - 1} other places" if len(where) > 1 else ""
        text = f"another version of the program planned it; this one plans otherwise at {where[0]}"
        return unknown(_NAME, text + more)
    text = "another version of the program planned it; this one gives its trials other ids"
    return found(_NAME, [], f"{text}, and asks the same")


def _structure(plan: Plan) -> Mapping[str, Any]:
    """A plan with its ids numbered in order, and without the digests of the program."""
    text = plan.model_dump_json(exclude={"digests", "spec_file"})
    ids = [*plan.trials, *plan.cells, *(m.id for m in plan.measures.values())]
    data: dict[str, Any] = json.loads(text)
    numbers = {name: f"#{number}" for number, name in enumerate(dict.fromkeys(ids))}
    content = {k: v for k, v in plan.digests.items() if k != _PROGRAM and " " not in k}
    return {**_renamed(data, numbers), "digests": content}


def _renamed(value: Any, numbers: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {numbers.get(k, k): _renamed(v, numbers) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(one, numbers) for one in value]
    return numbers.get(value, value) if isinstance(value, str) else value
