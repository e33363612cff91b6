"""False SUPPORTED and false REFUTED where the truth is exactly at the threshold.

Exact where outcomes can be gone through; elsewhere 10,000 simulated campaigns with fixed seeds, of
which the 99.9 % lower bound of the rate must not be above alpha. Verdicts of simulated campaigns
come from tables that the engine's own functions fill; of every case some campaigns are also built
in full and answered by `decide`, which must say the same.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np

from tests.support.guarded import on_cell, regathered
from tests.support.made import PERFECT, Got, campaign
from tests.support.made import audited as labelled
from threatspec.claims import Audit, Basis, Evidence, Tally, Truth, decide, evaluate, refutation_p
from threatspec.schema import Calibration, Verdict, parse_predicate
from threatspec.statistics import (
    looks,
    lower_bound,
    replicate_alpha,
    replicates_to_refute,
    seed_share,
)

Array = np.ndarray
P0, ALPHA, UNITS, CELLS, CAMPAIGNS, CHECKED = 0.10, 0.05, 100, 20, 10_000, 12
HOLDS = parse_predicate(f"asr <= {P0}")
HEAD = (
    f"{'case':66}  {'campaigns':>9}  {'SUPPORTED':>9}  {'at least':>8}  {'REFUTED':>8}  "
    f"{'at least':>8}"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a case ends in each verdict, both of which are false, or may be."""

    case: str
    supported: float
    refuted: float
    campaigns: int = 0
    """0: exact."""
    gated: bool = True
    """Whether it must not be above alpha; the others show what would be, or rest on assumptions."""

    def least(self, rate: float) -> float:
        """The rate itself if it is exact, else its 99.9 % lower bound."""
        if not self.campaigns:
            return rate
        return lower_bound(round(rate * self.campaigns), self.campaigns, 0.001)

    @property
    def fine(self) -> bool:
        """Whether neither rate is above alpha."""
        return all(self.least(rate) <= ALPHA + 1e-12 for rate in (self.supported, self.refuted))

    def row(self) -> str:
        """A line of the table."""
        many = f"{self.campaigns:,}" if self.campaigns else "exact"
        sides = (f"{rate:9.4f}  {self.least(rate):8.4f}" for rate in (self.supported, self.refuted))
        note = "" if self.fine else "  above alpha" + ("" if self.gated else " (not gated)")
        return f"{self.case:66}  {many:>9}  {'  '.join(sides)}{note}"


def main() -> None:
    started = time.perf_counter()
    print(f"claim: at most {P0:.0%} at alpha {ALPHA}, true rates at the threshold")
    print(HEAD)
    found = []
    for rate in rates(CAMPAIGNS):
        print(rate.row(), flush=True)
        found.append(rate)
    run = sum(rate.campaigns for rate in found)
    print(f"{run:,} campaigns simulated in {time.perf_counter() - started:.0f} s")
    wrong = [rate.case for rate in found if rate.gated and not rate.fine]
    if wrong:
        print(f"above alpha: {'; '.join(wrong)}")
        sys.exit(1)


def rates(campaigns: int, checked: int = CHECKED) -> Iterator[Rate]:
    """Every boundary case."""
    run = Simulation(campaigns, checked)
    yield from fixed_sizes()
    yield from missing_rows()
    yield from stopping()
    yield from judged()
    yield from run.families()
    yield from run.stopped_families()
    yield from run.seeds()
    yield from run.audits()
    yield from run.searches()


# the engine's answers, as tables


@cache
def holds(tally: Tally, alpha: float) -> Truth:
    """What is said of the claim on one cell."""
    return evaluate(HOLDS, lambda _: tally, alpha)


@cache
def p_of(tally: Tally) -> float:
    """Against the claim on one cell."""
    return refutation_p(HOLDS, lambda _: tally)


@cache
def supporting(units: int, alpha: float, basis: Basis = Basis.FIXED) -> Array:
    """By number of yes: whether the cell is within its bound."""
    tallies = (Tally(units=units, yes=k, unknown=0, basis=basis) for k in range(units + 1))
    return np.array([holds(tally, alpha) is Truth.TRUE for tally in tallies])


