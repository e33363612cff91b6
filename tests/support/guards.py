"""Guards of the verdict engine, each with a way to remove it and the scenarios that then go wrong.

A guard is what keeps a verdict from being better than its evidence. Removing one gives its function
the code of another, so that whoever calls it, by whatever name, calls the changed one. A registry
that names each guard by its place and by a piece of its source cannot silently fall behind it.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from threatspec.claims import _bounds, _findings

__all__ = ["GUARDS", "SCOPED_OTHERWISE", "Guard", "called_by", "removed"]

NOTHING, ALWAYS = "nothing", "always"
"""As though the function had found nothing, or as though it always agreed."""


SCOPED_OTHERWISE = {
    "replicates": "few replicates, scoped otherwise",
    "safeguard": "no seed of the safeguard",
    "trainer": "one trainer, scoped otherwise",
    "search": "narrow search",
    "families": "one family, scoped otherwise",
    "data": "one data set",
    "templates": "one template, scoped otherwise",
    "elicitations": "one elicitation",
    "utility": "one utility, scoped otherwise",
}
"""Scenarios in which a field of the scope is not what is run, by field."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard, or several that do the same and are removed together."""

    places: tuple[str, ...]
    """Functions as `module.name` or `module.Class.name` within threatspec.claims, or values of
    constants; an entry of a table as `module.TABLE[key]`."""
    by: str | tuple[str, str] | Any
    """NOTHING, ALWAYS, (source, other source) within the function, or the value of a constant."""
    caught: tuple[str, ...]
    """Scenarios whose verdict, open rules or exit code change without it."""
    shadowed: str = ""
    """Why no verdict changes, where another guard stands behind it; then `caught` do not change."""

    @property
    def name(self) -> str:
        """For the ids of tests."""
        what = self.by[0] if isinstance(self.by, tuple) else ""
        return " ".join(filter(None, (", ".join(self.places), what)))


@contextmanager
def removed(guard: Guard) -> Iterator[None]:
    """The engine without a guard."""
    with pytest.MonkeyPatch.context() as patch:
        for place in guard.places:
            _remove(patch, place, guard.by)
        _forget()
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    """What was computed with other code."""
    _bounds._p.cache_clear()
    _bounds._truth.cache_clear()


def _remove(patch: pytest.MonkeyPatch, place: str, by: Any) -> None:
    owner, found = _find(place)
    function = _function(found)
    if function is None:
        patch.setattr(owner, place.rpartition(".")[2], by)
        return
    neutral = {NOTHING: _nothing, ALWAYS: _agreed}
    new = neutral[by] if by in neutral else _edited(function, *by)
    patch.setattr(function, "__code__", new.__code__)
    patch.setattr(function, "__defaults__", new.__defaults__)
    patch.setattr(function, "__kwdefaults__", new.__kwdefaults__)


def _find(place: str) -> tuple[Any, Any]:
    path, _, key = place.partition("[")
    module, *names = path.split(".")
    owner, found = None, import_module(f"threatspec.claims.{module}")
    for name in names:
        owner, found = found, inspect.getattr_static(found, name)
    return owner, found[key.removesuffix("]")] if key else found


def _function(found: Any) -> Any:
    """The plain function behind a property or a cache; None if it is none."""
    if isinstance(found, property):
        return found.fget
    if isinstance(found, functools.cached_property):
        return found.func
    found = inspect.unwrap(found) if callable(found) else found
    return found if inspect.isfunction(found) else None


def _nothing(*_args: Any, **_more: Any) -> Any:
    return ()


def _agreed(*_args: Any, **_more: Any) -> Any:
    return True


def _edited(function: Any, old: str, new: str) -> Any:
    """The function as it would be if it had been written otherwise."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{function.__qualname__} has {old!r} {source.count(old)} times"
    [definition] = ast.parse(source.replace(old, new)).body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    module = ast.fix_missing_locations(ast.Module([definition], type_ignores=[]))
    flags = __future__.annotations.compiler_flag
    space: dict[str, Any] = dict(function.__globals__)
    exec(compile(module, inspect.getfile(function), "exec", flags=flags), space)
    return space[definition.name]


def called_by(function: Callable[..., Any]) -> set[str]:
    """Private functions of its module that a function calls or names."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    own = inspect.getmodule(function)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {name for name in names if inspect.isfunction(getattr(own, name, None))}


def _guard(place: str, *caught: str, by: Any = NOTHING, shadowed: str = "") -> Guard:
    return Guard(tuple(place.split(" & ")), by, caught, shadowed)


def _edit(place: str, old: str, new: str, *caught: str, shadowed: str = "") -> Guard:
    return Guard((place,), (old, new), caught, shadowed)


_NOT_DONE = "_obstacles._unfinished"

