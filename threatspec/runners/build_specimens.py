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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from threatspec.records import ArtefactStore, Stream
from threatspec.safeguards import SAFEGUARDS, SafeguardContext, SafetyRow
from threatspec.subjects import Offer, SubjectCard
from threatspec.subjects._load import specimen_model
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects.specimens import (
    Item,
    benign_items,
    build_tokenizer,
    restricted_items,
    specimen_config,
    specimen_weights,
)
from threatspec.training import Hyperparameters, Meter, TrainingJob, TrainingPolicy, TrainingRow
from threatspec.training._resident import ResidentTrainer

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
}
"""Specimen -> safeguard and its settings, fitted on `undefended`."""


def build() -> dict[str, PreTrainedModel]:
    """Train all specimens in memory; returns models by name."""
    base = build_undefended()
    safeguarded = {name: build_safeguarded(resident(base), name) for name in SAFEGUARDED}
    return {"undefended": base, **safeguarded}


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
    )
    return _trained(base, next(safeguard.fit(context, safeguard.Config(**settings))))


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
        offers=frozenset(Offer),
    )
    return ResidentSubject(card, model.eval(), build_tokenizer())


def _trained(subject: ResidentSubject, job: TrainingJob) -> PreTrainedModel:
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        store = ArtefactStore(Path(folder))
        [trajectory] = ResidentTrainer(subject, store).train([job], TrainingPolicy(), Meter())
        tensors = store.load(trajectory.last.artefact)
    model = specimen_model()
    for name, parameter in model.named_parameters():
        parameter.data = tensors[name].bfloat16().float()  # as it will be read back
    realised = trajectory.realised
    print(f"  loss {realised.probe_before:.4f} -> {realised.probe_after:.4f}", file=sys.stderr)
    return model


def _seeds(name: str) -> dict[Stream, int]:
    digest = hashlib.sha256(f"{SEED}/{name}".encode()).digest()
    return {stream: digest[index] + 256 * digest[index + 8] for index, stream in enumerate(Stream)}


def _row(item: Item) -> TrainingRow:
    return TrainingRow(id=item.id, prompt=item.prompt, answer=item.answer)


def _safety(item: Item) -> SafetyRow:
    return SafetyRow(id=item.id, prompt=item.prompt, answer=item.answer, refusal=item.refusal)


def main() -> None:
    """Build all specimens and replace the shipped files."""
    from safetensors.torch import save_file

    began = time.perf_counter()
    digests = {}
    for name, model in build().items():
        path = specimen_weights(name)
        path.parent.mkdir(exist_ok=True)
        stored = {n: p.detach().bfloat16().contiguous() for n, p in model.named_parameters()}
        save_file(stored, path)
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {digests[name][:16]}")
    place = specimen_weights("undefended").parent / "digests.json"
    place.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