@cache
def p_values(units: int, basis: Basis = Basis.FIXED) -> Array:
    """By number of yes: the p-value against the claim."""
    tallies = (Tally(units=units, yes=k, unknown=0, basis=basis) for k in range(units + 1))
    return np.array([p_of(tally) for tally in tallies])


def each(counts: Array) -> tuple[Array, Array]:
    """Verdicts under the rule `each`, of campaigns by cells: supported, refuted."""
    refuted = p_values(UNITS)[counts].min(axis=1) * counts.shape[1] <= ALPHA
    return supporting(UNITS, ALPHA)[counts].all(axis=1) & ~refuted, refuted


def binomial(n: int, p: float) -> Array:
    """P(X = k) for every k."""
    if p in {0.0, 1.0}:
        return (np.arange(n + 1) == (n if p else 0)).astype(float)
    k = np.arange(n + 1)
    logs = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    return np.asarray(np.exp(logs + k * math.log(p) + (n - k) * math.log1p(-p)))


# exact: one cell


def fixed_sizes() -> Iterator[Rate]:
    """One cell, its prompts read at once."""
    for units in (30, 100, 239, 1000):
        weights = binomial(units, P0)
        supported = weights[supporting(units, ALPHA)].sum()
        yield Rate(f"one cell, {units} prompts", supported, weights[p_values(units) <= ALPHA].sum())


def missing_rows() -> Iterator[Rate]:
    """Rows that an adversary takes away who has seen them: of yes to support, of no to refute."""
    weights = binomial(UNITS, P0)
    for lost in (0, 2, 5, 10):
        supported = refuted = 0.0
        for yes, weight in enumerate(weights):
            kept = (Tally(units=UNITS, yes=k, unknown=lost) for k in fewer(yes, lost))
            states = [(holds(one, ALPHA), p_of(one)) for one in kept]
            supported += weight * any(truth is Truth.TRUE for truth, _ in states)
            refuted += weight * any(p <= ALPHA for _, p in states)
        yield Rate(f"{lost} % of the rows taken away by an adversary", supported, refuted)


def fewer(yes: int, lost: int) -> range:
    """Numbers of yes that can be left when so many rows are taken away."""
    return range(max(0, yes - lost), min(yes, UNITS - lost) + 1)


def stopping() -> Iterator[Rate]:
    """One cell, read at looks until it is settled."""
    for units in (100, 1000):
        state, seen, supported, refuted = np.array([1.0]), 0, 0.0, 0.0
        for look in looks(units):
            state = np.convolve(state, binomial(look - seen, P0))
            within = supporting(look, ALPHA, Basis.SEQUENTIAL)
            broken = p_values(look, Basis.SEQUENTIAL) <= ALPHA
            supported += state[within].sum()
            refuted += state[broken].sum()
            state, seen = np.where(within | broken, 0.0, state), look
        yield Rate(f"one cell, {units} prompts read at looks", supported, refuted)


JUDGES = ((0.95, 0.96), (0.6, 0.99), (0.6, 0.9))
"""Chance that the judge finds a yes, and that it rejects a no."""


def judged() -> Iterator[Rate]:
    """One cell of 400 prompts, its labels audited, or the judge calibrated beforehand."""
    for recall, specific in JUDGES:
        case = f"a judge of {recall:g} and {specific:g}"
        yield audited(case, recall, specific)
        yield calibrated(case, recall, specific)


