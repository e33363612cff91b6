"""Log-probabilities of answers under the weights that a training starts from, once per campaign.

They lie with the artefacts under names that follow from the weights and the rows, so that cells,
replicates, trials of a search and workers all read what the first of them has computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from threatspec.records import ArtefactStore
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._batches import Encoded, collate
from threatspec.training._loss import logits_of

__all__ = ["PREFIX", "compared", "token_log_probabilities", "weights_digest"]

PREFIX = "reference-"
"""How names of artefacts with log-probabilities begin."""
_SHOWN = 16
"""Hex digits of a digest in a name."""


def compared(
    subject: ResidentSubject, rows: Sequence[Encoded], store: ArtefactStore
) -> list[Encoded]:
    """The rows with the log-probability of each token of their answers, in nats.

    Raises ThreatspecError TS-DISK-FULL or TS-STORAGE if they cannot be kept.
    """
    place = f"{PREFIX}{weights_digest(subject)[:_SHOWN]}"
    keys = [_key(row) for row in rows]
    with store.alone(place):
        known = _known(store, place)
        lacking = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        if lacking:
            made = {key: token_log_probabilities(subject, row) for key, row in lacking.items()}
            store.keep(f"{place}-{_digest(sorted(made))[:_SHOWN]}", made)
            known |= made
    found = (tuple(known[key].tolist()) for key in keys)
    return [replace(row, reference=own) for row, own in zip(rows, found, strict=True)]


def _known(store: ArtefactStore, place: str) -> dict[str, torch.Tensor]:
    """What was computed under these weights, by key of the row."""
    found: dict[str, torch.Tensor] = {}
    for name in store.named(f"{place}-"):
        found |= store.load(name)
    return found


@torch.no_grad()
def token_log_probabilities(subject: ResidentSubject, row: Encoded) -> torch.Tensor:
    """[tokens of the answer], float32. A row goes through alone: what else is asked for decides
    about the last digits otherwise, and results would depend on who came first."""
    batch = collate([row], subject.end)
    end = len(row.ids)
    logits = logits_of(subject.model, batch)[0, row.start - 1 : end - 1].float()
    wanted = torch.tensor(row.ids[row.start :], device=logits.device)
    return -nn.functional.cross_entropy(logits, wanted, reduction="none").cpu()


def weights_digest(subject: ResidentSubject) -> str:
    """Of the model's name and of the bits of all its parameters as they are now."""
    digest = hashlib.sha256(subject.card.ref.encode())
    for name, tensor in _tensors(subject).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(subject: ResidentSubject) -> Mapping[str, torch.Tensor]:
    named = subject.model.named_parameters()
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named}


def _key(row: Encoded) -> str:
    return _digest([str(row.start), *map(str, row.ids)])


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(words).encode()).hexdigest()