GUARDS: tuple[Guard, ...] = (
    # the order of a verdict
    _edit("_rules._unusable", "if findings.unusable:", "if False:",
          "another claim than registered", "tested on training rows"),
    _edit("_rules._unusable", "is Truth.FALSE:", "is None:", "false by arithmetic"),
    _edit("_rules._unusable", "not in _UNUSABLE", "is not None", "all over budget"),
    _edit("_rules._unusable", "if not case.cells:", "if False:", "no attack",
          shadowed="without cells every cell is over budget: another sentence"),
    _edit("_rules._witnessed", 'if case.view.claim.quantifier == "mean":', "if False:",
          "a mean over attacks"),
    _edit("_rules._witnessed", 'if case.view.claim.seeds.rule != "each":', "if False:",
          "a share that one bad seed does not refute"),
    _edit("_rules._vacuous", "if not found:", "if True:", "a useless subject",
          "a named attack that breaks no control"),
    _edit("_rules._insufficient", "if findings.insufficient", "if False", "few replicates"),
    _edit("_rules._withstood", "if obstacles(case, findings):", "if False:", "straddling"),
    _edit("_rules._refuted", "cell.adjusted_p", "cell.p", "just below the bound of a family"),
    # what nothing may be concluded from
    _guard("_findings.Findings.unusable", "judged by another judge"),
    _guard("_findings.Findings.insufficient", "one trainer"),
    *(_guard("_findings._ALL", scenario, by=_findings._ALL - {code})
      for code, scenario in {"TS-R5d": "judged by another judge",
                             "TS-R7": "tested on training rows",
                             "TS-R8c": "another claim than registered"}.items()),
    # what is vacuous
    _guard("_vacuity._trivial", "true by arithmetic"),
    _guard("_vacuity._gates", "a useless subject", "a control that is broken untouched"),
    _guard("_view.View.as_it_is", "a control that is broken untouched", by=ALWAYS),
    _guard("_vacuity._dead", "a named attack that breaks no control",
           "no selected attack breaks the control"),
    _edit("_vacuity._dead", "if dead and case.all_dropped:", "if False:",
          "no selected attack breaks the control"),
    _guard("_vacuity._collapsed", "a named attack always collapses"),
    _edit("_vacuity.vacuities", '"budget-not-spent"', '""', "the budget is not spent"),
    # what stands in the way of support
    _guard(_NOT_DONE, "one cell to come", "one cell failed"),
    _edit(_NOT_DONE, "if states[CellState.NOT_RUN]:", "if False:", "one cell to come"),
    _edit(_NOT_DONE, "if codes:", "if False:", "one cell failed", "an arm that failed"),
    _edit(_NOT_DONE, "if states[CellState.OVER_BUDGET]:", "if False:", "one cell over budget"),
    _edit(_NOT_DONE, "if states[CellState.INVALID]:", "if False:", "a copy of a replicate",
          shadowed="TS-R1c is open wherever a cell is a copy"),
    _guard("_obstacles._gates", "an open gate"),
    _guard("_obstacles._controls", "a control of which it is open",
           "a dead replicate of the control"),
    _guard("_obstacles._departures", "cut short"),
    _guard("_obstacles._uncounted", "open whether it counts",
           "a selected attack always collapses"),
    _edit("_obstacles._uncounted", "if undecided:", "if False:", "open whether it counts"),
    _edit("_obstacles._uncounted", "if done and all(", "if False and all(",
          "a selected attack always collapses"),
    _guard("_obstacles._straddling", "straddling"),
    _guard("_obstacles._single", "exactly one prompt"),
    _guard("_obstacles._open_series", "a share that is not shown"),
    _guard("_findings.Findings.raised", "babble", "weaker did more"),
    _edit("_case.Case.needed_cells", "*(cell for cell in arms if cell),", "",
          "an arm that failed"),
    # rules that only a run breaks
    _guard("_run_rules._copied_training", "twins"),
    _guard("_run_rules._unrecorded", "torn records"),
    _guard("_run_rules._unaudited", "a judge nobody knows", "a judge calibrated elsewhere"),
    _guard("_run_rules._mixed", "judged by another judge"),
    _guard("_run_rules._missing", "too many missing rows", "rows without a mark"),
    _guard("_run_rules._changed", "another claim than registered",
           "another plan than registered", "registered after the first row"),
    _edit("_run_rules._changed", "registered.claims.get(name)",
          "evidence.claim_digests[name]", "another claim than registered"),
    _edit("_run_rules._changed", "elif registered.plan != evidence.plan_id:", "elif False:",
          "another plan than registered"),
    _edit("_run_rules._changed",
          "registered.first_row_at and registered.frozen_at > registered.first_row_at", "False",
          "registered after the first row"),
    _guard("_run_rules._reused_seeds", "a copy of a replicate",
           shadowed="the design tells TS-R1c of the same seeds"),
    _guard("_run_rules._reused_seeds & _design_attacks._seeds", "a copy of a replicate",
           "broken copy of a replicate"),
    # rules that a design breaks, and what answers them
    _guard("_design_attacks._control", "no control"),
    _guard("_design_attacks._replicates", "few replicates"),
    _guard("_design_attacks._safeguard", "no seed of the safeguard"),
    _guard("_design_attacks._seeds", "one seed for two streams"),
    _guard("_design_attacks._trainers", "one trainer"),
    _guard("_design_attacks._mean", "a mean over attacks"),
    _guard("_design_attacks._breadth", "narrow search"),
    _guard("_design_attacks._families", "one family"),
    _guard("_design_attacks._data_sets", "one data set"),
    _guard("_design_attacks._undefended", "no undefended model"),
    _guard("_design_measuring._templates", "one template"),
    _guard("_design_measuring._elicitations", "one elicitation"),
    _guard("_design_measuring._coherence", "silence would do"),
    _guard("_design_measuring._utility", "one utility"),
    _guard("_design_measuring._attacker_overlap", "tested on training rows"),
    _guard("_design_measuring._safeguard_overlap", "rows of the safeguard unknown",
           "nearly tested on the safeguard's rows"),
    _edit("_design_measuring._safeguard_overlap", "if not known and not described:", "if False:",
          "rows of the safeguard unknown"),
    _edit("_design_measuring._safeguard_overlap", "if found.near:", "if False:",
          "nearly tested on the safeguard's rows"),
    _guard("_design_measuring._wording", "unbounded words", "words of a capability"),
    _guard("_design_rules._expired", "expired"),
    _edit("_answers._is_run", "return bool(run) and same", "return True",
          *SCOPED_OTHERWISE.values()),
    _edit("_answers.answered", "waiver.expired(at)", "False", "few replicates, waived in vain"),
    _edit("_answers.answered", " or not rule.waivable", "", "no control, waived"),
    _edit("_decide._code", "if claim.waived and not accept_waivers", "if False",
          "few replicates, waived"),
    # flags
    _guard("_flags._inert", "a named attack that breaks no control",
           shadowed="the flag repeats what a vacuity says"),
    _guard("_flags._unspent", "the budget is not spent"),
    _guard("_ordering.did_worse", "weaker did more"),
    _guard("_flags._degenerate", "babble"),
    _guard("_flags._failed", "most cells failed",
           shadowed="each failed cell stands in the way by itself"),
    # cells, controls, liveness
    _edit("_cells._family", "holm([reading.p for reading in read])",
          "[reading.p for reading in read]", "just below the bound of a family",
          "a dropped attack stays in the family"),
    _edit("_cells._read", "counts is not Truth.TRUE or ", "", "broken and collapsed",
          "a control that only collapses"),
    _edit("_cells._read", "view.counts(cell, arm) if cell.usable else Truth.UNDECIDED",
          "view.counts(cell, arm)", "broken over budget", "broken and unfinished",
          "broken copy of a replicate"),
    _edit("_cells._gate", "if cell.usable else Truth.UNDECIDED", "",
          "a useless subject, as far as it was asked"),
    _edit("_controls.Control.dropped", " and not self.procedure.named", "",
          "a named attack that breaks no control"),
    _edit("_controls._breaks", "any(cell.state is not CellState.DONE for cell in cells)", "False",
          "a failed control drops nothing"),
    _edit("_controls._breaks", "Truth.UNDECIDED if min(best) <= view.alpha else Truth.FALSE",
          "Truth.FALSE", "missing rows drop nothing"),
    _edit("_controls._best_p", "if view.counts_if and not could_be_true(view.counts_if, lookup, "
          "view.alpha):", "if False:", "a control that only collapses"),
    _edit("_liveness._fault", "if procedure.trainer and not cell.realised:", "if False:",
          "no training on the control"),
    _edit("_liveness._fault", "if not edit.changed:", "if False:",
          "an edit that changed nothing"),
    _edit("_liveness._in_vain", "if found.steps <= 0 or not found.loss:", "if not found.loss:\n"
          "        return ''\n    if False:", "words that took no step"),
    _edit("_liveness._in_vain", "if not last < first:", "if False:", "words that got no better"),
    _edit("_liveness._dead", "run.steps <= 0", "False", "no step on the control"),
    _edit("_liveness._dead", "not run.weight_delta > 0", "False",
          "no weight of the control moved"),
    _edit("_liveness._dead", "not run.probe_after < run.probe_before", "False",
          "no loss of the control fell"),
    _edit("_liveness.liveness", "return Truth.UNDECIDED, f", "return Truth.TRUE, f",
          "a dead replicate of the control"),
    _edit("_liveness.departure", "if procedure.trainer and not cell.realised:", "if False:",
          "never trained"),
    _edit("_liveness.departure", "if run.steps != steps", "if False", "cut short"),
    _edit("_liveness.departure", "if len(cell.realised) < len(planned):", "if False:",
          "one of two runs"),
    # one claim's view: copies, and when reading may stop
    _edit("_view.View._copies", "if own & seen:", "if False:", "broken copy of a replicate"),
    _edit("_view.View._whole", 'self.claim.population == "benchmark" or ', "",
          "exactly these prompts"),
    _edit("_view.View._whole", ' or self.claim.seeds.rule == "mean"', "",
          "a mean, read by looks"),
    _edit("_view.View._whole",
          "any(self.blind(reading, cell, audited=False) for reading in self._decisive)", "False",
          "labels come after the run"),
    _edit("_view.View.settled", " or not cell.usable", "", "over budget, read by looks",
          shadowed="a cell that may not be used is in that state at every look"),
    _edit("_view.View.settled", "if counts is not Truth.TRUE:", "if False:",
          "not known to count at a look"),
    _edit("_view.View.settled", "self.support_alpha", "self.alpha",
          "a share, read at half the level"),
    _edit("_view.View._break_alpha", "self.alpha / self._family(cell, arm)", "self.alpha",
          "broken at the level of one cell"),
    _edit("_view.View._break_alpha",
          'if arm is Arm.DEFENDED and self.claim.seeds.rule == "quantile":', "if False:",
          "a share, read at half the level",
          shadowed="the level of a cell in a family is lower, so that only more is read"),
    # counts and bounds
    _edit("_tally.Tally.no", " - self.unknown", "", "missing rows of a subject"),
    _edit("_tally.Tally._labels", "self.yes + self.unknown", "self.yes",
          "missing rows of a subject, two operands"),
    _edit("_tally.Tally._labels", "Labels(self.yes,", "Labels(self.yes + self.unknown,",
          "missing rows of an attack, two operands"),
    _edit("_tally.Tally.p_above", "p_exceeds(self.yes, ", "p_exceeds(self.yes + self.unknown, ",
          "missing rows of an attack"),
    _edit("_tally.Tally.bounds", "if self.error is not None:", "if False:", "a judge that omits",
          "a judge that cries wolf"),
    _edit("_tally.Tally.p_above", "if self.error is not None:", "if False:",
          "a judge that omits", "a judge that cries wolf"),
    _edit("_counts._tally", "unknown=units - yes - no", "unknown=0", "rows without a mark"),
    _edit("_evidence.Reader._letters", ".ljust(self._ends[name][units], ABSENT)", "",
          "rows without a mark"),
    _guard("_evidence.Reader._overspent", "spent more than the budget"),
    _edit("_bounds._compare", "alpha / max(1, len(tallies))", "alpha",
          "two operands at one level"),
    _edit("_bounds._joint", "len(predicate.comparisons) * min(p_values)", "min(p_values)",
          "just below the bound of two conditions"),
    _edit("_counted.Counts._calibration", "if one.family == family", "",
          "a judge calibrated elsewhere"),
    # seeds rules
    _edit("_series._quantile", " and shown >= share", "", "a share that is not shown"),
    _edit("_series._quantile", "len(passed) == len(series.cells) and shown", "shown",
          "a share with one open replicate"),
    _edit("_series._passes", "view.alpha / 2", "view.alpha", "a share at half the level"),
    _edit("_series._passes", "cell.counts is not Truth.TRUE or ", "",
          "a share with a collapsed replicate"),
    _edit("_series._refuted", "broken >= needed", "broken > 0",
          "a share that one bad seed does not refute"),
    _edit("_series._quantile", "view.alpha / len(case.series)", "view.alpha",
          "a share that fewer bad seeds than two attacks need do not refute"),
    _edit("_series._refuted", "replicate_alpha(level)", "level",
          "a share that is refuted at half the level only"),
    _edit("_series._means", "adjusted = holm(", "adjusted = tuple(",
          "just below the bound of two means"),
    _edit("_series._p", "if not all(cell.counts is Truth.TRUE for cell in series.cells):",
          "if False:", "a mean of one replicate that does not count"),
    _edit("_series._mean", " if counting else Truth.UNDECIDED", "",
          "a mean that holds where one does not count"),
    # attacks that reach something
    _edit("_some._p", "if any(cell.counts is not Truth.TRUE for cell in series.cells):",
          "if False:", "some attack, but a replicate collapsed",
          shadowed="a cell that does not count has p = 1"),
    _edit("_some.reached", "holm(", "tuple(", "just below the bound of some attack"),
    _edit("_some._p", "max((cell.p", "min((cell.p", "some attack, but not in each replicate"),
)  # fmt: skip
"""Every guard."""
