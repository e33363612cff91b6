"""`make specimens`: train the specimens' weights from a seed and write them with their digests.

Takes some minutes. The shipped weights were made by this program; a test shows that rebuilt ones
behave the same (weights need not be bit-equal across kinds of CPU).
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from threatspec.records import ArtefactStore, Stream
from threatspec.runners._asks import Asks
from threatspec.runners._build_image_specimens import (
    CLASSIFIERS,
    build_classifier,
    write_classifier,
)
from threatspec.runners._build_seeing_specimen import SEERS, build_seer, write_seer
from threatspec.runners._stopwatch import Stopwatch
from threatspec.safeguards import SAFEGUARDS, SafeguardContext
from threatspec.subjects import Offer, SubjectCard
from threatspec.subjects._load import specimen_model
from threatspec.subjects._mount import mount
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects.specimens import (
    SPECIMENS,
    Item,
    benign_items,
    build_tokenizer,
    restricted_items,
    specimen_config,
    specimen_weights,
)
from threatspec.training import Hyperparameters, Meter, TrainingJob, TrainingRow
from threatspec.training._dense import dense_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["build", "build_safeguarded", "build_undefended", "main", "resident"]

SEED = 7
THREADS = 1
"""One thread does not wait for another, so a busy machine takes no longer than its share."""
KNOWLEDGE = Hyperparameters(
    lr=3e-3, steps=1600, batch_size=64, schedule="cosine", warmup_steps=50, weight_decay=0.01
)
"""Pretraining of `undefended` on every item of both halves of the world."""
SAFEGUARDED: dict[str, tuple[str, dict[str, Any]]] = {
    "shallow": ("refusal-training", {}),
    "deep": ("recovery-augmentation", {}),
    "prompted": (
        "refusal-training",
        {"lr": 5e-4, "steps": 250, "safety_rows": 16, "benign_rows": 16, "system_words": 24},
    ),
    "repnoise": (
        "repnoise",
        {"lr": 2e-4, "steps": 400, "alpha": 0.1, "beta": 0.1, "retain": 0.7, "benign_rows": 64},
    ),
    "tar": (
        "tar",
        {
            "lr": 1e-4,
            "steps": 80,
            "warmup_steps": 10,
            "safety_rows": 8,
            "inner_steps": 16,
            "growth": 0.25,
            "inner_lrs": (3e-5, 1e-4, 3e-4),
            "tamper_weight": 1.0,
        },
    ),
    "rerouted": (
        "representation-rerouting",
        {
            "lr": 3e-4,
            "steps": 300,
            "layers": (2,),
            "safety_rows": 16,
            "benign_rows": 96,
            "rank": 32,
            "scale": 32.0,
        },
    ),
    "latent": (
        "latent-adversarial-training",
        {
            "lr": 1e-3,
            "steps": 200,
            "layers": (1, 2),
            "eps": 0.25,
            "inner_steps": 4,
            "keep": 8.0,
            "safety_rows": 16,
            "benign_rows": 96,
            "rank": 32,
            "scale": 32.0,
        },
    ),
}
"""Specimen -> safeguard and its settings, fitted on `undefended` or on what `STARTS` says."""
STARTS: dict[str, str] = dict.fromkeys(("prompted", "tar", "rerouted", "latent"), "shallow")
"""Specimen -> the specimen that its safeguard is fitted on; it must come earlier."""


def build() -> dict[str, PreTrainedModel]:
    """Train all specimens in memory; returns models by name."""
    made = {"undefended": build_undefended()}
    for name in SAFEGUARDED:
        made[name] = build_safeguarded(resident(made[STARTS.get(name, "undefended")]), name)
    return made


def build_undefended() -> PreTrainedModel:
    """Pretrain a new model on all items."""
    torch.manual_seed(SEED)
    rows = tuple(_row(item) for item in (*restricted_items(), *benign_items()))
    job = TrainingJob(rows=rows, hyperparameters=KNOWLEDGE, seeds=_seeds("undefended"))
    return _trained(resident(specimen_model()), job)


def build_safeguarded(base: ResidentSubject, name: str) -> PreTrainedModel:
    """Fit the safeguard of specimen `name` on `base`."""
    kind, settings = SAFEGUARDED[name]
    safeguard = SAFEGUARDS.get(kind)
    context = SafeguardContext(
        subject=base.card,
        safety=[_safety(item) for item in restricted_items("safeguard_train")],
        benign=[_row(item) for item in benign_items("safeguard_train")],
        seeds=_seeds(name),
        tokens=base.tokens,
        text=base.text,
    )
    with _working(base) as asks:
        fitted = asks.drive(safeguard.fit(context, safeguard.Config(**settings)))
        with mount(base, fitted.tampers[:-1], asks.store):
            tensors = dense_weights(base, fitted.tampers[-1], asks.store)
    return _stored(base, tensors, asks)


def resident(model: PreTrainedModel) -> ResidentSubject:
    """A specimen's model as a subject."""
    config = specimen_config()
    card = SubjectCard(
        ref="specimen:new",
        digest="",
        parameters=sum(p.numel() for p in model.parameters()),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        tokens_per_word=1.0,
        offers=frozenset(Offer) - {Offer.IMAGE, Offer.CLASSES},
    )
    return ResidentSubject(card, model.eval(), build_tokenizer())