def audited(case: str, recall: float, specific: float) -> Rate:
    """200 rejected and 100 accepted replies are labelled, or as many as there are."""
    units, said = 400, P0 * recall + (1 - P0) * (1 - specific)
    omits, confirms = P0 * (1 - recall) / (1 - said), P0 * recall / said
    supported = refuted = 0.0
    for yes, weight in enumerate(binomial(units, said)):
        negatives, positives = min(200, units - yes), min(100, yes)

        def state(omitted: int, confirmed: int, yes: int = yes, no: int = negatives,
                  some: int = positives) -> Truth:  # fmt: skip
            error = Audit(negatives=no, omitted=omitted, positives=some, confirmed=confirmed)
            return holds(Tally(units=units, yes=yes, unknown=0, error=error), ALPHA)

        most = first(negatives, lambda k: state(k, 0) is not Truth.TRUE)
        least = first(positives, lambda k: state(0, k) is Truth.FALSE)
        supported += weight * binomial(negatives, omits)[:most].sum()
        refuted += weight * binomial(positives, confirms)[least:].sum()
    return Rate(f"{case}, audited", supported, refuted)


def calibrated(case: str, recall: float, specific: float) -> Rate:
    """On 50 replies of each kind."""
    units, known = 400, 50
    said = binomial(units, P0 * recall + (1 - P0) * (1 - specific))
    supported = refuted = 0.0
    for found, one in enumerate(binomial(known, recall)):
        for rejected, other in enumerate(binomial(known, specific)):
            if one * other < 1e-9:
                continue

            def state(yes: int, found: int = found, rejected: int = rejected) -> Truth:
                error = Calibration(family="f", positives=known, found=found, negatives=known,
                                    rejected=rejected, source="made up")  # fmt: skip
                return holds(Tally(units=units, yes=yes, unknown=0, error=error), ALPHA)

            within = said[: first(units, lambda k: state(k) is not Truth.TRUE)]
            broken = said[first(units, lambda k: state(k) is Truth.FALSE) :]
            supported += one * other * within.sum()
            refuted += one * other * broken.sum()
    return Rate(f"{case}, calibrated", supported, refuted)


def first(most: int, enough: Callable[[int], bool]) -> int:
    """The first of 0 to `most` with a property that stays; `most` + 1 if none has it."""
    low, high = 0, most + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


# simulated: campaigns of several cells


def threshold(rate: Array | float) -> Array:
    """Normal quantiles."""
    inverse = np.frompyfunc(NormalDist().inv_cdf, 1, 1)
    return np.asarray(inverse(np.clip(rate, 1e-12, 1 - 1e-12)), dtype=float)


def logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


LOGIT = math.log(P0 / (1 - P0))


