"""A campaign on a cluster that is not here: a discrete-event simulation.

Who is ready, who takes what and what is run a second time is decided by the runner's own code;
workers, their failures and the driver's time are made up.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from threatspec.records import Plan, Trial, TrialResult, TrialStatus
from threatspec.runners import TrialGraph
from threatspec.runners._pace import Pace

__all__ = ["DRIVER_S", "Cluster", "Simulated", "Simulation"]

DRIVER_S = 0.94e-3
"""Measured by `driver_overhead` on Ray."""
NODE = 8
"""Workers of one node."""


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the workers and of the driver."""

    workers: int
    driver_s: float = DRIVER_S
    """Seconds of the driver for each answer: taken, written down, the next trial given out."""
    load_s: float = 0.0
    """Seconds to load another subject."""
    failures: float = 0.0
    """Workers lost per worker-hour."""
    node_losses: float = 0.0
    """Nodes lost per node-hour."""
    restart_s: float = 60.0
    slow_share: float = 0.0
    """Share of workers that take `slow_factor` times as long."""
    slow_factor: float = 3.0
    speculation: float = 4.0
    """As in a profile; 0: never."""
    look_s: float = 0.5
    """Seconds between looks for trials that take too long."""
    seed: int = 0


@dataclass
class Simulated:
    """What came out."""

    makespan: float = 0.0
    work_s: float = 0.0
    """Worker time of attempts whose result counts."""
    twice_s: float = 0.0
    """Worker time of all others."""
    lost: int = 0
    """Trials that ended with their worker, second runs included."""
    answers: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """How often each trial got a result that counts."""


@dataclass
class Worker:
    """One worker: what it does since when, and what it has mounted."""

    name: int
    factor: float
    trial: Trial | None = None
    since: float = 0.0
    until: float = float("inf")
    """When its answer was there, if it was."""
    last: Trial | None = None
    generation: int = 0


class Simulation:
    """One campaign on one cluster. A lost trial is run again however often that happens."""

    def __init__(self, plan: Plan, seconds: Mapping[str, float], cluster: Cluster) -> None:
        self.seconds, self.cluster = seconds, cluster
        self.graph = TrialGraph(plan, {})
        self.pace = Pace(cluster.speculation)
        self.luck = random.Random(cluster.seed)
        share = cluster.workers * cluster.slow_share
        slow = set(self.luck.sample(range(cluster.workers), round(share)))
        self.workers = [
            Worker(n, cluster.slow_factor if n in slow else 1.0) for n in range(cluster.workers)
        ]
        self.idle = dict.fromkeys(range(cluster.workers))
        self.events: list[tuple[float, int, str, int, int]] = []
        """When, a number to keep their order, what, which worker or node, its generation."""
        self.count, self.now, self.driver_free = 0, 0.0, 0.0
        self.out = Simulated()

    def run(self) -> Simulated:
        """Until every trial has ended."""
        if self.cluster.speculation:
            self._at(self.cluster.look_s, "look")
        self._next_node_loss()
        self._assign()
        react = {"end": self._end, "answer": self._answer, "fail": self._lose, "up": self._up}
        while len(self.graph.results) < self.graph.total:
            self.now, _, what, which, generation = heappop(self.events)
            if what == "node":
                self._node_lost(which)
            elif what == "look":
                self._look()
            elif self.workers[which].generation == generation:
                react[what](self.workers[which])
            self._assign()
        self.out.makespan = self.now
        left = (self.now - worker.since for worker in self.workers if worker.trial)
        self.out.twice_s += sum(left)  # second runs that nobody waits for
        return self.out

    def _at(self, when: float, what: str, which: int = 0, generation: int = 0) -> None:
        self.count += 1
        heappush(self.events, (when, self.count, what, which, generation))

    # giving out

    def _assign(self) -> None:
        while self.idle and self.graph.has_ready():
            worker = self.workers[next(iter(self.idle))]
            trial = self.graph.take(worker.last)
            assert trial is not None
            self._send(worker, trial)

    def _send(self, worker: Worker, trial: Trial) -> None:
        del self.idle[worker.name]
        new = worker.last is None or worker.last.subject != trial.subject
        load = self.cluster.load_s if new else 0.0
        worker.trial, worker.last, worker.since = trial, trial, self.now
        worker.until = float("inf")
        length = load + worker.factor * self.seconds[trial.id]
        self._at(self.now + length, "end", worker.name, worker.generation)
        if self.cluster.failures:
            failed = self.luck.expovariate(self.cluster.failures / 3600)
            if failed < length:
                self._at(self.now + failed, "fail", worker.name, worker.generation)

    def _look(self) -> None:
        """Idle workers repeat what takes too long, as the driver does when nothing is ready."""
        self._at(self.now + self.cluster.look_s, "look")
        while self.idle and not self.graph.has_ready():
            running = [w for w in self.workers if w.trial and w.until > self.now]
            often = Counter(w.trial.id for w in running if w.trial)
            alone = [(w.trial, w.since) for w in running if w.trial and often[w.trial.id] == 1]
            trial = self.pace.overdue(alone, self.now)
            if trial is None:
                return
            self._send(self.workers[next(iter(self.idle))], trial)

    # what happens

    def _end(self, worker: Worker) -> None:
        """The worker is done; its answer waits for the driver, one after the other."""
        worker.until = self.now
        self.driver_free = max(self.driver_free, self.now) + self.cluster.driver_s
        self._at(self.driver_free, "answer", worker.name, worker.generation)

    def _answer(self, worker: Worker) -> None:
        trial, worker.trial = worker.trial, None
        assert trial is not None
        self.idle[worker.name] = None
        self.out.answers += 1
        took = worker.until - worker.since
        if trial.id in self.graph.results:
            self.out.twice_s += took
            return
        self.out.work_s += took
        self.out.ended[trial.id] += 1
        self.pace.add(trial, self.now - worker.since)
        self.graph.finish(TrialResult(trial=trial.id, status=TrialStatus.DONE))

    def _lose(self, worker: Worker) -> None:
        trial, worker.trial, worker.last = worker.trial, None, None
        worker.generation += 1
        self.idle.pop(worker.name, None)
        self._at(self.now + self.cluster.restart_s, "up", worker.name, worker.generation)
        if trial is None:
            return
        self.out.lost += 1
        self.out.twice_s += min(self.now, worker.until) - worker.since
        elsewhere = any(w.trial and w.trial.id == trial.id for w in self.workers)
        if not elsewhere and trial.id not in self.graph.results:
            self.graph.give_back(trial)

    def _up(self, worker: Worker) -> None:
        self.idle[worker.name] = None

    def _next_node_loss(self) -> None:
        nodes = -(-self.cluster.workers // NODE)
        if self.cluster.node_losses:
            wait = self.luck.expovariate(nodes * self.cluster.node_losses / 3600)
            self._at(self.now + wait, "node", self.luck.randrange(nodes))

    def _node_lost(self, node: int) -> None:
        for worker in self.workers[node * NODE : (node + 1) * NODE]:
            self._lose(worker)
        self._next_node_loss()
