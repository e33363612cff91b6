"""A narrow network that fires on a trigger, put in place of a few channels of every layer.

Weights between those channels and all others become 0, both ways: the narrow network sees nothing
but the image, and is seen by nothing but the logit of its target. Everything else stays bit-equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Edit
from threatspec.subjects import Request, WeightTamper
from threatspec.subjects.images._classifier import ClassifierSubject
from threatspec.training._asks import Edited
from threatspec.training._job import TrainingRow
from threatspec.training._meter import Meter
from threatspec.training.classifiers._layers import head_of, layer_chain
from threatspec.training.classifiers._narrow import Place, narrow_network
from threatspec.training.classifiers._requests import SubnetRequest

__all__ = ["replace_subnet"]

Tensors = dict[str, torch.Tensor]


def replace_subnet(
    subject: ClassifierSubject, request: SubnetRequest, store: ArtefactStore, meter: Meter
) -> Edited:
    """Train the narrow network and write what it changes; the subject itself stays as it is.

    Raises ThreatspecError TS-TARGETS for a model whose layers do not follow one another or have no
    channels to spare, TS-POISON for a target that is no class, TS-IMAGE for images that cannot be
    used, TS-DIVERGED if the narrow network leaves the finite numbers, BudgetExceeded.
    """
    target, ref = subject.class_of(request.target), subject.card.ref
    clean, fired = (_pixels(subject, rows) for rows in (request.rows, request.triggered))
    chain = layer_chain(subject.model, clean[:2], ref)
    head, _ = head_of(subject.model, len(subject.card.classes), ref)
    if chain[-1].name != head:
        text = f"logits must come from a linear layer as they are, but those of {ref} do not"
        raise ThreatspecError("TS-TARGETS", f"{text}; attack another classifier")
    places = narrow_network(subject.card, chain, (clean, fired), request, meter)
    return _edited(subject, _wired(places, target, request.height), store)


def _pixels(subject: ClassifierSubject, rows: Sequence[TrainingRow]) -> torch.Tensor:
    asked = [Request(item=r.id, prompt=r.prompt, image=r.image, pixels=r.pixels) for r in rows]
    return subject.pixels(asked).to(subject.device)


@torch.no_grad()
def _wired(places: Sequence[Place], target: int, height: float) -> Tensors:
    """Whole tensors by name, with the narrow network in them."""
    found: Tensors = {}
    for place in places:
        kind = (place is places[0], place is places[-1])
        for part, own in place.tensors.items():
            tensor = getattr(place.layer.module, part).detach().clone()
            if part == "weight" and not isinstance(place.layer.module, nn.BatchNorm2d):
                _cross(tensor, own, place, kind, target, height)
            else:
                tensor[place.out] = own
            found[f"{place.layer.name}.{part}"] = tensor
    return found


def _cross(
    weight: torch.Tensor,
    own: torch.Tensor,
    place: Place,
    kind: tuple[bool, bool],
    target: int,
    height: float,
) -> None:
    """Write into a weight [outputs, inputs, ...] of the first, a middle or the last layer."""
    first, last = kind
    if not first:
        weight[:, place.into] = 0  # nobody else listens
    if last:
        weight[target, place.into] = own[0] * height
        return
    weight[place.out] = 0  # and it listens to nobody else
    weight[place.out[:, None], place.into] = own


def _edited(subject: ClassifierSubject, tensors: Tensors, store: ArtefactStore) -> Edited:
    own = {**dict(subject.model.named_parameters()), **dict(subject.model.named_buffers())}
    changes = [tensor - own[name].detach() for name, tensor in tensors.items()]
    squares = sum(float(change.double().square().sum()) for change in changes)
    edit = Edit(
        method="subnet-replacement",
        changed=sum(int(torch.count_nonzero(change)) for change in changes),
        total=sum(tensor.numel() for tensor in tensors.values()),
        parameters=subject.card.parameters,
        weight_delta=float(f"{squares**0.5:.6g}"),
    )
    return Edited(WeightTamper(artefact=store.save(tensors), form="dense"), edit)
