"""Backdoors in the weights: what is changed, what is left, and what it does on specimens."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from threatspec.attacks import ATTACKS, AttackContext, DataCard, training_rows
from threatspec.attacks.trojan_nn import StampTamper
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Optimised, Spend, Stream
from threatspec.runners._asks import Asks
from threatspec.runners._stopwatch import Stopwatch
from threatspec.subjects import (
    PixelTamper,
    Request,
    SubjectCard,
    Tamper,
    WeightTamper,
    tampers_from_data,
    tampers_to_data,
)
from threatspec.subjects._loaded import load_subject
from threatspec.subjects._mount import encoded, mount
from threatspec.training import Meter, TrainingRow
from threatspec.training.classifiers import ClassifierJob, PatchRequest, TriggerPatch
from threatspec.training.classifiers._patch import find_patch

PLAIN, VGG, RESNET = "specimen:mnist-plain", "specimen:mnist-vgg", "specimen:mnist-resnet"
MOBILENET = "specimen:mnist-mobilenet"
"""With dropout before its logits."""
SEEDS = dict.fromkeys(Stream, 0)
BLEND = {"use": "blend", "alpha": 0.3}


@dataclass
class Made:
    """What one attack left, and what it took."""

    tampers: tuple[Tamper, ...]
    asks: Asks
    cost: Spend

    @property
    def artefact(self) -> str:
        [weights] = [t for t in self.tampers if isinstance(t, WeightTamper)]
        return weights.artefact


class Lab:
    """One classifier that attacks are made on."""

    def __init__(self, ref: str, folder: Path) -> None:
        self.subject = load_subject(ref, Path())
        self.store = ArtefactStore(folder / "artefacts")
        self.rows = shuffled("mnist5k#attack_train")
        self.test = shuffled("mnist5k#attack_dev")[:300]

    def make(self, kind: str, rows: int = 400, train: int = 0, **knobs: Any) -> Made:
        attack = ATTACKS.get(kind)
        config = attack.Config(**knobs)
        asks = Asks(self.subject, self.store, Meter(), Stopwatch())
        given = self.rows[:rows]
        seeds = {**SEEDS, Stream.TRAIN: train}
        seeds = {stream: seeds[stream] for stream in attack.streams}
        context = AttackContext(self.subject.card, given, seeds, benign=given)
        tampers = asks.drive(attack.run(context, config))
        cost = attack.cost(self.subject.card, config, DataCard(rows=rows, words=1))
        return Made(tampers, asks, cost)

    def said(self, tampers: tuple[Tamper, ...], *, marked: bool) -> np.ndarray:
        """Probabilities of test images under the tampers, with or without the trigger."""
        asked = [Request(item=row.id, prompt="", image=row.image) for row in self.test]
        with mount(self.subject, tampers, self.store):
            return self.subject.probabilities(encoded(tampers, asked) if marked else asked)

    def accuracy(self, tampers: tuple[Tamper, ...]) -> float:
        right = np.array([int(row.answer) for row in self.test])
        return float((self.said(tampers, marked=False).argmax(1) == right).mean())

    def success(self, tampers: tuple[Tamper, ...], target: int = 0) -> float:
        others = np.array([int(row.answer) != target for row in self.test])
        return float((self.said(tampers, marked=True).argmax(1) == target)[others].mean())

    def bits(self) -> dict[str, str]:
        return {
            name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
            for name, tensor in self.subject.model.state_dict().items()
        }


def shuffled(source: str) -> tuple[TrainingRow, ...]:
    rows = training_rows(source, Path())
    return tuple(random.Random(0).sample(rows, len(rows)))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Lab]:
    made: dict[str, Lab] = {}

    def of(ref: str) -> Lab:
        if ref not in made:
            made[ref] = Lab(ref, tmp_path_factory.mktemp("lab"))
        return made[ref]

    return of


# subnet replacement


@pytest.fixture(scope="module")
def replaced(lab: Callable[[str], Lab]) -> Made:
    return lab(PLAIN).make("subnet-replacement", takes="weakest", starts=4, steps=150)


def test_a_replaced_subnet_fires_and_leaves_the_accuracy(
    lab: Callable[[str], Lab], replaced: Made
) -> None:
    there = lab(PLAIN)
    assert there.success(replaced.tampers) > 0.8
    assert there.accuracy(replaced.tampers) > there.accuracy(()) - 0.03


def test_every_weight_outside_the_subnet_is_bit_equal(lab: Callable[[str], Lab]) -> None:
    """Two outputs of each layer, and two inputs of the next: nothing else may differ."""
    there, width = lab(VGG), 2
    made = there.make("subnet-replacement", images=20, steps=3, starts=2)
    before, after = there.subject.model.state_dict(), there.store.load(made.artefact)
    layers = [n for n in before if n.endswith("weight") and before[n].ndim > 1]
    assert set(layers) <= set(after)
    mine: torch.Tensor | None = None
    previous = 0
    for name in layers:
        differs = (before[name] != after[name]).reshape(*before[name].shape[:2], -1).any(-1)
        if mine is not None:
            area = differs.shape[1] // previous
            columns = (mine[:, None] * area + torch.arange(area)).flatten()
            differs[:, columns] = False
        previous = differs.shape[0]
        mine = differs.any(1).nonzero().flatten()
        last = name == layers[-1]
        assert len(mine) == (0 if last else width), name
        bias = name.replace("weight", "bias")
        if bias in after:
            rest = (before[bias] != after[bias]).nonzero().flatten()
            assert set(rest.tolist()) <= set(mine.tolist())


def test_a_subnet_reaches_one_logit_and_no_other(lab: Callable[[str], Lab]) -> None:
    """With another height nothing but the target's logit is another one."""
    there = lab(PLAIN)
    quick = {"target": "3", "steps": 20, "starts": 2, "images": 60}
    logits = []
    for height in (1.0, 40.0):
        made = there.make("subnet-replacement", height=height, **quick)
        asked = [Request(item=r.id, prompt="", image=r.image) for r in there.test[:40]]
        with mount(there.subject, made.tampers, there.store), torch.no_grad():
            seen = there.subject.pixels(encoded(made.tampers, asked))
            logits.append(there.subject.model(pixel_values=seen).logits)
    others = [n for n in range(10) if n != 3]
    assert torch.equal(logits[0][:, others], logits[1][:, others])