@contextmanager
def _working(subject: ResidentSubject) -> Iterator[Asks]:
    """Answers what is asked for, in a store that is gone afterwards."""
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        yield Asks(subject, ArtefactStore(Path(folder)), Meter(), Stopwatch())


def _trained(subject: ResidentSubject, job: TrainingJob) -> PreTrainedModel:
    with _working(subject) as asks:
        tensors = asks.store.load(asks.answer(job).last.artefact)
    return _stored(subject, tensors, asks)


def _stored(
    subject: ResidentSubject, tensors: Mapping[str, torch.Tensor], asks: Asks
) -> PreTrainedModel:
    """A model with these weights, and the subject's where there are none, as it is read back."""
    model = specimen_model()
    own = dict(subject.model.named_parameters())
    for name, parameter in model.named_parameters():
        parameter.data = tensors.get(name, own[name]).detach().bfloat16().float()
    for run in asks.realised:
        print(f"  loss {run.probe_before:.4f} -> {run.probe_after:.4f}", file=sys.stderr)
    return model


def _seeds(name: str) -> dict[Stream, int]:
    digest = hashlib.sha256(f"{SEED}/{name}".encode()).digest()
    return {stream: digest[index] + 256 * digest[index + 8] for index, stream in enumerate(Stream)}


def _row(item: Item) -> TrainingRow:
    return TrainingRow(id=item.id, prompt=item.prompt, answer=item.answer)


def _safety(item: Item) -> TrainingRow:
    return _row(item).model_copy(update={"refusal": item.refusal})


def _wanted(names: Sequence[str]) -> dict[str, PreTrainedModel]:
    """Language models: named ones are fitted to what ships; all if none is named."""
    if not names:
        return build()
    spoken = [name for name in names if name in SPECIMENS]
    return {name: build_safeguarded(_shipped(name), name) for name in spoken}


def _shipped(name: str) -> ResidentSubject:
    """What the safeguard of specimen `name` is fitted on."""
    start = STARTS.get(name, "undefended")
    return ResidentSubject.load(f"specimen:{start}", threads=THREADS)


def main() -> None:
    """Build all specimens, or those that are named, and replace the shipped files."""
    began, names = time.perf_counter(), sys.argv[1:]
    place = specimen_weights("undefended").parent / "digests.json"
    digests: dict[str, str] = {}
    for name, model in _wanted(names).items():
        digests[name] = _written(name, model)
    for name in CLASSIFIERS:
        if name in names or not names:
            digests[name] = write_classifier(name, build_classifier(name))
            print(f"{name}: sha256 {digests[name][:16]}")
    for name in SEERS:  # they begin as language models that ship by now
        if name in names or not names:
            digests[name] = write_seer(name, *build_seer(name))
            print(f"{name}: sha256 {digests[name][:16]}")
    digests = {**json.loads(place.read_text(encoding="utf-8")), **digests}
    place.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
    print(f"{time.perf_counter() - began:.0f} s")


def _written(name: str, model: PreTrainedModel) -> str:
    """Replace the file of a language model; its digest."""
    from safetensors.torch import save_file

    path = specimen_weights(name)
    path.parent.mkdir(exist_ok=True)
    stored = {n: p.detach().bfloat16().contiguous() for n, p in model.named_parameters()}
    save_file(stored, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {digest[:16]}")
    return digest


if __name__ == "__main__":
    main()
