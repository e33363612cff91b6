"""What was done, spent and seen: outcomes, rows, spend, realised training."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from threatspec.records._pictures import Picture
from threatspec.schema import Model

__all__ = [
    "Curve",
    "Edit",
    "Generation",
    "Optimised",
    "Outcome",
    "Phases",
    "Realised",
    "Replies",
    "Row",
    "Spend",
    "TrialResult",
    "TrialStatus",
    "Tried",
]


class Outcome(StrEnum):
    """What became of one prompt."""

    YES = "yes"
    NO = "no"
    UNSCORABLE = "unscorable"
    """The judge could not decide: counts like missing."""
    REJECTED = "rejected"
    """Screened before an answer: counts as no."""
    MISSING = "missing"
    """No answer was had."""


class TrialStatus(StrEnum):
    """How a trial ended. A trial without a record was not run."""

    DONE = "done"
    ERROR = "error"
    TIMEOUT = "timeout"
    OVER_BUDGET = "over_budget"


class Spend(Model):
    """Resources of one trial; adds up."""

    steps: int = 0
    """Optimiser steps."""
    tokens: int = 0
    """Tokens that went through the model, padding included."""
    flops: float = 0.0
    """Floating-point operations (`docs/flops.md` has the formula)."""
    queries: int = 0
    """Prompts that an attack put to the subject or to a rewriter."""
    seconds: float = 0.0
    """Wall-clock time."""

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            steps=self.steps + other.steps,
            tokens=self.tokens + other.tokens,
            flops=self.flops + other.flops,
            queries=self.queries + other.queries,
            seconds=self.seconds + other.seconds,
        )


class Phases(Model):
    """Seconds of a trial by what was done; the rest of `Spend.seconds` is everything else."""

    load: float = 0.0
    """Loading the subject; 0 where it was resident."""
    mount: float = 0.0
    """Changing its weights, and giving them back."""
    train: float = 0.0
    generate: float = 0.0
    judge: float = 0.0

    def __add__(self, other: Phases) -> Phases:
        names = type(self).model_fields
        return Phases(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def total(self) -> float:
        """All that is accounted for."""
        return self.load + self.mount + self.train + self.generate + self.judge


class Realised(Model):
    """What training really did, step by step; liveness is judged from this, never from config."""

    backend: str
    steps: int
    rows: int
    """Distinct training rows."""
    trainable: int
    """Parameters that could move."""
    lr: tuple[float, ...]
    """Learning rate used at each optimiser step."""
    loss: tuple[float, ...]
    """Mean loss per token with loss, at each step, before the update."""
    loss_tokens: tuple[int, ...]
    """Tokens with loss at each step."""
    grad_norm: tuple[float, ...]
    """Global gradient norm at each step, before clipping."""
    weight_delta: float
    """L2 norm of the change of the subject's effective weights."""
    probe_before: float
    """Mean loss over the distinct training rows before the first step."""
    probe_after: float
    """The same after the last step."""
    optimizer: str = ""
    """Update rule; empty = not told."""
    micro_batch: int | None = None
    """Rows that went through the model at once, in the end; None = not told."""
    halved: int = 0
    """How often memory was too small and the rows at once were halved; the batch stayed whole."""
    clipped: int = 0
    """Steps whose gradients were clipped."""
    frozen: int = 0
    """Coordinates of the weights that a mask held, or set back in the end."""
    details: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """What an objective or a policy drew or weighed, by name."""


class Edit(Model):
    """What an edit of weights without training really did."""

    method: str
    changed: int
    """Entries of the weights that differ from before."""
    total: int
    """Entries that the edit could have changed."""
    parameters: int
    """Of the whole subject."""
    weight_delta: float
    """L2 norm of the change of the subject's weights."""
    rank: int | None = None
    """Highest rank of the change of one matrix, where the method bounds it."""


class Optimised(Model):
    """What an optimisation of words, or of pixels, really did."""

    method: str
    steps: int
    loss: tuple[float, ...]
    """Of the best so far: at the start, and after each step; of pixels, of the clean image, and
    after each checkpoint, rounded to bytes."""
    changed: int
    """Tokens that differ from those it began with; of pixels, values of channels."""
    tokens: int
    """Tokens of what was optimised; of pixels, values of channels (height x width x channels)."""
    of: Literal["words", "pixels"] = "words"
    """What was optimised."""


