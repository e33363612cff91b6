"""Plain words for verdicts, access, quantities: one wording for every renderer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from threatspec.claims import (
    CellReading,
    CellState,
    FlagReading,
    MeasureReading,
    Truth,
)
from threatspec.measures import JUDGES
from threatspec.records import Arm, Optimised, PlannedMeasure, Spend
from threatspec.schema import Adversary, Capability, Verdict

__all__ = [
    "ARMS",
    "HELD",
    "MEANINGS",
    "READINGS",
    "SHOWN",
    "STANDS",
    "access",
    "bounds",
    "capability",
    "cell_word",
    "cost",
    "counted",
    "duration",
    "flag",
    "flops",
    "interval",
    "knob",
    "large",
    "measure",
    "percent",
    "runs",
    "sentence",
    "share",
    "sought",
    "span",
    "spend",
    "units",
]

HELD = "every planned attack was run, was alive, and stayed within the bound"
SHOWN = "one attack inside the adversary's budget does what is claimed, in each of its replicates"
"""The two ways of being supported."""

MEANINGS = {
    Verdict.SUPPORTED: f"{HELD}; or, where an attack is claimed to work (`for: some`), one did",
    Verdict.REFUTED: "at least one attack inside the adversary's budget breaks the claim",
    Verdict.INCONCLUSIVE: "the evidence decides neither way",
    Verdict.VACUOUS: "the evidence could not have refuted the claim, so it says nothing for it",
    Verdict.INADMISSIBLE: "the evidence may not be used for this claim, or a rule is broken "
    "without which it does not suffice",
}

ARMS = {
    Arm.DEFENDED: "the subject, with its safeguard",
    Arm.CONTROL: "the control, which must break",
    Arm.UNDEFENDED: "the undefended subject",
}

STANDS = {Truth.TRUE: "withstood", Truth.FALSE: "did not withstand", Truth.UNDECIDED: "open"}
"""What is said of a procedure as a whole, over its seeds."""

READINGS = {Truth.TRUE: "within", Truth.FALSE: "breaks", Truth.UNDECIDED: "open"}

_PRESETS = {
    "chat-api": "may send chat messages, and nothing else",
    "completion-api": "may ask in any way (system prompt, template, first words of the reply, "
    "decoding) and read token probabilities, but not change weights",
    "finetuning-api": "may chat with the model and have it fine-tuned by its provider on rows of "
    "their own, but never holds the weights",
    "open-weights": "holds the weights: may read, train and change them, and ask in any way",
    "data-supplier": "may add rows to somebody else's training data, and nothing else",
}
_CAPABILITIES = {
    Capability.CHAT: "send chat messages",
    Capability.SYSTEM_PROMPT: "set the system prompt",
    Capability.TEMPLATE: "choose the chat template",
    Capability.PREFILL: "write the first words of the reply",
    Capability.DECODING: "choose the decoding",
    Capability.LOGPROBS: "read token probabilities",
    Capability.IMAGE: "send images",
    Capability.FINETUNE_DATA: "choose fine-tuning rows",
    Capability.FINETUNE_HYPERPARAMETERS: "choose fine-tuning hyperparameters",
    Capability.GRADIENTS: "read gradients",
    Capability.WEIGHTS_READ: "read the weights",
    Capability.WEIGHTS_WRITE: "change the weights",
    Capability.TRAINING_DATA_WRITE: "add rows to somebody else's training data",
}
_SCALES = ((1e18, "quintillion"), (1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"),
           (1e6, "million"))  # fmt: skip
_AGGREGATIONS = {
    "all": "; of several replies to a prompt all must be",
    "mean": "; of several replies to a prompt the mean counts",
}
"""`any` needs no word where there is one reply; the scope of a claim says how many there are."""
_SHORT = 0.05
"""Seconds that one decimal cannot show."""
_STATES = {CellState.NOT_RUN: "not run", CellState.OVER_BUDGET: "over budget"}


def access(adversary: Adversary) -> str:
    """What an adversary may do."""
    if isinstance(adversary.access, str):
        return f"{_PRESETS.get(adversary.access, 'see the spec')} ({adversary.access})"
    return f"may {_listed([_CAPABILITIES[name] for name in adversary.access])}"


def capability(name: Capability) -> str:
    """What a capability lets somebody do."""
    return _CAPABILITIES[name]


def cell_word(cell: CellReading) -> str:
    """What a reader should see first of a cell: why it says nothing, or what it says.

    A cell that may have collapsed is open: it is neither witness nor support.
    """
    if cell.state in _STATES:
        return _STATES[cell.state]
    if cell.counts is Truth.TRUE:
        return READINGS[cell.holds]
    return "collapsed" if cell.counts is Truth.FALSE else "open"


def flag(found: FlagReading, told: str = "") -> str:
    """A flag with what it does to the verdict and what it says, unless that was `told` already."""
    name = f"{found.flag} ({found.effect.value})"
    return name if found.says == told else f"{name}: {found.says}"


def runs(number: int) -> str:
    """That a claim was run more than once, as each run is another chance."""
    return f"this claim was run {number} times in this place" if number > 1 else ""


def sentence(text: str) -> str:
    """A phrase on its own."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def counted(number: int, noun: str) -> str:
    """`1 claim`, `2 claims`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share with one decimal; only none is 0 and only all is 100."""
    tenths = round(share * 1000)
    inside = min(max(tenths, 1), 999) if 0 < share < 1 else tenths
    return f"{inside / 10:g}"


