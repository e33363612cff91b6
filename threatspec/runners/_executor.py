"""Execution of one trial on resident subjects: the only module of the program that does the work.

Every runner uses it in a process of its own; it keeps models loaded between trials.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.attacks import Attack, AttackContext, DataCard, attack_of, training_rows
from threatspec.errors import ThreatspecError
from threatspec.measures import (
    Item,
    JudgeSubject,
    benchmark,
    judge_of,
    judgements,
    looks_of,
    rows_of,
)
from threatspec.measures.choice import choice_prompt
from threatspec.records import (
    ArtefactStore,
    Execution,
    Generation,
    Outcome,
    Spend,
    Stream,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.runners._asks import Asks
from threatspec.runners._guards import Guards
from threatspec.runners._pictures import pictures_of
from threatspec.runners._searching import Chosen, choose
from threatspec.runners._stopwatch import Stopwatch
from threatspec.schema import Serving, is_judge
from threatspec.subjects import (
    Request,
    RequestTamper,
    Tamper,
    WeightTamper,
    tampers_from_data,
    tampers_to_data,
)
from threatspec.training import (
    BudgetExceeded,
    Meter,
    ScoreRequest,
    TrainingBlocked,
    TrainingRow,
)

if TYPE_CHECKING:
    pass

__all__ = ["Executor"]

_WITHOUT_WEIGHTS = ("endpoint:", "judge:")
"""References of subjects that are asked, and never loaded."""


class Executor:
    """Runs trials of one campaign.

    Args:
        store: where tampered weights are kept.
        spec_folder: where relative files of the spec are looked for.
        execution: threads and micro-batches, fixed by the plan.
        resident: how many subjects stay loaded.
        device: where they are loaded; `auto` is a GPU if there is one.
        device_map: how a subject is laid over several GPUs.
    """

    def __init__(
        self,
        store: ArtefactStore,
        spec_folder: Path,
        execution: Execution,
        *,
        resident: int = 3,
        device: str = "auto",
        device_map: str | None = None,
    ) -> None:
        self.store = store
        self._watch, self._meter = Stopwatch(), Meter()
        self._told: dict[str, Any] = {}
        self._device = device
        self._device_map = device_map
        self.spec_folder = spec_folder
        self.execution = execution
        self._resident = resident
        self._subjects: OrderedDict[str, Any] = OrderedDict()

    def run(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        """Do the work of `trial`; failures are results, never exceptions."""
        started = time.perf_counter()
        self._watch, self._meter, self._told = Stopwatch(), Meter(), {}
        try:
            result = self._work(trial, inputs)
        except BudgetExceeded as error:
            result = self._failed(trial, TrialStatus.OVER_BUDGET, error.code, error.message)
        except ThreatspecError as error:
            result = self._failed(trial, TrialStatus.ERROR, error.code, error.message)
        except Exception as error:
            self._subjects.pop(trial.subject, None)  # whatever state it is in: load it anew
            result = self._failed(trial, TrialStatus.ERROR, *_classify(error))
        seconds = round(time.perf_counter() - started, 4)
        return result.model_copy(
            update={
                "spend": result.spend.model_copy(update={"seconds": seconds}),
                "phases": self._watch.phases,
            }
        )

    def _failed(self, trial: Trial, status: TrialStatus, code: str, message: str) -> TrialResult:
        """What was spent until then is spent; a search is told what it had proposed."""
        spend = self._meter.spend
        return TrialResult(
            trial=trial.id, status=status, code=code, message=message, spend=spend, **self._told
        )

    def _work(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        match trial.kind:
            case TrialKind.BUILD:
                return self._build(trial)
            case TrialKind.SCORE:
                return self._score(trial, inputs)
            case TrialKind.ATTACK:
                return self._attack(trial, inputs)
            case TrialKind.REPAIR:
                return self._repair(trial, inputs)
            case TrialKind.GENERATE:
                return self._generate(trial, inputs)
            case TrialKind.JUDGE:
                return self._judge(trial, inputs)
            case TrialKind.INSTRUMENT:
                return self._instrument(trial, inputs)

    def subject(self, ref: str) -> Any:
        """The subject `ref`: a resident one, loaded once, one behind an endpoint, or a judge."""
        if ref.startswith("endpoint:"):
            from threatspec.subjects._endpoint import EndpointSubject

            return EndpointSubject.load(ref)
        if is_judge(ref):
            return JudgeSubject.load(ref, self.spec_folder)
        if ref not in self._subjects:
            while len(self._subjects) >= self._resident:
                self._subjects.popitem(last=False)
            self._subjects[ref] = self._loaded(ref)
        self._subjects.move_to_end(ref)
        return self._subjects[ref]

    def _loaded(self, ref: str) -> Any:
        with self._watch.phase("load"):
            from threatspec.subjects._loaded import load_subject

            return load_subject(
                ref,
                self.spec_folder,
                threads=self.execution.threads,
                device=self._device,
                device_map=self._device_map,
            )

    # attack: an attack's asks are answered until it returns its tampers

    def _attack(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        attack = attack_of(trial.work["attack"])
        subject = self.subject(trial.subject)
        context = self._context(trial, subject, inputs)
        chosen = self._chosen(trial, attack, context, inputs)
        backend = trial.work.get("trainer") or "resident"
        meter = self._meter = Meter(chosen.budget)
        self._told = {"proposal": chosen.proposal or None, "config": None, "tried": chosen.tried}
        if "search" in trial.work:
            self._told["config"] = chosen.config.model_dump(mode="json")
        meter.charge(chosen.reading)
        guards = self._guards(trial, subject, inputs)
        secret = guards.secret if chosen.config.leaked else ""
        context = replace(context, secret=secret, probabilities=guards.probabilities)
        policy = guards.training()
        asks = Asks(
            subject, self.store.owned(trial.id), meter, self._watch, backend, policy,
            other=partial(self._other, trial), received=guards.received,
        )  # fmt: skip
        context = replace(context, warn=asks.warnings.append)
        tampers: tuple[Tamper, ...] = ()
        blocked = ""
        with self._mounted(subject, _tampers(trial, inputs)):
            try:
                tampers = tuple(asks.drive(attack.run(context, chosen.config)))
            except TrainingBlocked as stop:
                blocked = stop.hook
        return TrialResult(
            trial=trial.id,
            status=TrialStatus.DONE,
            spend=meter.spend,
            realised=tuple(asks.realised),
            edits=tuple(asks.edits),
            optimised=tuple(asks.optimised),
            tamper={"attack": attack.kind, **tampers_to_data(tampers)},
            blocked=blocked,
            warnings=tuple(asks.warnings),
            **self._told,
        )

    def _guards(self, trial: Trial, subject: Any, inputs: Mapping[str, TrialResult]) -> Guards:
        """What the subject's provider does, as the trial that built the subject left it."""
        made = [inputs[need].tamper or {} for need in trial.needs]
        found = [one for each in made for one in each.get("safeguards", ())]
        provider = trial.work.get("provider", False)
        return Guards(found, subject, self.spec_folder, self.store, at_provider=provider)

    def _chosen(
        self,
        trial: Trial,
        attack: Attack,
        context: AttackContext,
        inputs: Mapping[str, TrialResult],
    ) -> Chosen:
        """The configuration: fixed by the plan, or found by its search."""
        if "search" in trial.work:
            words = [len(f"{row.prompt} {row.answer}".split()) for row in context.rows]
            data = DataCard(rows=len(words), words=max(words)) if words else None
            return choose(trial, attack, inputs, context.subject, data, self.spec_folder)
        config = attack.Config.model_validate(trial.work["config"], strict=False)
        return Chosen(config, {}, trial.budget, Spend())

    def _context(
        self, trial: Trial, subject: Any, inputs: Mapping[str, TrialResult]
    ) -> AttackContext:
        seeds = {Stream(name): seed for name, seed in trial.work["seeds"].items()}
        drawn = self._drawn(trial.work["data"], seeds)
        return AttackContext(
            subject=subject.card,
            rows=tuple(row for rows in drawn.values() for row in rows),
            seeds=seeds,
            reads=trial.work.get("reads", {}),
            folder=self.spec_folder,
            harmful=drawn.get("harmful", ()),
            benign=drawn.get("benign", ()),
            scores=tuple(inputs[need].scores or "" for need in trial.needs
                         if inputs[need].scores is not None),
        )  # fmt: skip

    def _drawn(
        self, data: Mapping[str, Any], seeds: Mapping[Stream, int]
    ) -> dict[str, tuple[TrainingRow, ...]]:
        """Rows by role: a random sample of each source."""
        found: dict[str, tuple[TrainingRow, ...]] = {}
        for role, entry in sorted(data.items()):
            rows = training_rows(entry["source"], self.spec_folder)
            chooser = random.Random(f"{seeds.get(Stream.DATA_SUBSET, 0)}/{role}")
            found[role] = tuple(chooser.sample(rows, entry["n"]))
        return found

    @contextmanager
    def _mounted(self, subject: Any, tampers: tuple[Tamper, ...]) -> Iterator[Any]:
        """The subject with what was done to it; weights are given back bit-equal."""
        if subject.card.ref.startswith(_WITHOUT_WEIGHTS):
            yield subject.tampered(tampers)
            return
        from threatspec.subjects._mount import mount

        with ExitStack() as mounted:
            with self._watch.phase("mount"):
                mounted.enter_context(mount(subject, tampers, self.store))
            yield subject
            with self._watch.phase("mount"):
                mounted.close()

    # build and score: what attacks start from

    def _build(self, trial: Trial) -> TrialResult:
        from threatspec.runners._build import build
        from threatspec.runners._safeguards import fit

        subject = self.subject(trial.subject)
        meter = self._meter = Meter()
        asks = Asks(subject, self.store.owned(trial.id), meter, self._watch)
        seeds = {Stream(name): seed for name, seed in trial.work["seeds"].items()}
        steps = trial.work["build"]
        tampers = build(asks, steps, seeds, self.spec_folder) if steps else ()
        fitted, made = fit(asks, tampers, trial.work.get("safeguards", ()), self.spec_folder)
        return TrialResult(
            trial=trial.id,
            status=TrialStatus.DONE,
            spend=asks.meter.spend,
            realised=tuple(asks.realised),
            edits=tuple(asks.edits),
            tamper={**tampers_to_data((*tampers, *fitted)), "safeguards": made},
            warnings=tuple(asks.warnings),
        )

    def _repair(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        from threatspec.runners._safeguards import fit

        subject = self.subject(trial.subject)
        meter = self._meter = Meter()
        asks = Asks(subject, self.store.owned(trial.id), meter, self._watch)
        received = self._guards(trial, subject, inputs).received
        left, planned = _tampers(trial, inputs), trial.work["safeguards"]
        fitted, made = fit(asks, left, planned, self.spec_folder, repairs=True, received=received)
        return TrialResult(
            trial=trial.id,
            status=TrialStatus.DONE,
            spend=asks.meter.spend,
            realised=tuple(asks.realised),
            tamper={**tampers_to_data(fitted), "safeguards": made},
            warnings=tuple(asks.warnings),
        )

    def _score(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        from threatspec.training.regions import score, score_spend

        subject = self.subject(trial.subject)
        request = ScoreRequest.model_validate(trial.work["score"], strict=False)
        drawn = self._drawn(trial.work["data"], {})
        safety, utility = drawn.get("harmful", ()), drawn.get("benign", ())
        with self._mounted(subject, _tampers(trial, inputs)), self._watch.phase("train"):
            name = score(subject, request, safety, utility, self.store.owned(trial.id))
        spend = score_spend(subject.card, request, (*safety, *utility))
        return TrialResult(trial=trial.id, status=TrialStatus.DONE, spend=spend, scores=name)

    # instrument: read something of a subject that no claim asks for

    def _instrument(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        from threatspec.runners._instruments import read_instrument

        subject, base = self.subject(trial.subject), self._base(trial)
        meter = self._meter = Meter()
        asks = Asks(subject, self.store.owned(trial.id), meter, self._watch)
        with self._mounted(subject, _tampers(trial, inputs)):
            read = self.execution.micro_batch
            curves = read_instrument(trial, asks, base, self.spec_folder, read)
        return TrialResult(
            trial=trial.id,
            status=TrialStatus.DONE,
            spend=meter.spend,
            realised=tuple(asks.realised),
            curves=curves,
        )

    def _base(self, trial: Trial) -> Any:
        """What the subject is compared with: with weights of its own, whatever is mounted there."""
        ref = trial.work["base"]
        return None if ref is None else self._other(trial, ref)

    def _other(self, trial: Trial, ref: str) -> Any:
        """A model beside the trial's own, with no weights of its: nothing is mounted there."""
        return self._loaded(ref) if ref == trial.subject else self.subject(ref)

    # generate: ask the subject every prompt of a split

    def _generate(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        from threatspec.subjects._mount import encoded, served

        subject, work = self.subject(trial.subject), trial.work
        tampers = self._opened(_tampers(trial, inputs))
        plain = [Serving.model_validate(one, strict=False) for one in work["serving"]]
        with self._watch.phase("generate"):
            query = work.get("query", "generate")
            items = self._asked(trial)
            prompts = [_request(item, query) for item in items]
            if work.get("requests") == "plain":
                tampers = tuple(t for t in tampers if isinstance(t, WeightTamper))
            requests = encoded(tampers, prompts)
        guards = self._guards(trial, subject, inputs)
        if is_judge(trial.subject):
            subject = subject.about(items)
        with self._mounted(subject, tampers) as asked, self._watch.phase("generate"):
            replies = guards.ask(
                asked,
                requests,
                served(tampers, plain),
                micro_batch=self.execution.micro_batch,
                seed=work.get("seed", 0),
                query=work.get("query", "generate"),
            )
            replies = guards.shown(_without_secrets(requests, _read_back(tampers, replies)))
        shown = pictures_of(trial, prompts, requests, guards.received, self.spec_folder)
        return TrialResult(
            trial=trial.id,
            status=TrialStatus.DONE,
            replies=looks_of(
                [reply.reply for reply in replies if reply.outcome is not Outcome.REJECTED]
            ),
            generations=tuple(replies),
            pictures=shown,
        )

    def _opened(self, tampers: tuple[Tamper, ...]) -> tuple[Tamper, ...]:
        """What was done, ready to be used: artefacts and files are read."""
        load, folder = self.store.load, self.spec_folder
        return tuple(
            tamper.opened(load, folder) if isinstance(tamper, RequestTamper) else tamper
            for tamper in tampers
        )

    def _asked(self, trial: Trial) -> list[Item]:
        """Prompts of the trial's units, in reading order."""
        found = benchmark(trial.work["benchmark"], self.spec_folder)
        first, last = trial.work["units"]
        clusters = found.reading_order(trial.work["split"])[first:last]
        return [item for cluster in clusters for item in cluster]

    # judge: decide about every reply

    def _judge(self, trial: Trial, inputs: Mapping[str, TrialResult]) -> TrialResult:
        judge, config = judge_of(trial.work["judge"], self.spec_folder)
        items = {item.id: item for item in self._items(trial)}
        generations = inputs[trial.needs[0]].generations
        with self._watch.phase("judge"):
            judged = judgements(judge, config, generations, items, trial.work["span"])
        rows = rows_of(generations, judged, items, trial.work.get("aggregation", "any"))
        return TrialResult(trial=trial.id, status=TrialStatus.DONE, rows=rows)

    def _items(self, trial: Trial) -> tuple[Item, ...]:
        return benchmark(trial.work["benchmark"], self.spec_folder).items(trial.work["split"])


def _request(item: Item, query: str) -> Request:
    """A question whose answer is to be written shows its choices; by log-probability none is."""
    return Request(
        item=item.id,
        prompt=choice_prompt(item) if query == "generate" else item.prompt,
        answer=item.answer,
        refusal=item.refusal,
        image=item.image,
        choices=item.choices,
    )


def _without_secrets(
    requests: Sequence[Request], replies: Sequence[Generation]
) -> list[Generation]:
    """Replies as records show them: an attack's own words are a label there."""
    asked = {request.item: request for request in requests}
    return [_shown(asked[reply.item], reply) for reply in replies]


def _shown(request: Request, reply: Generation) -> Generation:
    if not request.secret:
        return reply
    seen = {"prompt": request.shown(reply.prompt), "reply": request.hidden(reply.reply)}
    return reply.model_copy(update=seen)


def _read_back(tampers: Sequence[Tamper], replies: Sequence[Generation]) -> list[Generation]:
    """Replies as the judge reads them; one that no attack can read back is unscorable."""
    from threatspec.subjects._mount import decoded

    there = iter(decoded(tampers, [g.reply for g in replies if g.outcome is None]))
    return [g if g.outcome else _said(g, next(there)) for g in replies]


def _said(reply: Generation, text: str | None) -> Generation:
    if text is None:
        lost = {"outcome": Outcome.UNSCORABLE, "detail": "the reply cannot be read back"}
        return reply.model_copy(update=lost)
    return reply.model_copy(update={"reply": text})


def _tampers(trial: Trial, inputs: Mapping[str, TrialResult]) -> tuple[Tamper, ...]:
    found: list[Tamper] = []
    for need in trial.needs:
        data = inputs[need].tamper
        if data:
            if "attack" in data:
                attack_of(data["attack"])  # its kinds of tampers are known once it is loaded
            found += tampers_from_data(data)
    return tuple(found)


def _classify(error: Exception) -> tuple[str, str]:
    text = str(error).splitlines()[0][:300] if str(error) else ""
    memory = isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text
    code = "TS-OUT-OF-MEMORY" if memory else "TS-TRIAL-ERROR"
    return code, f"{type(error).__name__}: {text}"