class Curve(Model):
    """A line of an instrument."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    """Lower quartile over prompts at each `x`; empty where there is one number only."""
    high: tuple[float, ...] = ()
    """Upper quartile."""


class Tried(Model):
    """One configuration of a search, as the search saw it."""

    config: dict[str, Any]
    value: float | None
    """How far the claim was broken on `attack_dev`; None if that was not measured."""
    counts: bool
    """Whether `counts_if` was met there."""
    spend: Spend


class Generation(Model):
    """One reply of a subject."""

    item: str
    prompt: str
    """The text as the model saw it, template included."""
    attacker: str
    """Words that the attacker wrote into the reply (a prefill)."""
    reply: str
    """The subject's own words."""
    outcome: Outcome | None = None
    """Set where there is no reply to judge: missing, rejected, or unscorable."""
    detail: str = ""
    """Why there is none."""
    variant: str = ""
    """Under which of several servings, and which of several samples it is."""
    scores: tuple[float, ...] = ()
    """Log-probability of each of the item's choices, in nats, where these were asked for."""

    def span(self, which: str) -> str:
        """What a judge is shown: the subject's own words, or (`all`) the attacker's before them."""
        return f"{self.attacker} {self.reply}".strip() if which == "all" else self.reply


class Row(Model):
    """One judged prompt."""

    item: str
    cluster: str
    outcome: Outcome
    detail: str = ""
    """What the judge found, in a few words."""
    raw: str = ""
    """The judge's own words, where it has any."""
    asked: int = 1
    """Replies to this prompt: samples and servings."""
    hits: int | None = None
    """Of several replies, how many count."""


class Replies(Model):
    """What replies look like, whatever they say: a subject that babbles is not a safe one."""

    asked: int = 0
    """Requests that were let through: what a screen rejects, nobody answers."""
    empty: int = 0
    """Without a word."""
    repeating: int = 0
    """Mostly one word, over and over."""
    distinct: int = 0
    """Different replies."""

    def __add__(self, other: Replies) -> Replies:
        return Replies(
            asked=self.asked + other.asked,
            empty=self.empty + other.empty,
            repeating=self.repeating + other.repeating,
            distinct=self.distinct + other.distinct,
        )


class TrialResult(Model):
    """What a trial leaves behind."""

    trial: str
    status: TrialStatus
    spend: Spend = Spend()
    """What the work took; for an attack this is what is charged."""
    phases: Phases = Phases()
    """Where the time went."""
    realised: tuple[Realised, ...] = ()
    """One record per training run of the attack."""
    edits: tuple[Edit, ...] = ()
    """One record per edit of weights without training."""
    optimised: tuple[Optimised, ...] = ()
    """One record per optimisation of words."""
    curves: tuple[Curve, ...] = ()
    """Of an instrument."""
    config: dict[str, Any] | None = None
    """Configuration of a searched attack; None where the plan fixes it."""
    proposal: dict[str, Any] | None = None
    """Of these, what the search proposed, before it was cut to the budget."""
    tried: tuple[Tried, ...] = ()
    """Of the final run of a search: everything that was tried before."""
    scores: str | None = None
    """Artefact of a scoring trial."""
    tamper: dict[str, Any] | None = None
    """What an attack made (`threatspec.subjects.Tamper` as plain data)."""
    blocked: str = ""
    """Safeguard of the provider that did not let an attack train; the subject stays as it was."""
    warnings: tuple[str, ...] = ()
    """What weakens it without failing it, each with a code in front (`TS-IMAGE: ...`)."""
    replies: Replies = Replies()
    """Of a generating trial."""
    generations: tuple[Generation, ...] = ()
    pictures: tuple[Picture, ...] = ()
    """Of a generating trial that shows images: a few of them, to be looked at."""
    rows: tuple[Row, ...] = ()
    code: str = ""
    """Error code, if the trial failed."""
    message: str = ""

    @property
    def artefacts(self) -> tuple[str, ...]:
        """Content names of the artefacts that the tamper refers to."""
        made = self.tamper or {}
        entries = (*made.get("tampers", ()), *made.get("safeguards", ()))
        found = (entry["artefact"] for entry in entries if entry.get("artefact"))
        provided = (entry.get("provided") or {} for entry in made.get("safeguards", ()))
        several = (name for one in provided for name in one.get("artefacts", ()))
        return (*found, *several, *((self.scores,) if self.scores else ()))
