"""Refusal direction: difference of mean hidden states, and weights that cannot write along it.

Scores and edit are the usual difference-of-means construction, without a search over positions: the
last token of the prompt, as it would be refused (safety rows) or answered (utility rows).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.subjects._mount import swapped
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._asks import EditRequest
from threatspec.training._batches import Encoded
from threatspec.training.regions._artefacts import load_scores
from threatspec.training.regions._changes import Changes
from threatspec.training.regions._layers import blocks_of
from threatspec.training.regions._probe import last_prompt_token
from threatspec.training.regions._reading import forward, micro_batches
from threatspec.training.regions._writers import Writer, untied_embedding, writers_of

__all__ = ["ablate_direction", "block_writes", "direction"]

_CHECKED_TOKENS = 8
_TOLERANCE = 1e-3
"""Largest share of a write's length that may still lie along the direction, besides rounding."""


def direction(
    subject: ResidentSubject, safety: Sequence[Encoded], utility: Sequence[Encoded]
) -> dict[str, torch.Tensor]:
    """`difference`, [blocks, hidden]: mean of safety minus mean of utility, after each block.

    `separation`, [blocks]: distance of the means over the pooled standard deviation, along the
    difference.
    """
    own, other = (prompt_states(subject, rows) for rows in (safety, utility))
    difference = own.mean(1) - other.mean(1)
    unit = nn.functional.normalize(difference, dim=-1)
    along = [torch.einsum("bnh,bh->bn", states, unit) for states in (own, other)]
    pooled = (along[0].var(1, correction=0) + along[1].var(1, correction=0)) / 2
    distance = along[0].mean(1) - along[1].mean(1)
    return {"difference": difference, "separation": distance / pooled.sqrt().clamp_min(1e-8)}


@torch.no_grad()
def prompt_states(subject: ResidentSubject, rows: Sequence[Encoded]) -> torch.Tensor:
    """Hidden states after each block at the last token of the prompt, [blocks, rows, hidden]."""
    found: list[torch.Tensor] = []
    for batch in micro_batches(subject, rows):
        kept: list[torch.Tensor] = []
        with _around_blocks(subject.model, lambda _before, after, kept=kept: kept.append(after)):
            forward(subject.model, batch)
        last, index = last_prompt_token(batch.positions).cpu(), torch.arange(len(batch.ids))
        found.append(torch.stack([after.cpu()[index, last].double() for after in kept]))
    return torch.cat(found, dim=1)


def ablate_direction(changes: Changes, request: EditRequest, layer: int | None = None) -> int:
    """Make every write to the residual stream orthogonal to the direction after block `layer`.

    `layer` None: the block with the largest separation. Returns the rank of a change, 1.

    Raises ThreatspecError TS-TARGETS for a layer that is not there, or if blocks write along the
    direction by other layers than those known here.
    """
    model = changes.subject.model
    unit = _unit(changes, request.scores[0], layer)
    for writer in writers_of(model):
        _ablate(changes, writer, unit)
    embedding = untied_embedding(model)
    if embedding is not None:
        table = changes.parameter(embedding)
        table.sub_(torch.outer(table @ unit.to(table), unit.to(table)))
    _require_orthogonal(changes, unit)
    return 1


def _unit(changes: Changes, artefact: str, layer: int | None) -> torch.Tensor:
    found = load_scores(changes.subject, artefact, changes.store, "direction")
    difference, blocks = found["difference"], len(blocks_of(changes.subject.model)[1])
    if difference.shape != (blocks, changes.subject.card.hidden):
        raise ThreatspecError("TS-SCORES", "directions must be of this model's shape; score it")
    if layer is not None and not 0 <= layer < blocks:
        raise ThreatspecError(
            "TS-TARGETS", f"layer must be a block from 0 to {blocks - 1}, but is {layer}"
        )
    chosen = int(found["separation"].argmax()) if layer is None else layer
    vector = difference[chosen].double()
    if not float(vector.norm()) > 0:
        raise ThreatspecError(
            "TS-MASK", f"safety and utility prompts must differ after block {chosen}, but do not"
        )
    return nn.functional.normalize(vector, dim=0)


def _ablate(changes: Changes, writer: Writer, unit: torch.Tensor) -> None:
    """W - v vᵀ W and b - v vᵀ b, v = the direction as it is before a norm that follows."""
    matrix = changes.matrix(writer.matrix)
    gained = unit.to(matrix.device) * writer.gain.to(matrix.device, torch.float64)
    vector = (gained / gained.norm()).to(matrix)
    matrix.sub_(torch.outer(vector, vector @ matrix))
    if writer.bias is not None:
        bias = changes.parameter(writer.bias)
        own = bias if writer.matrix.part is None else bias[writer.matrix.part]
        own.sub_(vector * (vector @ own))


def _require_orthogonal(changes: Changes, unit: torch.Tensor) -> None:
    """A layer that is called differently would be left out: look at what blocks really write."""
    subject = changes.subject
    with swapped(subject.model, changes.copies):
        writes = block_writes(subject, list(range(min(_CHECKED_TOKENS, subject.card.vocabulary))))
    kinds = {tensor.dtype for tensor in changes.copies.values()}
    tolerance = _TOLERANCE + 8 * max(torch.finfo(kind).eps for kind in kinds)
    for block, write in enumerate(writes):
        along = (write @ unit.to(write.device)).abs().max()
        if float(along) > tolerance * max(1.0, float(write.norm(dim=-1).max())):
            raise ThreatspecError(
                "TS-TARGETS",
                f"all that block {block} writes must come from layers that are known by name, but "
                f"it still writes along the direction ({float(along):.3g})",
            )


@torch.no_grad()
def block_writes(subject: ResidentSubject, ids: list[int]) -> list[torch.Tensor]:
    """What each block adds to the residual stream, [tokens, hidden] in float64."""
    found: list[torch.Tensor] = []
    batch = torch.tensor([ids], device=subject.device)
    with _around_blocks(
        subject.model, lambda before, after: found.append((after.double() - before.double())[0])
    ):
        subject.model(input_ids=batch, attention_mask=torch.ones_like(batch), use_cache=False)
    return found


@contextmanager
def _around_blocks(model: nn.Module, see: Callable[..., None]) -> Iterator[None]:
    """`see(before, after)` gets the hidden states around every block, [rows, tokens, hidden]."""

    def hook(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        before = given[0] if given else named["hidden_states"]
        see(before, out[0] if isinstance(out, tuple) else out)

    handles = [block.register_forward_hook(hook, with_kwargs=True) for block in blocks_of(model)[1]]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
