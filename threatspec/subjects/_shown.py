"""An image as a model takes it: inputs beside token ids, and the ids that stand in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

__all__ = ["Shown", "beside"]


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """One image. Two that are not the same object count as different."""

    inputs: Mapping[str, torch.Tensor]
    """What the model is given beside token ids; rows are put one after the other."""
    places: tuple[int, ...]
    """Token ids that stand where the image stands."""
    token: int = -1
    """Id of those tokens among them that the image's features take the place of."""
    marked: str = field(default="")
    """Name of an input that says which tokens are of an image (1) and which of text (0)."""


def beside(
    shown: Sequence[Shown | None],
    ids: torch.Tensor | None = None,
    device: torch.device | None = None,
) -> dict[str, torch.Tensor]:
    """Inputs beside token ids [rows, tokens] of rows that are all shown images, or none of them."""
    images = [one for one in shown if one is not None]
    if not images:
        return {}
    names = images[0].inputs
    found = {name: torch.cat([one.inputs[name] for one in images]).to(device) for name in names}
    if images[0].marked and ids is not None:
        found[images[0].marked] = (ids == images[0].token).long().to(device)
    return found
