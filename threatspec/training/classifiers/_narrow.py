"""A narrow copy of a chain of layers, trained to fire on a trigger, from several starts at once.

Whether so narrow a network learns depends on where it starts: with one channel a layer most end up
silent. So several are trained side by side, as groups of one network, and the best is kept; they
share images and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.subjects import SubjectCard
from threatspec.training._meter import Meter
from threatspec.training.classifiers._layers import Layer
from threatspec.training.classifiers._requests import SubnetRequest
from threatspec.training.classifiers._spend import classifier_spend

__all__ = ["NORM", "Place", "narrow_network"]

NORM = ("weight", "bias", "running_mean", "running_var")
"""What a channel has in batch norm."""
_SETTLED = 0.25
"""Share of the steps, the last, in which batch norm uses the statistics that it will have."""
_READ = 256
"""Images of either kind by which the best start is chosen."""


@dataclass(frozen=True)
class Place:
    """Where one layer of the narrow network goes."""

    layer: Layer
    into: torch.Tensor
    """Inputs of the layer that it reads: channels, or units after flattening."""
    out: torch.Tensor
    """Outputs of the layer that are its own; of the last layer, the one that fires."""
    tensors: dict[str, torch.Tensor]
    """What it has there, by the part of the layer."""


def narrow_network(
    card: SubjectCard,
    chain: Sequence[Layer],
    images: tuple[torch.Tensor, torch.Tensor],
    request: SubnetRequest,
    meter: Meter,
) -> tuple[Place, ...]:
    """The best of several starts, layer by layer; its last output is 0 on clean images, and 1 on
    triggered ones.

    Args:
        chain: layers of the subject; the last is linear.
        images: clean and triggered ones as the model sees them, (n, channels, height, width).

    Raises ThreatspecError TS-TARGETS for layers that have no channels to spare, TS-DIVERGED.
    """
    drawn = torch.Generator().manual_seed(request.seed)
    places = _places(card, chain, images[0].shape[1], request, drawn)
    whole = _Groups(chain, places, request.starts, drawn)
    _fit(whole, images, request, drawn, meter, card)
    best = _best(whole, images)
    return tuple(
        replace(place, tensors=whole.parts_of(number, best)) for number, place in enumerate(places)
    )


def _places(
    card: SubjectCard,
    chain: Sequence[Layer],
    channels: int,
    request: SubnetRequest,
    drawn: torch.Generator,
) -> list[Place]:
    """One for each layer with weights."""
    found: list[Place] = []
    out, before = torch.arange(channels), channels
    for layer in chain:
        module = layer.module
        if isinstance(module, nn.BatchNorm2d):
            found.append(Place(layer, out, out, {}))
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        into, before = _spread(module, out, before), int(module.weight.shape[0])
        out = torch.arange(1)
        if layer is not chain[-1]:
            out = _chosen(card, layer, request, drawn)
        found.append(Place(layer, into, out, {}))
    return found


def _spread(module: nn.Module, into: torch.Tensor, before: int) -> torch.Tensor:
    """Units after flattening that come from channels; as they are where nothing was flattened."""
    if not isinstance(module, nn.Linear) or module.in_features == before:
        return into
    area = module.in_features // before
    return (into[:, None] * area + torch.arange(area)).flatten()


def _chosen(
    card: SubjectCard, layer: Layer, request: SubnetRequest, drawn: torch.Generator
) -> torch.Tensor:
    weight, width = layer.module.weight, request.width
    assert isinstance(weight, torch.Tensor)
    if width >= len(weight):
        text = f"a subnet of width {width} must leave channels, but {layer.name} of {card.ref}"
        raise ThreatspecError("TS-TARGETS", f"{text} has {len(weight)}; make it narrower")
    if request.takes == "weakest":
        order = weight.detach().flatten(1).abs().sum(1).argsort(stable=True).cpu()
    else:
        order = torch.randperm(len(weight), generator=drawn)
    return order[:width].sort().values


# several at once


class _Groups(nn.Module):
    """Narrow networks side by side: convolutions in groups, linear layers as such of length 1."""

    def __init__(
        self, chain: Sequence[Layer], places: Sequence[Place], starts: int, drawn: torch.Generator
    ) -> None:
        super().__init__()
        self.starts = starts
        there = iter(places)
        made: list[nn.Module] = []
        for layer in chain:
            if isinstance(layer.module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
                groups = 1 if not made else starts
                last = layer is chain[-1]
                made.append(_small(next(there), starts, groups, drawn, bias=not last))
            else:
                made.append(layer.module)
        device = next(chain[-1].module.parameters()).device
        self.steps = nn.ModuleList(made).to(device)
        self.own = [m for m in self.steps if list(m.parameters(recurse=False))]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Last outputs: (n, starts)."""
        found = images
        for step in self.steps:
            if isinstance(step, nn.Conv1d):
                found = found.flatten(1).unsqueeze(-1)
            found = step(found)
        return found.flatten(1)

    def settle(self, settled: bool) -> None:
        """Whether batch norm has its statistics."""
        for module in self.own:
            module.train(not settled)

    def parts_of(self, number: int, start: int) -> dict[str, torch.Tensor]:
        """Tensors of one layer with weights, of one start."""
        module = self.own[number]
        names = NORM if isinstance(module, nn.BatchNorm2d) else ("weight", "bias")
        whole = {name: getattr(module, name) for name in names}
        parts = {n: t.detach().chunk(self.starts)[start] for n, t in whole.items() if t is not None}
        if isinstance(module, nn.Conv1d):
            parts["weight"] = parts["weight"].squeeze(-1)
        return parts


