"""Silencing the channels of the last convolution that clean images leave most dormant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore
from threatspec.subjects import Request, WeightTamper
from threatspec.subjects._mount import swapped
from threatspec.subjects.images._classifier import ClassifierSubject
from threatspec.training._job import TrainingRow
from threatspec.training.classifiers._dormant import Pruned, PruneRequest

__all__ = ["prune"]

_AT_ONCE = 256
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Use:
    """One layer in one forward pass."""

    name: str
    module: nn.Module
    read: torch.Tensor
    gave: torch.Tensor

    @property
    def layer(self) -> tuple[str, nn.Module]:
        return self.name, self.module


@dataclass(frozen=True)
class _Last:
    """The last convolution of a model's main path, and the batch norm at once behind it, if any."""

    layers: tuple[tuple[str, nn.Module], ...]

    @property
    def channels(self) -> int:
        return len(self.layers[0][1].get_parameter("weight"))

    def silenced(self, channels: Sequence[int]) -> Tensors:
        """Weights and biases by name, with zeros for these channels: they put out nothing, in
        training as well."""
        found = {}
        for name, module in self.layers:
            for part, own in module.named_parameters(recurse=False):
                whole = own.detach().clone()
                whole[list(channels)] = 0
                found[f"{name}.{part}"] = whole
        return found


@torch.no_grad()
def prune(subject: ClassifierSubject, request: PruneRequest, store: ArtefactStore) -> Pruned:
    """Silence one channel after another; the subject itself stays as it is.

    Raises ThreatspecError TS-TARGETS for a model with fewer than two convolutions, where the last
    one is no feature of its own.
    """
    seen, judged = (_pixels(subject, rows) for rows in (request.rows, request.judged_on))
    classes = [subject.class_of(row.answer) for row in request.judged_on]
    wanted = torch.tensor(classes, device=subject.device)
    last, dormant = _watched(subject, seen)
    before = after = _accuracy(subject.model, judged, wanted)
    chosen: list[int] = []
    for channel in dormant[: int(request.most * last.channels)]:
        with swapped(subject.model, last.silenced([*chosen, channel])):
            reached = _accuracy(subject.model, judged, wanted)
        if reached < before - request.drop - 1e-9:
            break
        chosen.append(channel)
        after = reached
    artefact = store.save(last.silenced(chosen))
    return Pruned(
        tamper=WeightTamper(artefact=artefact, form="dense"),
        layers=tuple(name for name, _ in last.layers),
        channels=tuple(chosen),
        of=last.channels,
        before=before,
        after=after,
    )


def _pixels(subject: ClassifierSubject, rows: Sequence[TrainingRow]) -> torch.Tensor:
    asked = [Request(item=r.id, prompt=r.prompt, image=r.image, pixels=r.pixels) for r in rows]
    return subject.pixels(asked).to(subject.device)


def _accuracy(model: nn.Module, pixels: torch.Tensor, wanted: torch.Tensor) -> float:
    parts = zip(torch.split(pixels, _AT_ONCE), torch.split(wanted, _AT_ONCE), strict=True)
    right = sum(int((model(pixel_values=p).logits.argmax(-1) == c).sum()) for p, c in parts)
    return right / len(wanted)


def _watched(subject: ClassifierSubject, pixels: torch.Tensor) -> tuple[_Last, list[int]]:
    """The last convolution in the order of use, and its channels, the most dormant first.

    A channel's activation is the mean, over images and places, of what is above 0 of its output,
    after batch norm where that follows. Equal ones go by their number.
    """
    used: list[_Use] = []
    sums: Tensors = {}
    hooks = [
        module.register_forward_hook(
            lambda m, read, gave, name=name: used.append(_Use(name, m, read[0], gave))
        )
        for name, module in subject.model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
    ]
    try:
        for part in torch.split(pixels, _AT_ONCE):
            used.clear()
            subject.model(pixel_values=part)
            last = _last(used, subject.card.ref)
            out = next(one.gave for one in reversed(used) if one.name == last.layers[-1][0])
            above = out.float().clamp_min(0).mean((2, 3)).double().sum(0)
            sums["all"] = sums.get("all", 0) + above
    finally:
        for hook in hooks:
            hook.remove()
    return last, sums["all"].sort(stable=True).indices.tolist()


def _last(used: Sequence[_Use], ref: str) -> _Last:
    """A convolution that reads what an earlier one has read is the shortcut of a block."""
    convs = [at for at, one in enumerate(used) if isinstance(one.module, nn.Conv2d)]
    before = [[used[early].read for early in convs[:n]] for n in range(len(convs))]
    places = [
        at
        for at, seen in zip(convs, before, strict=True)
        if not any(used[at].read is read for read in seen)
    ]
    if len(places) < 2:
        text = f"pruning needs a network of convolutions, but {ref} has {len(places)}; use another"
        raise ThreatspecError("TS-TARGETS", f"{text} safeguard")
    at = places[-1]
    layers = [used[at].layer]
    if at + 1 < len(used) and isinstance(used[at + 1].module, nn.BatchNorm2d):
        layers.append(used[at + 1].layer)
    return _Last(tuple(layers))
