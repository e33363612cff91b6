"""Edited copies of parameters, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Edit
from threatspec.subjects import WeightTamper
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._asks import Edited
from threatspec.training.regions._layers import Matrix, matrices_of

__all__ = ["Changes", "scores_of"]


class Changes:
    """Copies of parameters that an edit may write to; the subject itself stays as it is.

    Args:
        subject: what is edited.
        store: where the changed parameters go.
    """

    def __init__(self, subject: ResidentSubject, store: ArtefactStore) -> None:
        self.subject, self.store = subject, store
        self._own = dict(subject.model.named_parameters())
        self.copies: dict[str, torch.Tensor] = {}

    @property
    def _candidates(self) -> set[str]:
        """What could have been written to: all matrices, and what else was."""
        return {*self.copies, *(m.name for m in matrices_of(self.subject.model))}

    def parameter(self, name: str) -> torch.Tensor:
        """A copy of a parameter, made once."""
        if name not in self.copies:
            self.copies[name] = self._own[name].detach().clone()
        return self.copies[name]

    def matrix(self, matrix: Matrix) -> torch.Tensor:
        """A matrix of such a copy, [outputs, inputs]; what is written to it is kept."""
        return matrix.view(self.parameter(matrix.name))

    def zero(self, matrix: Matrix, mask: torch.Tensor) -> None:
        """Set the entries of a mask, [outputs, inputs], to 0."""
        self.matrix(matrix).masked_fill_(mask, 0.0)

    def finish(self, method: str, rank: int | None = None) -> Edited:
        """Write what differs and say what it was; `rank` bounds the change of every matrix.

        Raises ThreatspecError TS-MASK if nothing differs, or if nothing is left of what was edited.
        """
        differs = {name: self.copies[name] != self._own[name] for name in self.copies}
        changed = {name: int(mask.sum()) for name, mask in differs.items()}
        kept = {name: self.copies[name] for name, number in changed.items() if number}
        self._require_some(method, kept)
        squares = sum(
            float((tensor - self._own[name].detach()).double().square().sum())
            for name, tensor in kept.items()
        )
        edit = Edit(
            method=method,
            changed=sum(changed.values()),
            total=sum(self._own[name].numel() for name in self._candidates),
            parameters=self.subject.card.parameters,
            weight_delta=float(f"{squares**0.5:.6g}"),
            rank=rank,
        )
        tamper = WeightTamper(artefact=self.store.save(kept), form="dense")
        return Edited(tamper, edit)

    def _require_some(self, method: str, kept: Mapping[str, torch.Tensor]) -> None:
        if not kept:
            text = "must change something, but nothing was chosen; a larger share or a floor may do"
        elif kept.keys() == self._candidates and not any(map(torch.any, kept.values())):
            text = "must leave something, but everything was chosen; a smaller share may do"
        else:
            return
        raise ThreatspecError("TS-MASK", f"edit {method} {text}")


def scores_of(scores: Mapping[str, torch.Tensor], matrices: Sequence[Matrix]) -> None:
    """Raises ThreatspecError TS-SCORES unless there are scores of every matrix, in its shape."""
    for matrix in matrices:
        owner = getattr(matrix.module, matrix.name.rpartition(".")[2])
        found = scores.get(matrix.name)
        if found is None or found.shape != owner.shape:
            got = "none" if found is None else f"some of shape {tuple(found.shape)}"
            raise ThreatspecError(
                "TS-SCORES",
                f"scores must hold {matrix.name} of shape {tuple(owner.shape)}, but hold {got}; "
                "score this model",
            )