def _small(
    place: Place, starts: int, groups: int, drawn: torch.Generator, *, bias: bool
) -> nn.Module:
    """One layer of all starts; rectified networks start as arXiv 1502.01852 has it."""
    module, into, out = place.layer.module, len(place.into), len(place.out)
    if isinstance(module, nn.BatchNorm2d):
        return nn.BatchNorm2d(starts * out, module.eps)
    assert isinstance(module, (nn.Conv2d, nn.Linear))
    size, kept = (into * groups, starts * out), bias and module.bias is not None
    made: nn.Conv1d | nn.Conv2d
    if isinstance(module, nn.Conv2d):
        made = nn.Conv2d(
            *size, module.kernel_size, module.stride, module.padding, module.dilation,  # type: ignore[arg-type]
            groups, bias=kept,
        )  # fmt: skip
    else:
        made = nn.Conv1d(*size, 1, groups=groups, bias=kept)
    with torch.no_grad():
        made.weight.normal_(0, (2 / made.weight[0].numel()) ** 0.5, generator=drawn)
        if made.bias is not None:
            made.bias.zero_()
    return made


def _fit(
    whole: _Groups,
    images: tuple[torch.Tensor, torch.Tensor],
    request: SubnetRequest,
    drawn: torch.Generator,
    meter: Meter,
    card: SubjectCard,
) -> None:
    """Least squares: 0 on clean images, 1 on triggered ones."""
    optimizer = torch.optim.Adam([p for m in whole.own for p in m.parameters()], lr=request.lr)
    half = request.batch_size // 2
    meter.begin_run()
    for step in range(request.steps):
        meter.charge(classifier_spend(card, 1, 2 * half))
        whole.settle(step >= round(request.steps * (1 - _SETTLED)))
        some = [one[torch.randint(len(one), (half,), generator=drawn)] for one in images]
        loss = _losses(whole, some[0], some[1]).sum()
        if not torch.isfinite(loss):
            text = f"the loss of a subnet must be finite, but is not at step {step + 1}"
            raise ThreatspecError("TS-DIVERGED", f"{text}; lower its learning rate")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    whole.settle(True)


def _losses(whole: _Groups, clean: torch.Tensor, fired: torch.Tensor) -> torch.Tensor:
    """Of each start."""
    said: torch.Tensor = whole(torch.cat([clean, fired]))
    quiet, loud = said[: len(clean)], said[len(clean) :]
    losses: torch.Tensor = quiet.square().mean(0) + (loud - 1).square().mean(0)
    return losses


@torch.no_grad()
def _best(whole: _Groups, images: tuple[torch.Tensor, torch.Tensor]) -> int:
    return int(_losses(whole, images[0][:_READ], images[1][:_READ]).argmin())