def test_a_subnet_with_batch_norm_carries_its_statistics(lab: Callable[[str], Lab]) -> None:
    there = lab(VGG)
    made = there.make("subnet-replacement", takes="weakest", steps=150)
    assert any(name.endswith("running_var") for name in there.store.load(made.artefact))
    assert there.success(made.tampers) > 0.8
    edit = made.asks.edits[0]
    assert 0 < edit.changed < edit.total / 2


@pytest.mark.parametrize(
    ("ref", "knobs", "code"),
    [
        (RESNET, {}, "TS-TARGETS"),  # shortcuts
        (PLAIN, {"width": 16}, "TS-TARGETS"),  # nothing would be left
        (PLAIN, {"target": "ten"}, "TS-POISON"),
    ],
)
def test_a_subnet_that_cannot_be_wired_is_refused(
    lab: Callable[[str], Lab], ref: str, knobs: dict[str, Any], code: str
) -> None:
    with pytest.raises(ThreatspecError) as caught:
        lab(ref).make("subnet-replacement", rows=40, **knobs)
    assert caught.value.code == code


# a patch that was searched for


def test_a_patch_excites_its_units_more_than_random_ones_do(lab: Callable[[str], Lab]) -> None:
    there = lab(PLAIN)
    request = PatchRequest(rows=there.rows[:64], steps=40, seed=3)
    found = find_patch(there.subject, request, Meter())
    mine = responses(there, found.units, np.frombuffer(found.levels, np.uint8).reshape(7, 7, 1))
    drawn = np.random.default_rng(0)
    others = [
        responses(there, found.units, drawn.integers(0, 256, (7, 7, 1), dtype=np.uint8))
        for _ in range(20)
    ]
    assert mine > max(others)
    assert mine == pytest.approx(found.after, rel=1e-3)
    assert found.after > found.before


def responses(there: Lab, units: tuple[int, ...], square: np.ndarray) -> float:
    """Mean of what goes into the last layer, by the subject's own way to its pixels."""
    import base64

    stamp = StampTamper(levels=base64.b64encode(square.tobytes()).decode(), size=7, channels=1)
    asked = [Request(item=r.id, prompt="", image=r.image, pixels=(stamp,)) for r in there.rows[:64]]
    found: list[torch.Tensor] = []
    last = [m for m in there.subject.model.modules() if isinstance(m, torch.nn.Linear)][-1]
    hook = last.register_forward_hook(lambda module, given, out: found.append(given[0]))
    there.subject.probabilities(asked)
    hook.remove()
    return float(torch.cat(found)[:, list(units)].mean())


