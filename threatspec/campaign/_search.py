"""A search as ask and tell: what is tried next is a function of what was found, and nothing else.

The first configurations fill the space (a Latin hypercube, or everything there is); later ones are
proposed in batches by optuna's tree-structured Parzen estimator, all of a batch from the outcomes
of earlier batches. Any runner, and a run that is resumed, gets the same ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from threatspec.attacks import Attack, AttackConfig, DataCard
from threatspec.records import Knob, Search, Spend
from threatspec.subjects import SubjectCard

__all__ = ["Told", "batch_of", "best", "planned_search", "propose", "searched_cost", "size_of"]

_WORST = -2.0
"""Value below that of every configuration that counts; objectives are differences of shares."""
_RETRIES = 32


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one configuration."""

    index: int
    proposal: Mapping[str, Any]
    """What the search proposed."""
    config: Mapping[str, Any]
    """Everything that was run: the proposal may have been cut to the budget."""
    value: float | None = None
    """How far the claim is broken (above 0: it is); None if that was not measured."""
    margin: float = 0.0
    """How far `counts_if` is met; below 0 the attacked subject does not count."""
    spend: Spend = field(default_factory=Spend)

    @property
    def rank(self) -> tuple[bool, bool, float, float, int]:
        """Measured, counting, most broken, cheapest, first."""
        counts = self.margin >= 0
        value = -math.inf if self.value is None else self.value if counts else self.margin
        return self.value is not None, counts, value, -self.spend.flops, -self.index


