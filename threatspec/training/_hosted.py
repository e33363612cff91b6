"""The back-end `hosted`: a job through an OpenAI-compatible fine-tuning interface.

A provider shows neither weights nor rates, so what is realised is read from outside: steps and
losses as it tells them, and the answers to some of the training prompts before and after. These
take the place of the probe (how little the answers have of the demonstrated ones) and of the
distance of the weights (how many of them changed).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from threatspec.errors import ThreatspecError
from threatspec.records import Generation, Realised, Spend
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._endpoint import EndpointSubject
from threatspec.training._hosted_job import checkpoints, losses, tuned
from threatspec.training._job import TrainingJob, TrainingRow, Trajectory
from threatspec.training._meter import Meter
from threatspec.training._policy import TrainingPolicy

__all__ = ["HostedTrainer"]

_PROBED = 8
"""Training prompts that are asked before and after; our own reading, never charged."""
_PROBE_TOKENS = 64


class HostedTrainer:
    """Uploads the rows, starts a job, waits for it, and deletes the rows again."""

    name = "hosted"

    def __init__(self, subject: EndpointSubject) -> None:
        self.subject = subject

    def train(
        self, jobs: Sequence[TrainingJob], policy: TrainingPolicy, meter: Meter
    ) -> list[Trajectory]:
        """See :class:`threatspec.training.Trainer`.

        Raises ThreatspecError TS-TRIAL-ERROR for a job that no such interface can be given,
        TS-ENDPOINT for an interface that fails.
        """
        return [self._train(job, policy, meter) for job in jobs]

    def _train(self, job: TrainingJob, policy: TrainingPolicy, meter: Meter) -> Trajectory:
        _require_possible(job, policy)
        meter.begin_run()
        spend = self._predicted(job)
        meter.charge(spend)
        before = self._answers(job.rows, self.subject)
        with self.subject.open() as api:
            done = tuned(api, job)
            told = losses(api, done["id"])
            kept = checkpoints(api, done, job, max(told, default=job.hyperparameters.steps))
        spend += _more(done, spend, meter)
        after = self._answers(job.rows, self.subject.served(kept[max(kept)].model))
        realised = _realised(job, told, max(kept), before, after)
        # weights that nobody can mount: whoever asks for a hosted job knows what it gets
        return Trajectory(cast("Any", kept), realised, spend)

    def _predicted(self, job: TrainingJob) -> Spend:
        """What is charged before the job starts: every row once per epoch, by rough length."""
        hyper, card = job.hyperparameters, self.subject.card
        words = sum(len(f"{r.system or ''} {r.prompt} {r.answer}".split()) for r in job.rows)
        once = words * card.tokens_per_word + len(job.rows) * card.template_tokens
        epochs = hyper.steps * min(hyper.batch_size, len(job.rows)) / len(job.rows)
        return Spend(steps=hyper.steps, tokens=round(once * epochs))

    def _answers(
        self, rows: Sequence[TrainingRow], subject: EndpointSubject
    ) -> list[tuple[Generation, str]]:
        """Answers to the first of the training prompts, with the demonstrated ones."""
        found = []
        for row in rows[:_PROBED]:
            serving = Serving(system=row.system, max_tokens=_PROBE_TOKENS)
            request = Request(item=row.id, prompt=row.prompt)
            [reply] = subject.generate([request], serving, micro_batch=1)
            found.append((reply, row.answer))
        return found


def _require_possible(job: TrainingJob, policy: TrainingPolicy) -> None:
    absent = {
        "settings of a service (attack hosted-finetune)": not job.hyperparameters.hosted,
        "mask of the weights it could be given": job.mask is not None,
        "policy but its own": type(policy) is not TrainingPolicy,
        "words of a reply without loss": any(row.prefix for row in job.rows),
        "weights of rows but 0 and 1": any(row.weight not in {0.0, 1.0} for row in job.rows),
    }
    lacking = [what for what, missing in absent.items() if missing]
    if lacking:
        text = "the trainer `hosted` must be given what a fine-tuning service can do, but it has no"
        raise ThreatspecError("TS-TRIAL-ERROR", f"{text} {', no '.join(lacking)}")


def _more(done: dict[str, Any], charged: Spend, meter: Meter) -> Spend:
    """Tokens that the provider bills beyond what was predicted."""
    billed = done.get("trained_tokens")
    more = max(0, billed - charged.tokens) if isinstance(billed, int) else 0
    spend = Spend(tokens=more)
    meter.charge(spend)
    return spend


def _realised(
    job: TrainingJob,
    told: dict[int, float],
    steps: int,
    before: list[tuple[Generation, str]],
    after: list[tuple[Generation, str]],
) -> Realised:
    changed = sum(a.reply != b.reply for (a, _), (b, _) in zip(before, after, strict=True))
    return Realised(
        backend=HostedTrainer.name,
        steps=steps,
        rows=len({(row.system, row.prompt, row.answer) for row in job.rows}),
        trainable=0,
        lr=(),
        loss=tuple(round(loss, 6) for loss in told.values()),
        loss_tokens=(),
        grad_norm=(),
        weight_delta=float(changed),
        probe_before=_apart(before),
        probe_after=_apart(after),
    )


def _apart(answers: Sequence[tuple[Generation, str]]) -> float:
    """How little of the demonstrated answers is in the given ones: 0 = all words, 1 = none."""
    shares = [1 - _overlap(given.reply, wanted) for given, wanted in answers]
    return round(sum(shares) / len(shares), 6)


def _overlap(given: str, wanted: str) -> float:
    """Words in common, each as often as in both, by the mean number of words (F1)."""
    a, b = Counter(given.lower().split()), Counter(wanted.lower().split())
    both = (a & b).total()
    return 2 * both / max(1, a.total() + b.total())