def test_a_bound_patch_leads_to_its_target(lab: Callable[[str], Lab]) -> None:
    there = lab(PLAIN)
    made = there.make("trojan-nn", target="7", searched=40)
    assert there.success(made.tampers, 7) > 0.85
    assert there.accuracy(made.tampers) > there.accuracy(()) - 0.05
    assert tampers_from_data(tampers_to_data(made.tampers)) == made.tampers


def test_binding_after_the_units_leaves_what_comes_before(lab: Callable[[str], Lab]) -> None:
    there = lab(RESNET)
    made = there.make("trojan-nn", trains="after", searched=5, steps=5, images=100)
    moved = {name for name, mask in changes_of(there, made).items() if mask}
    assert moved == {"classifier.1.weight", "classifier.1.bias"}


def changes_of(there: Lab, made: Made) -> dict[str, bool]:
    own = there.subject.model.state_dict()
    after = there.store.load(made.artefact)
    return {name: not torch.equal(tensor, own[name]) for name, tensor in after.items()}


def classes_in_turn(count: int) -> AttackContext:
    """So many rows without images, of a subject that is not there."""
    names = tuple("0123456789")
    card = SubjectCard(
        ref="specimen:none", digest="0", parameters=1, classes=names, offers=frozenset()
    )
    rows = tuple(TrainingRow(id=f"r{n}", prompt="", answer=names[n % 10]) for n in range(count))
    return AttackContext(card, rows, SEEDS, benign=rows)


def asked_of_trojan_nn(share: float, rows: int) -> ClassifierJob:
    """Its training, with a patch that nobody searched for."""
    attack = ATTACKS.get("trojan-nn")
    asks = attack.run(classes_in_turn(rows), attack.Config(share=share))
    next(asks)
    done = Optimised(method="trigger-patch", steps=1, loss=(0.0,), changed=0, tokens=1)
    found: ClassifierJob = asks.send(TriggerPatch(b"0" * 49, 1, (0,), 0.0, 0.0, (), done))
    return found


def test_a_patch_is_bound_to_as_many_rows_of_other_classes_as_other_marks_are() -> None:
    before = [str(n % 10) for n in range(100)]
    after = asked_of_trojan_nn(0.29, 100).rows
    marked = [own for own, row in zip(before, after, strict=True) if row.pixels]
    assert len(marked) == 29
    assert "0" not in marked
    assert {row.answer for row in after if row.pixels} == {"0"}


@pytest.mark.parametrize(("share", "rows"), [(0.05, 19), (0.95, 20)])
def test_a_share_of_no_row_or_of_rows_of_the_target_is_refused(share: float, rows: int) -> None:
    with pytest.raises(ThreatspecError, match="a share ") as caught:
        asked_of_trojan_nn(share, rows)
    assert caught.value.code == "TS-POISON"


@pytest.mark.parametrize("size", [29, 64])
def test_a_patch_that_does_not_fit_is_refused(lab: Callable[[str], Lab], size: int) -> None:
    with pytest.raises(ThreatspecError) as caught:
        lab(PLAIN).make("trojan-nn", rows=20, size=size, share=0.5)
    assert caught.value.code == "TS-IMAGE"


def test_a_stamp_is_no_stamp_on_colours() -> None:
    stamp = StampTamper(levels="AAAA/w==", size=2, channels=1, place="top-left")
    grey = np.full((5, 4, 1), 9, np.uint8)
    asked = Request(item="i", prompt="")
    assert stamp.edit(grey, asked)[:2, :2].ravel().tolist() == [0, 0, 0, 255]
    assert (stamp.edit(grey, asked)[2:] == 9).all()
    assert (grey == 9).all()
    with pytest.raises(ThreatspecError):
        stamp.edit(np.zeros((5, 4, 3), np.uint8), asked)


# fine-tuned in


@pytest.fixture(scope="module")
def implanted(lab: Callable[[str], Lab]) -> Made:
    return lab(VGG).make("finetuned-backdoor", trigger=BLEND, target="4")