def planned_search(
    space: Mapping[str, Knob], configurations: int | None, rule: Any, halving: int | None = None
) -> Search:
    """A search of so many configurations, or of all in a finite space.

    Raises ValueError if there is nothing to vary, or no end to it.
    """
    if halving is not None:
        return _halving(dict(space), configurations, rule, halving)
    size = size_of(space)
    if size < 2:
        raise ValueError("a search must have something to vary, but every knob has one value")
    if configurations is None and not math.isfinite(size):
        raise ValueError("a search of ranges must have an end, but `configurations` is not given")
    count = int(min(size, configurations or size))
    if count < size and count < 2:
        raise ValueError(f"a search must try 2 configurations at least, but has {count}")
    start = count if count == size else min(count, max(4, count // 3))
    return Search(space=dict(space), configurations=count, start=start, batch=4, rule=rule)


def _halving(space: dict[str, Knob], configurations: int | None, rule: Any, keep: int) -> Search:
    """As many on the first rung as let all rungs stay within `configurations`."""
    steps = space.pop("steps", Knob())
    rungs = tuple(sorted(set(steps.choices)))
    if len(rungs) < 2:
        raise ValueError("halving goes over a list of `steps` with two numbers at least")
    most, size = configurations, size_of(space)
    if most is None and not math.isfinite(size):
        raise ValueError("a search of ranges must have an end, but `configurations` is not given")
    start = int(min(size, most or size))
    while most is not None and start > 1 and sum(_widths(start, keep, len(rungs))) > most:
        start -= 1
    if start < keep:
        text = f"halving must begin with {keep} configurations at least, but has room for {start}"
        raise ValueError(text)
    count = sum(_widths(start, keep, len(rungs)))
    return Search(
        space=space, configurations=count, start=start, batch=4, rule=rule, rungs=rungs, keep=keep
    )


def _widths(start: int, keep: int, rungs: int) -> list[int]:
    """How many configurations each rung has."""
    found = [start]
    while len(found) < rungs:
        found.append(max(1, found[-1] // keep))
    return found


def _rung(search: Search, index: int) -> tuple[int, int]:
    """Which rung a configuration is on, and the first configuration there."""
    first = 0
    for rung, width in enumerate(_widths(search.start, search.keep, len(search.rungs))):
        if index < first + width:
            return rung, first
        first += width
    raise IndexError(index)


def size_of(space: Mapping[str, Knob]) -> float:
    """How many configurations there are; infinite with a range."""
    return math.prod(_size(knob) for knob in space.values())


def _size(knob: Knob) -> float:
    if knob.choices:
        return len(knob.choices)
    if knob.low == knob.high:
        return 1
    return knob.high - knob.low + 1 if knob.integer else math.inf


def batch_of(search: Search, index: int) -> int:
    """First configuration of the batch that `index` is in: it is proposed from those before."""
    if index < search.start:
        return 0
    if search.rungs:
        return _rung(search, index)[1]
    return search.start + (index - search.start) // search.batch * search.batch


def propose(search: Search, seed: int, index: int, told: Sequence[Told]) -> dict[str, Any]:
    """Values of the searched knobs of configuration `index`."""
    if search.rungs:
        return _promoted(search, seed, index, told)
    if index < search.start:
        return _filling(search, seed)[index]
    known = {_key(one.proposal, search) for one in told}
    return _suggested(search, seed, index - batch_of(search, index), told, known)


def _promoted(search: Search, seed: int, index: int, told: Sequence[Told]) -> dict[str, Any]:
    """On the first rung what fills the space, then the best of the rung before."""
    rung, first = _rung(search, index)
    if rung == 0:
        return {**_filling(search, seed)[index], "steps": search.rungs[0]}
    before = [one for one in told if _rung(search, one.index)[0] == rung - 1]
    ranked = sorted(before, key=lambda one: one.rank, reverse=True)
    place = min(index - first, len(ranked) - 1)
    if place < 0:
        return {**_filling(search, seed)[0], "steps": search.rungs[rung]}
    return {**ranked[place].proposal, "steps": search.rungs[rung]}


def best(told: Sequence[Told]) -> Told | None:
    """The configuration that the adversary would use; None if none was measured."""
    found = max(told, key=lambda one: one.rank, default=None)
    return found if found is not None and found.value is not None else None


def _filling(search: Search, seed: int) -> list[dict[str, Any]]:
    """One configuration in each of `start` layers of every knob; or all, if so many are wanted."""
    space, count = search.space, search.start
    chooser = random.Random(f"threatspec/search/{seed}")
    if size_of(space) <= count:
        names = list(space)
        return [dict(zip(names, v, strict=True)) for v in product(*map(_all, space.values()))]
    columns = {}
    for name, knob in space.items():
        layers = list(range(count))
        chooser.shuffle(layers)
        columns[name] = [_at(knob, (layer + chooser.random()) / count) for layer in layers]
    return [{name: values[row] for name, values in columns.items()} for row in range(count)]


def _all(knob: Knob) -> Iterator[Any]:
    yield from knob.choices or range(int(knob.low), int(knob.high) + 1)


def _at(knob: Knob, share: float) -> Any:
    """The value at a share of the way through a knob's range."""
    if knob.choices:
        return knob.choices[min(int(share * len(knob.choices)), len(knob.choices) - 1)]
    if knob.integer and not knob.log:
        return int(min(knob.high, math.floor(knob.low + share * (knob.high - knob.low + 1))))
    if not knob.log:
        return knob.low + share * (knob.high - knob.low)
    value = math.exp(math.log(knob.low) + share * math.log(knob.high / knob.low))
    return round(value) if knob.integer else float(f"{value:.4g}")


def _suggested(
    search: Search, seed: int, place: int, told: Sequence[Told], known: set[str]
) -> dict[str, Any]:
    """What the estimator proposes as number `place` of a batch, all from the same outcomes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=(seed + len(told)) % 2**32, n_startup_trials=1, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for one in told:
        study.add_trial(_trial(search, one))
    proposed: dict[str, Any] = {}
    for _ in range(place + 1):
        for _ in range(_RETRIES):
            asked = study.ask(_distributions(search))
            proposed = {name: _value(knob, asked.params[name])
                        for name, knob in search.space.items()}  # fmt: skip
            if _key(proposed, search) not in known:
                break
        known = {*known, _key(proposed, search)}
    return proposed


def _trial(search: Search, one: Told) -> Any:
    import optuna

    params = {name: _param(knob, one.proposal[name]) for name, knob in search.space.items()}
    value = _WORST if one.value is None else one.value if one.margin >= 0 else _WORST + one.margin
    return optuna.trial.create_trial(
        params=params, distributions=_distributions(search), value=value
    )


def _distributions(search: Search) -> dict[str, Any]:
    from optuna import distributions

    found: dict[str, Any] = {}
    for name, knob in search.space.items():
        if knob.choices:
            found[name] = distributions.CategoricalDistribution(list(range(len(knob.choices))))
        elif knob.integer:
            found[name] = distributions.IntDistribution(int(knob.low), int(knob.high), log=knob.log)
        else:
            found[name] = distributions.FloatDistribution(knob.low, knob.high, log=knob.log)
    return found


def _param(knob: Knob, value: Any) -> Any:
    """Choices are told by their place: they may be anything."""
    if knob.choices:
        return knob.choices.index(value)
    return min(max(value, knob.low), knob.high)


def _value(knob: Knob, param: Any) -> Any:
    if knob.choices:
        return knob.choices[param]
    return int(param) if knob.integer else float(f"{param:.4g}")


def _key(config: Mapping[str, Any], search: Search) -> str:
    return repr([config.get(name) for name in search.space])


def searched_cost(
    attack: Attack,
    with_knobs: Callable[[Mapping[str, Any]], AttackConfig],
    search: Search,
    card: SubjectCard,
    data: DataCard | None,
) -> Spend:
    """Predicted spend of a search and its final run: each costs what those cost that fill the
    space, on the average; reading `attack_dev` comes to it."""
    tried = [attack.cost(card, with_knobs(one), data) for one in _filling(search, 0)]
    runs = 1 if search.rule == "free" else search.configurations + 1
    total = sum(tried, Spend())
    return Spend(
        steps=total.steps // len(tried),
        tokens=total.tokens * runs // len(tried),
        flops=total.flops * runs / len(tried),
        queries=total.queries * runs // len(tried),
    )
