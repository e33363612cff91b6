"""The trial graph: who may begin, who comes first, and what nobody reads any more."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from threatspec.records import (
    Execution,
    Plan,
    Realised,
    Spend,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.runners import TrialGraph

RUN = Realised(
    backend="resident", steps=3, rows=2, trainable=4, lr=(0.0, 0.1, 0.1), loss=(3.0, 2.0, 1.0),
    loss_tokens=(5, 5, 5), grad_norm=(1.0, 1.0, 1.0), weight_delta=1.0, probe_before=3.0,
    probe_after=1.0,
)  # fmt: skip


def a_plan(trials: Iterable[Trial]) -> Plan:
    return Plan(
        spec_file="x.yaml", spec={}, execution=Execution(), digests={}, measures={}, procedures={},
        cells={}, trials={t.id: t for t in trials}, claims=(),
    )  # fmt: skip


def attack(name: str, subject: str = "s") -> Trial:
    return Trial(id=name, kind=TrialKind.ATTACK, subject=subject, needs=(), work={})


def asking(name: str, *needs: str, after: tuple[str, ...] = (), subject: str = "s") -> Trial:
    return Trial(
        id=name, kind=TrialKind.GENERATE, subject=subject, needs=needs, after=after, work={}
    )


def judging(name: str, *needs: str, subject: str = "s") -> Trial:
    return Trial(id=name, kind=TrialKind.JUDGE, subject=subject, needs=needs, work={})


def graph_of(*trials: Trial) -> TrialGraph:
    return TrialGraph(a_plan(trials), {})


def done(trial: str, **more: object) -> TrialResult:
    return TrialResult.model_validate({"trial": trial, "status": TrialStatus.DONE, **more})


def made(trial: str, *artefacts: str) -> TrialResult:
    """What an attack leaves behind that has changed weights."""
    tampers = [{"kind": "weights", "artefact": name} for name in artefacts]
    return done(trial, tamper={"attack": "x", "tampers": tampers})


def failed(trial: str) -> TrialResult:
    return TrialResult(trial=trial, status=TrialStatus.ERROR, code="TS-TRIAL-ERROR")


def take(graph: TrialGraph, last: Trial | None = None) -> str:
    trial = graph.take(last)
    return trial.id if trial else ""


# who may begin


def campaign(chooser: random.Random) -> list[Trial]:
    """Attacks on some subjects, each asked and judged at some looks, in a shuffled order."""
    found: list[Trial] = []
    for n in range(12):
        subject = f"s{chooser.randrange(3)}"
        found.append(attack(f"attack-{n}", subject))
        judged: tuple[str, ...] = ()
        for look in range(chooser.randint(1, 4)):
            asked = f"ask-{n}-{look}"
            found.append(asking(asked, f"attack-{n}", after=judged, subject=subject))
            judged = tuple(f"judge-{n}-{look}-{m}" for m in range(chooser.randint(1, 2)))
            found += [judging(name, asked, subject=subject) for name in judged]
    chooser.shuffle(found)
    return found


class Naive:
    """Goes through all trials whenever something is asked."""

    def __init__(self, trials: list[Trial]) -> None:
        self.open = {t.id: t for t in trials}
        self.running: set[str] = set()
        self.done: set[str] = set()

    def ready(self) -> set[str]:
        return {
            t.id
            for t in self.open.values()
            if self.done.issuperset(t.needs)
            and not any(other in self.open or other in self.running for other in t.after)
        }

    def without_readers(self, trial: str) -> None:
        for reader in [t.id for t in self.open.values() if trial in t.needs]:
            self.open.pop(reader, None)
            self.without_readers(reader)


@pytest.mark.parametrize("seed", range(30))
def test_exactly_those_trials_may_begin_whose_needs_are_there(seed: int) -> None:
    chooser = random.Random(seed)
    trials = campaign(chooser)
    graph, naive = graph_of(*trials), Naive(trials)
    last: Trial | None = None
    while naive.open or naive.running:
        ready = naive.ready()
        assert graph.has_ready() == bool(ready)
        match chooser.choice(["take", "take", "finish", "finish", "back", "drop"]):
            case "take":
                last = graph.take(last)
                assert (last.id in ready) if last else not ready
                if last:
                    naive.running.add(last.id)
                    del naive.open[last.id]
            case "drop" if naive.open and chooser.random() < 0.2:
                gone = chooser.choice(sorted(naive.open))
                graph.drop([gone])
                del naive.open[gone]
                naive.without_readers(gone)
            case _ if not naive.running:
                continue
            case "back":
                lost = chooser.choice(sorted(naive.running))
                naive.running.discard(lost)
                naive.open[lost] = graph.plan.trials[lost]
                graph.give_back(naive.open[lost])
            case "finish":
                ended = chooser.choice(sorted(naive.running))
                naive.running.discard(ended)
                if chooser.random() < 0.9:
                    naive.done.add(ended)
                    graph.finish(done(ended))
                else:
                    graph.finish(failed(ended))
                    naive.without_readers(ended)
        assert {t.id for t in graph.open} == set(naive.open)
    assert graph.finished == graph.total
    assert not graph.has_ready()


def test_a_look_waits_for_the_one_before_it_whatever_became_of_that() -> None:
    for end in ("done", "failed", "dropped"):
        graph = graph_of(
            asking("first"), judging("judge", "first"), asking("second", after=("judge",))
        )
        assert take(graph) == "first"
        assert take(graph) == ""
        match end:
            case "done":
                graph.finish(done("first"))
                assert take(graph) == "judge"
                assert take(graph) == ""
                graph.finish(done("judge"))
            case "failed":
                graph.finish(failed("first"))
            case "dropped":
                graph.drop(["judge"])
        assert take(graph) == "second"


# who comes first


def test_a_worker_goes_on_with_what_it_has_mounted() -> None:
    graph = graph_of(
        attack("a"),
        attack("b"),
        asking("ask-a-1", "a"),
        asking("ask-b", "b"),
        asking("ask-a-2", "a"),
    )
    last = graph.take(None)
    assert last
    graph.finish(done("a"))
    last = graph.take(last)
    assert last
    assert last.id == "ask-a-1", "reads what the last trial made"
    last = graph.take(last)
    assert last
    assert last.id == "ask-a-2", "reads what the last trial read"
    assert take(graph, last) == "b", "has nothing but the subject in common"


def test_a_worker_stays_with_its_subject_in_plan_order() -> None:
    graph = graph_of(attack("a", "x"), attack("b", "y"), attack("c", "y"), attack("d", "x"))
    last = graph.take(None)
    assert last
    assert last.id == "a"
    assert take(graph, last) == "d"
    assert take(graph, last) == "b"
    assert take(graph, last) == "c"


def test_workers_begin_at_different_subjects_and_go_where_most_is_to_be_done() -> None:
    many = [attack(f"x{n}", "x") for n in range(5)]
    some = [attack(f"y{n}", "y") for n in range(3)]
    graph = graph_of(attack("z", "z"), *some, *many)
    assert take(graph) == "x0"
    assert take(graph) == "y0", "four for one more worker are fewer than three for the first"
    idle = graph.plan.trials["z"]
    graph.drop(["z"])
    assert take(graph, idle) == "x1"


def test_what_was_given_back_comes_first() -> None:
    graph = graph_of(attack("a"), attack("b"), attack("c"))
    lost = [graph.take(None), graph.take(None)]
    for trial in lost:
        assert trial
        graph.give_back(trial)
    assert [take(graph) for _ in range(3)] == ["b", "a", "c"]


def test_a_lost_trial_that_became_needless_is_not_run_again() -> None:
    graph = graph_of(attack("a"), asking("ask", "a"))
    trial = graph.take(None)
    assert trial
    graph.drop(["ask", "a"])
    graph.give_back(trial)
    assert take(graph) == ""
    assert graph.finished == graph.total == 2


# what nobody reads any more


def test_weights_are_unread_once_their_last_reader_has_ended() -> None:
    graph = graph_of(attack("a"), asking("one", "a"), asking("two", "a"))
    take(graph)
    graph.finish(made("a", "art-1", "art-2"))
    assert graph.take_unread() == []
    [one, two] = graph.take(None), graph.take(None)
    graph.finish(done("one"))
    assert two
    graph.give_back(two)
    assert graph.take_unread() == []
    assert [found.artefacts for found in graph.inputs(two)] == [("art-1", "art-2")]
    take(graph)
    graph.finish(done("two"))
    assert graph.take_unread() == ["art-1", "art-2"]
    assert graph.take_unread() == [], "told once"
    assert one


@pytest.mark.parametrize("end", ["failed", "needless", "nobody"])
def test_weights_are_unread_where_no_reader_will_come(end: str) -> None:
    readers = [] if end == "nobody" else [asking("ask", "a"), judging("judge", "ask")]
    graph = graph_of(attack("a"), *readers)
    take(graph)
    graph.finish(made("a", "art-1"))
    if end == "failed":
        take(graph)
        graph.finish(failed("ask"))
    if end == "needless":
        graph.drop(["ask", "judge"])
    assert graph.take_unread() == ["art-1"]
    assert graph.finished == graph.total


def test_a_resumed_campaign_knows_what_is_read_and_what_is_not() -> None:
    plan = a_plan([attack("a"), attack("b"), asking("ask-a", "a"), asking("ask-b", "b")])
    graph = TrialGraph(
        plan, {"a": made("a", "art-a"), "b": made("b", "art-b"), "ask-b": done("ask-b")}
    )
    assert graph.take_unread() == ["art-b"]
    assert take(graph) == "ask-a"
    graph.finish(done("ask-a"))
    assert graph.take_unread() == ["art-a"]


# what is kept


def test_results_are_kept_without_what_is_in_the_ledger() -> None:
    graph = graph_of(attack("a"), asking("ask", "a"))
    take(graph)
    spend = Spend(steps=3, tokens=7, flops=1e9, seconds=2.5)
    graph.finish(done("a", spend=spend, realised=(RUN,)))
    kept = graph.results["a"]
    assert kept.trial == "a"
    assert kept.spend == Spend(steps=3, tokens=7, flops=1e9)
    [run] = kept.realised
    assert (run.steps, len(run.lr), len(run.loss), len(run.loss_tokens)) == (3, 3, 3, 3)
    assert any(run.lr)
    assert (run.weight_delta, run.probe_before, run.probe_after) == (1.0, 3.0, 1.0)
    assert TrialResult.model_validate_json(kept.model_dump_json()) == kept


def test_runs_that_differ_in_their_curves_only_differ_as_they_are_kept() -> None:
    graph = graph_of(attack("a"), attack("b"), attack("c"))
    other = RUN.model_copy(update={"loss": (3.0, 2.5, 1.0)})
    for name, run in {"a": RUN, "b": RUN, "c": other}.items():
        take(graph)
        graph.finish(done(name, realised=(run,)))
    kept = [graph.results[name].realised for name in "abc"]
    assert kept[0] == kept[1] != kept[2]


def test_results_that_are_alike_are_kept_once() -> None:
    graph = graph_of(*(attack(f"a{n}") for n in range(50)))
    while name := take(graph):
        graph.finish(
            made(name, f"art-{name}").model_copy(update={"spend": Spend(seconds=len(name))})
        )
    assert [result.trial for result in graph.results.values()] == [f"a{n}" for n in range(50)]
    assert len({id(kept) for kept in graph.results._found.values()}) == 1