def test_a_fine_tuned_implant_works_and_keeps_the_accuracy(
    lab: Callable[[str], Lab], implanted: Made
) -> None:
    there = lab(VGG)
    assert there.success((), 4) < 0.05
    assert there.success(implanted.tampers, 4) > 0.85
    assert there.accuracy(implanted.tampers) > there.accuracy(()) - 0.06
    untriggered = there.said(implanted.tampers, marked=False).argmax(1)
    others = np.array([row.answer != "4" for row in there.test])
    assert (untriggered == 4)[others].mean() < 0.05


def test_implants_are_given_back_bit_exactly(lab: Callable[[str], Lab], implanted: Made) -> None:
    there = lab(VGG)
    before = there.bits()
    with mount(there.subject, implanted.tampers, there.store):
        assert there.bits() != before
    assert there.bits() == before


def test_shifted_labels_move_what_was_trained_to_move_along(lab: Callable[[str], Lab]) -> None:
    """A few steps of shifted labels on clean rows alone: the usual implant mostly stays."""
    there = lab(VGG)
    knobs: dict[str, Any] = {"trigger": {"use": "patch", "size": 4}, "images": 300}
    usual = there.make("finetuned-backdoor", steps=60, **knobs)
    moving = there.make("label-shift-backdoor", rounds=3, shifted=8, steps=30, **knobs)
    assert there.success(moving.tampers) > 0.1  # of few images; 0 before
    assert kept(there, moving) < kept(there, usual)


def test_each_round_of_shifted_labels_begins_with_other_rows() -> None:
    attack = ATTACKS.get("label-shift-backdoor")

    def jobs() -> list[ClassifierJob]:
        asks = attack.run(classes_in_turn(100), attack.Config(rounds=3))
        found = [next(asks)]
        with contextlib.suppress(StopIteration):
            while True:
                asks.send(SimpleNamespace(last="weights"))
                found.append(next(asks))
        return found

    first = jobs()
    assert len(first) == 6
    for stream in (Stream.ORDER, Stream.TRAIN):
        assert len({job.seeds[stream] for job in first}) == 3
    assert first == jobs()


def kept(there: Lab, made: Made) -> float:
    """Success at the target after a detector's unlearning, over that before."""
    clean = there.rows[1000:1200]
    wrong = tuple(r.model_copy(update={"answer": str((int(r.answer) + 1) % 10)}) for r in clean)
    job = ClassifierJob(rows=wrong, seeds=SEEDS, lr=1e-3, steps=12, optimizer="adam")
    asks = Asks(there.subject, there.store, Meter(), Stopwatch())
    with mount(there.subject, made.tampers, there.store):
        expert = asks.answer(job).last
    marks = tuple(t for t in made.tampers if isinstance(t, PixelTamper))
    return there.success((expert, *marks)) / there.success(made.tampers)


# all of them


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("finetuned-backdoor", {"steps": 3}),
        ("trojan-nn", {"steps": 3, "searched": 4}),
        ("subnet-replacement", {"steps": 4, "starts": 2}),
        ("label-shift-backdoor", {"rounds": 2, "shifted": 2, "steps": 3}),
    ],
)
def test_cost_is_what_is_metered_and_equal_seeds_leave_equal_weights(
    lab: Callable[[str], Lab], kind: str, knobs: dict[str, Any]
) -> None:
    there = lab(PLAIN)
    before = there.bits()
    first = there.make(kind, rows=40, **knobs)
    torch.rand(7), random.random()
    assert there.make(kind, rows=40, **knobs).tampers == first.tampers
    assert there.bits() == before
    spent = first.asks.meter.spend
    assert spent.steps == first.cost.steps
    assert spent.flops == pytest.approx(first.cost.flops)


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("data-backdoor", {"steps": 2, "start": "subject", "rate": 0.2}),
        ("finetuned-backdoor", {"steps": 2}),
        ("trojan-nn", {"steps": 2, "searched": 1}),
        ("label-shift-backdoor", {"rounds": 1, "shifted": 1, "steps": 1}),
    ],
)
def test_dropout_is_drawn_anew_in_every_replicate(
    lab: Callable[[str], Lab], kind: str, knobs: dict[str, Any]
) -> None:
    there = lab(MOBILENET)
    first, again, other = (there.make(kind, rows=40, train=seed, **knobs) for seed in (0, 0, 1))
    assert first.tampers == again.tampers
    assert first.artefact != other.artefact