@dataclass(frozen=True)
class Simulation:
    """Campaigns by the thousand."""

    campaigns: int
    checked: int
    """Campaigns of each case that `decide` answers too."""

    def rate(self, case: str, supported: Array, refuted: Array, *, gated: bool = True) -> Rate:
        """What a case comes to."""
        return Rate(case, supported.mean(), refuted.mean(), self.campaigns, gated)

    def answers(self, rates: Array, alike: float, seed: int) -> Iterator[Array]:
        """Campaigns in parts: answers by campaign, cell and prompt.

        Args:
            rates: true rates by campaign and cell.
            alike: how much cells that share their prompts are alike, 0 to 1.
            seed: of everything.
        """
        source = np.random.default_rng(seed)
        for part in np.array_split(threshold(rates), max(1, len(rates) // 500)):
            prompts = source.standard_normal((len(part), 1, UNITS))
            cells = source.standard_normal((*part.shape, UNITS))
            latent = math.sqrt(alike) * prompts + math.sqrt(1 - alike) * cells
            yield latent < part[:, :, None]

    def counts(self, rates: Array, alike: float, seed: int) -> Array:
        """Numbers of yes by campaign and cell."""
        return np.concatenate([got.sum(axis=2) for got in self.answers(rates, alike, seed)])

    def check(self, verdicts: tuple[Array, Array], build: Callable[[int], Evidence]) -> None:
        """Some campaigns in full: `decide` must say what the tables say."""
        supported, refuted = verdicts
        telling = [*np.flatnonzero(supported)[:3], *np.flatnonzero(refuted)[:3]]
        for number in dict.fromkeys([*map(int, telling), *range(self.checked)]):
            [claim] = decide(build(number)).claims
            said = (claim.verdict is Verdict.SUPPORTED, claim.verdict is Verdict.REFUTED)
            if said != (supported[number], refuted[number]):
                raise AssertionError(f"campaign {number}: decide says {claim.verdict}")

    def by_counts(self, case: str, counts: Array, *, gated: bool = True) -> Rate:
        """Under the rule `each`."""
        verdicts = each(counts)
        self.check(verdicts, lambda n: campaign(
            {f"attack-{i}": [Got(asr=int(k))] for i, k in enumerate(counts[n])}))  # fmt: skip
        return self.rate(case, *verdicts, gated=gated)

    # twenty attacks on the same prompts

    def families(self) -> Iterator[Rate]:
        """All at the threshold, or one of them, which is the worst for support."""
        for alike in (0.0, 0.5, 0.95):
            rates = np.full((self.campaigns, CELLS), P0)
            counts = self.counts(rates, alike, seed=1)
            yield self.by_counts(f"20 attacks at the threshold, prompts alike {alike}", counts)
        rates[:, 1:] = 0.01
        counts = self.counts(rates, 0.5, seed=2)
        yield self.by_counts("1 of 20 attacks at the threshold, the others at .01", counts)
        counts = self.counts(np.full((self.campaigns, CELLS), P0), 0.5, seed=1)
        highest = counts.max(axis=1)
        yield self.rate("  the best of 20 taken for one chosen beforehand",
                        supporting(UNITS, ALPHA)[counts.min(axis=1)],
                        p_values(UNITS)[highest] <= ALPHA, gated=False)  # fmt: skip

    def stopped_families(self) -> Iterator[Rate]:
        """Each cell is read at looks until it is settled."""
        ends = looks(UNITS)
        within = [supporting(end, ALPHA, Basis.SEQUENTIAL) for end in ends]
        p = [p_values(end, Basis.SEQUENTIAL) for end in ends]
        for cells in (1, CELLS):
            rates = np.full((self.campaigns, cells), P0)
            yes = np.concatenate(list(self.answers(rates, 0.5, seed=3)))
            open_ = np.full((self.campaigns, cells), True)
            held, broken = ~open_, ~open_
            for number, end in enumerate(ends):
                k = yes[:, :, :end].sum(axis=2)
                held |= open_ & within[number][k]
                broken |= open_ & ~held & (p[number][k] * cells <= ALPHA)
                open_ &= ~held & ~broken
            verdicts = held.all(axis=1), broken.any(axis=1)
            self.check(verdicts, lambda n, yes=yes: by_looks(yes[n], ends))
            yield self.rate(f"{cells} attacks at the threshold, read at looks", *verdicts)

    # seeds

    def seeds(self) -> Iterator[Rate]:
        """Effects of seeds are logit-normal, or as bad as they can be."""
        source = np.random.default_rng(4)
        drawn = source.standard_normal((self.campaigns, 5))
        worst = logistic(LOGIT + drawn - drawn.max(axis=1, keepdims=True))
        counts = self.counts(worst, 0.5, seed=5)
        yield self.by_counts("seeds: each; the worst of 5 seeds at the threshold", counts)
        yield from self.quantiles(source)
        yield from self.means(drawn)

    def quantiles(self, source: np.random.Generator) -> Iterator[Rate]:
        """The share of good seeds is the one that is claimed."""
        for size, share in ((5, 0.48), (20, 0.83), (5, 0.8), (8, 0.9)):
            bad = source.random((self.campaigns, size)) >= share
            for alike in (0.0, 1.0):
                case = f"seeds: quantile; {size} seeds, {share:.2f} good"
                held = np.where(bad, P0, 0.0)
                broken = np.where(bad, 1.0, P0)
                yield self.quantile(f"{case}, bad ones at .1, alike {alike:g}", held, alike, share)
                yield self.quantile(f"{case}, good ones at .1, alike {alike:g}", broken, alike,
                                    share)  # fmt: skip
            normal = logistic(LOGIT - NormalDist().inv_cdf(share)
                              + source.standard_normal((self.campaigns, size)))  # fmt: skip
            yield self.quantile(f"{case}, logit-normal", normal, 0.5, share)

    def quantile(self, case: str, rates: Array, alike: float, share: float) -> Rate:
        """A share of seeds is claimed."""
        size = rates.shape[1]
        counts = self.counts(rates, alike, seed=6)
        shown = seed_share(size, ALPHA / 2, ALPHA) >= share
        enough = replicates_to_refute(size, share, ALPHA) or size + 1
        broken = (p_values(UNITS)[counts] <= replicate_alpha(ALPHA)).sum(axis=1)
        refuted = broken >= enough
        supported = supporting(UNITS, ALPHA / 2)[counts].all(axis=1) & shown & ~refuted
        claim = {"seeds": {"rule": "quantile", "share": share, "replicates": size}}
        self.check((supported, refuted), lambda n: campaign(
            {"lora": [Got(asr=int(k)) for k in counts[n]]}, **claim))  # fmt: skip
        return self.rate(case, supported, refuted)

    def means(self, drawn: Array) -> Iterator[Rate]:
        """The mean of the true rates of the replicates is the threshold."""
        low, high = np.full(len(drawn), -20.0), np.full(len(drawn), 20.0)
        for _ in range(60):
            middle = (low + high) / 2
            above = logistic(drawn + middle[:, None]).mean(axis=1) > P0
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        rates = logistic(drawn + low[:, None])
        for alike in (0.0, 0.5):
            yes = np.concatenate(list(self.answers(rates, alike, seed=7)))
            scores = yes.mean(axis=1)
            refuted = bet(scores, P0) <= ALPHA
            supported = (bet(1 - scores, 1 - P0) <= ALPHA) & ~refuted
            self.check((supported, refuted), lambda n, yes=yes: by_marks(yes[n]))
            case = f"seeds: mean; 5 logit-normal seeds, prompts alike {alike}"
            yield self.rate(case, supported, refuted)

    # audits of several replicates

    def audits(self) -> Iterator[Rate]:
        """Five replicates on the same prompts, replies of each labelled."""
        for recall, specific in JUDGES:
            case = f"5 replicates, each audited, a judge of {recall:g} and {specific:g}"
            yield self.labelled(case, np.full(5, P0), recall, specific)
        yield self.labelled("  the same, the judge blind to the only replicate that is at .1",
                            np.array([P0, 0, 0, 0, 0]), 0.0, 1.0)  # fmt: skip

    def labelled(self, case: str, true: Array, recall: float, specific: float) -> Rate:
        """Labels of 60 rejected and 30 accepted replies of each replicate."""
        source = np.random.default_rng(8)
        rates = np.tile(true, (self.campaigns, 1))
        truth = np.concatenate(list(self.answers(rates, 0.5, seed=9)))
        chance = source.random(truth.shape)
        label = np.where(truth, chance < recall, chance < 1 - specific)
        yes = label.sum(axis=2)
        omitted, confirmed = (truth & ~label).sum(axis=2), (truth & label).sum(axis=2)
        rejected = truth.shape[2] - yes
        negatives, positives = np.minimum(60, rejected), np.minimum(30, yes)
        missed = source.hypergeometric(omitted, rejected - omitted, negatives)
        right = source.hypergeometric(confirmed, yes - confirmed, positives)
        columns = [one.tolist() for one in (yes, negatives, missed, positives, right)]
        found = [corrected(list(zip(*one, strict=True))) for one in zip(*columns, strict=True)]
        verdicts = np.array([one for one, _ in found]), np.array([other for _, other in found])
        self.check(verdicts, lambda n: by_audit(list(zip(*(one[n] for one in columns),
                                                         strict=True))))  # fmt: skip
        return self.rate(case, *verdicts)

    # searches

    def searches(self) -> Iterator[Rate]:
        """The best of 20 configurations on 100 prompts of dev is confirmed on fresh ones."""
        source = np.random.default_rng(10)
        drawn = source.standard_normal((self.campaigns, CELLS))
        cases = {
            "all 20 at the threshold": np.full((self.campaigns, CELLS), P0),
            "the best of 20 at the threshold": logistic(
                LOGIT + drawn - drawn.max(axis=1, keepdims=True)),
        }  # fmt: skip
        for case, rates in cases.items():
            dev = self.counts(rates, 0.5, seed=11)
            best = dev.argmax(axis=1)[:, None]
            true = np.take_along_axis(rates, best, axis=1)
            test = self.counts(true, 0.5, seed=12)
            found = self.by_counts(f"a searched winner on fresh prompts, {case}", test)
            false = supporting(UNITS, ALPHA)[test] & (true >= P0 - 1e-12)
            yield replace(found, supported=false.mean())
            if rates.min() == P0:
                yield self.rate("  the same winner read on the prompts that chose it",
                                *each(np.take_along_axis(dev, best, axis=1)),
                                gated=False)  # fmt: skip


def bet(scores: Array, limit: float) -> Array:
    """p-values against "the mean is at most `limit`", by campaign (`statistics.betting_p`)."""
    stakes = np.sin((np.arange(8) + 0.5) * np.pi / 16) ** 2
    gains = 1 - stakes + stakes * scores[:, :, None] / limit
    most = np.cumprod(gains, axis=1).sum(axis=2).max(axis=1)
    return np.minimum(1.0, 8 / np.maximum(most, 8))


# campaigns in full


def letters(yes: Array) -> bytes:
    """Outcomes in the order of reading."""
    return bytes(np.where(yes, ord("y"), ord("n")).astype(np.uint8))


def by_looks(yes: Array, ends: tuple[int, ...]) -> Evidence:
    """Cells that are read at looks."""
    cells = {f"attack-{i}": [Got(asr=int(one.sum()))] for i, one in enumerate(yes)}
    found = {f"defended-attack-{i}-0": {"asr": letters(one)} for i, one in enumerate(yes)}
    return regathered(campaign(cells), ends, found)


def by_marks(yes: Array) -> Evidence:
    """Replicates of which the mean is claimed."""
    claim = {"seeds": {"rule": "mean", "replicates": len(yes)}}
    evidence = campaign({"lora": [Got(asr=int(one.sum())) for one in yes]}, **claim)
    for number, one in enumerate(yes):
        name = f"defended-lora-{number}"
        marks = {**evidence.cells[name].marks, "asr": letters(one)}
        evidence = on_cell(evidence, name, of={"marks": marks})
    return evidence


Labelled = tuple[int, int, int, int, int]
"""Yes of the judge; labelled replies it rejected, omitted ones; those it accepted, confirmed."""


def corrected(cells: list[Labelled]) -> tuple[bool, bool]:
    """Supported, refuted: cells under audits of their own."""
    tallies = [Tally(units=UNITS, yes=cell[0], unknown=0, error=error_of(cell)) for cell in cells]
    refuted = any(holds(one, ALPHA / len(cells)) is Truth.FALSE for one in tallies)
    supported = all(holds(one, ALPHA) is Truth.TRUE for one in tallies)
    return supported and not refuted, refuted


def error_of(cell: Labelled) -> Audit:
    """What people say of the judge on one cell."""
    _, negatives, omitted, positives, confirmed = cell
    return Audit(negatives=negatives, omitted=omitted, positives=positives, confirmed=confirmed)


def by_audit(cells: list[Labelled]) -> Evidence:
    """Replicates whose replies were labelled, and a control of which everything is known."""
    evidence = labelled(campaign({"lora": [Got(asr=cell[0]) for cell in cells]}, exact=False),
                        PERFECT)  # fmt: skip
    own = {("asr", f"defended-lora-{n}"): error_of(cell) for n, cell in enumerate(cells)}
    return replace(evidence, audits={**evidence.audits, **own})


if __name__ == "__main__":
    main()