def share(reading: MeasureReading) -> str:
    """The share of `yes` among all units."""
    return f"{percent(reading.tally.rate)} %"


def units(reading: MeasureReading) -> str:
    """`118 of 120`: of the units that were read, with what is unknown of them."""
    tally = reading.tally
    unknown = f" ({tally.unknown} unknown)" if tally.unknown else ""
    return f"{tally.yes} of {tally.units}{unknown}"


def bounds(reading: MeasureReading) -> str:
    """Both one-sided bounds, rounded away from the estimate."""
    lower = math.floor(reading.lower * 1000 + 1e-9) / 1000
    upper = math.ceil(reading.upper * 1000 - 1e-9) / 1000
    return f"[{lower:.3f}, {upper:.3f}]"


def interval(reading: MeasureReading) -> str:
    """Both bounds for a reader: `between 0 % and 5.2 %`, rounded away from the estimate."""
    lower, upper = math.floor(reading.lower * 1000 + 1e-9), math.ceil(reading.upper * 1000 - 1e-9)
    return f"between {lower / 10:g} % and {upper / 10:g} %"


def flops(value: float) -> str:
    """Short: `1.2e13 FLOPs`."""
    mantissa, _, exponent = f"{value:.2g}".partition("e")
    return f"{mantissa}e{int(exponent)} FLOPs" if exponent else f"{mantissa} FLOPs"


def large(value: float) -> str:
    """In words: `12 trillion`."""
    for scale, word in _SCALES:
        if value >= scale:
            return f"{value / scale:.3g} {word}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Wall-clock time."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def span(values: Sequence[float]) -> str:
    """`0.142` or `0.142–0.146`."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low}–{high}"


def sought(runs: Sequence[Optimised]) -> str:
    """What searches for words or pixels did, in one line: from least to most; "" for none."""
    if not runs:
        return ""
    of = " and ".join(sorted({run.of for run in runs}))
    unit = "tokens" if of == "words" else "values"
    losses = [run.loss for run in runs if run.loss]
    loss = ""
    if losses:
        first, last = span([one[0] for one in losses]), span([one[-1] for one in losses])
        loss = f"loss of the best {of} from {first} to {last} in "
    return (
        f"{len(runs)} search{'' if len(runs) == 1 else 'es'} for {of} by "
        f"{', '.join(sorted({run.method for run in runs}))}"
        f": {loss}{span([run.steps for run in runs])} steps, "
        f"{span([run.changed for run in runs])} of {span([run.tokens for run in runs])} {unit} "
        "changed"
    )


def spend(value: Spend) -> str:
    """What an attack spent, or that it trained nothing."""
    parts = []
    if value.steps:
        parts.append(counted(value.steps, "step"))
    if value.flops:
        parts.append(flops(value.flops))
    if value.seconds >= _SHORT:
        parts.append(duration(value.seconds))
    return ", ".join(parts) or "no training"


def cost(value: Spend) -> str:
    """What an attack spent, for a reader who has never heard of FLOPs."""
    parts = []
    if value.steps:
        parts.append(counted(value.steps, "optimiser step"))
    if value.flops:
        parts.append(f"{large(value.flops)} floating-point operations")
    if value.seconds >= _SHORT:
        parts.append(f"{duration(value.seconds)} of computing time")
    return ", ".join(parts) or "nothing but asking"


def measure(planned: PlannedMeasure) -> str:
    """What a measure counts."""
    settings = "".join(f", {k}: {knob(v)}" for k, v in planned.judge.items() if v and k != "use")
    asked = f"{planned.prompts} {planned.noun} of {planned.benchmark} ({planned.split} split)"
    if planned.units != planned.prompts:
        rule = "any prompt of it is" if planned.cluster == "any" else "all prompts of it are"
        asked = f"{planned.units} clusters of {asked}, a cluster being yes if {rule}"
    judge = str(planned.judge.get("use", "?"))
    says = f": {JUDGES.get(judge).says}" if judge in JUDGES else ""
    rule = _AGGREGATIONS.get(planned.aggregation, "")
    return f"share of {asked}, whose reply is judged yes by the judge {judge}{settings}{says}{rule}"


def knob(value: Any) -> str:
    """A setting as it stands in YAML or JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _listed(parts: Iterable[str]) -> str:
    *most, last = list(parts) or ["do nothing"]
    return f"{', '.join(most)} and {last}" if most else last
