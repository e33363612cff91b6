"""Objective `repnoise`: keep refusals, noise and unlearn what complying answers look like inside.

Source: arXiv 2405.14577 and its public loss. On pairs of the same prompt with a complying answer h
and a refusal r, padded to one length, m_t says that token t differs (the prompt does not):

    L_stab  = CE_m(r), and with a weight `retain` the loss of benign rows beside it
    L_noise = mean over blocks of MMD^2(MLP output on h, times m; Gaussian noise, times m)
    L_asc   = 1 + (CE_m(h) + sum over hidden states of CE_m(h) read by norm and output layer) / n
    L       = L_stab + beta L_noise - alpha log(L_asc),     n = number of hidden states
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.training._batches import Batch, Encoded
from threatspec.training._flops import training_flops
from threatspec.training._job import TrainingJob
from threatspec.training._loss import batch_loss, logits_of
from threatspec.training._policy import TrainingPolicy
from threatspec.training.objectives._lens import lens, mlp_outputs
from threatspec.training.objectives.base import Objective

if TYPE_CHECKING:
    from threatspec.training._resident import ResidentTrainer

__all__ = ["Method", "differing", "masked_loss", "mmd2"]

_KERNELS, _FACTOR = 5, 2.0
_TINY = 1e-12


def differing(first: Batch, second: Batch) -> torch.Tensor:
    """Where two batches of one length differ, [rows, length] of bool: in a token, or because one
    has a token where the other is padded (padding may look like the end of a turn)."""
    return (first.ids != second.ids) | (first.mask != second.mask)


def mmd2(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Squared maximum mean discrepancy of two samples of equal size, [rows, features] each.

    Five Gaussian kernels exp(-d^2 / w): w is a quarter of the mean squared distance between
    different rows of both samples, and 2, 4, 8, 16 times that; w takes no gradient. The diagonal
    counts, so that it is never negative and 0 for equal samples.
    """
    both = torch.cat([first, second])
    squares = both.square().sum(1)
    distance = (squares[:, None] + squares[None] - 2 * both @ both.T).clamp_min(0)
    pairs = len(both) * (len(both) - 1)
    width = (distance.detach().sum() / pairs / _FACTOR ** (_KERNELS // 2)).clamp_min(_TINY)
    kernel = sum(
        (torch.exp(-distance / (width * _FACTOR**i)) for i in range(_KERNELS)),
        start=torch.zeros_like(distance),
    )
    size = len(first)
    within = kernel[:size, :size] + kernel[size:, size:]
    return (within - kernel[:size, size:] - kernel[size:, :size]).mean()


def masked_loss(logits: torch.Tensor, batch: Batch, mask: torch.Tensor) -> torch.Tensor:
    """Mean loss of predicting the tokens where `mask` is True, nats; `logits` are those of all
    positions, [rows, length, vocabulary]."""
    return _loss(logits[:, :-1][mask[:, 1:]], batch, mask)


def _loss(predicted: torch.Tensor, batch: Batch, mask: torch.Tensor) -> torch.Tensor:
    wanted = batch.ids[:, 1:][mask[:, 1:]].to(predicted.device)
    return nn.functional.cross_entropy(predicted.float(), wanted)


def _rows_of(batch: Batch, which: slice) -> Batch:
    return Batch(*(own[which] for own in (batch.ids, batch.mask, batch.weights, batch.positions)))


class Method(Objective):
    """Settings: alpha, beta, noise_rows (rows of a step that L_noise reads), retain, benign_rows.

    Raises ThreatspecError TS-SAFEGUARD for rows in parts, since L_noise and the logarithm are of
    the whole step, and for a pair that does not differ; TS-TARGETS if the model has no MLPs.
    """

    def __init__(
        self, trainer: ResidentTrainer, model: nn.Module, job: TrainingJob, rows: list[Encoded]
    ) -> None:
        super().__init__(trainer, model, job, rows)
        hyper = job.hyperparameters
        if hyper.packing or (hyper.micro_batch or hyper.batch_size) < hyper.batch_size:
            text = "repnoise must have the rows of a step in one piece, since its noise term is of "
            text += "all of them, but has packing or micro_batch; take a smaller batch"
            raise ThreatspecError("TS-SAFEGUARD", text)
        self.refusals = self.encoded([row.refused for row in job.rows])
        for row, own, other in zip(job.rows, rows, self.refusals, strict=True):
            if own.ids == other.ids:
                text = f"answer and refusal of a pair must differ, but those of {row.id} do not"
                raise ThreatspecError("TS-SAFEGUARD", text)

    def pairs(self, chosen: Sequence[int]) -> tuple[Batch, Batch]:
        """Complying answers and refusals of the same prompts, padded to one length."""
        rows = [*(self.rows[i] for i in chosen), *(self.refusals[i] for i in chosen)]
        both, half = self.batch(rows), len(rows) // 2
        return _rows_of(both, slice(None, half)), _rows_of(both, slice(half, None))

    def cost(self, step: int, chosen: Sequence[int]) -> Spend:
        """Forward and backward of all rows, and one more output layer for each hidden state; the
        kernels are left out."""
        card, settings = self.subject.card, self.settings
        length = max(len(rows[i].ids) for rows in (self.rows, self.refusals) for i in chosen)
        kinds = 2 if settings["alpha"] or settings["beta"] else 1
        tokens = kinds * len(chosen) * length
        flops = training_flops(card, tokens, length)
        if settings["alpha"]:
            answers = sum(len(self.rows[i].ids) - self.rows[i].start for i in chosen)
            flops += 6.0 * card.vocabulary * card.hidden * (card.layers + 1) * answers
        if settings["retain"]:
            longest = max(len(row.ids) for row in self.beside)
            more = min(settings["benign_rows"], len(self.beside)) * longest
            tokens, flops = tokens + more, flops + training_flops(card, more, longest)
        return Spend(tokens=tokens, flops=flops)

    def backward(self, step: int, chosen: Sequence[int]) -> float:
        """Gradients of the terms one after another, so that one graph is held at a time."""
        complying, refused = self.pairs(chosen)
        mask = differing(complying, refused)
        total = self._keep(refused, mask & (refused.mask > 0))
        if self.settings["alpha"] or self.settings["beta"]:
            total += self._forget(complying, mask & (complying.mask > 0))
        return total

    def _keep(self, refused: Batch, mask: torch.Tensor) -> float:
        """L_stab."""
        retain = self.settings["retain"]
        loss = (1 - retain) * masked_loss(logits_of(self.model, refused), refused, mask)
        torch.autograd.backward(loss)
        total: float = loss.item()
        if retain:
            benign = self.batch(self.next_beside(self.settings["benign_rows"]))
            loss = retain * batch_loss(self.model, benign, TrainingPolicy())
            torch.autograd.backward(loss)
            total += loss.item()
        self.note("stability", total)
        return total

    def _forget(self, batch: Batch, mask: torch.Tensor) -> float:
        """beta L_noise - alpha log(L_asc)."""
        with mlp_outputs(self.model) as activations:
            seen = self.model(
                input_ids=batch.ids, attention_mask=batch.mask, use_cache=False,
                output_hidden_states=True,
            )  # fmt: skip
        noise = self._noised(activations, mask)
        ascent = self._ascent(seen, batch, mask)
        self.note("noise", noise.item())
        self.note("ascent", ascent.item())
        loss = self.settings["beta"] * noise - self.settings["alpha"] * torch.log(ascent)
        torch.autograd.backward(loss)
        return float(loss.detach())

    def _noised(self, activations: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        """L_noise: noise is drawn anew for every block and step."""
        rows, length = mask.shape
        some = min(self.settings["noise_rows"], rows)
        terms = []
        for found in activations:
            own = found.reshape(rows, -1, found.shape[-1])[:some, -length:].float()
            kept = mask[:some, :, None].to(own.device)
            drawn = torch.randn(own.shape, generator=self.noise).to(own.device)
            terms.append(mmd2((own * kept).flatten(1), (drawn * kept).flatten(1)).to(mask.device))
        return torch.stack(terms).mean()

    def _ascent(self, seen: torch.Tensor, batch: Batch, mask: torch.Tensor) -> torch.Tensor:
        """L_asc; only positions that predict a token of the mask are read."""
        length, states = batch.length, seen.hidden_states  # type: ignore[attr-defined]
        total = masked_loss(seen.logits[:, -length:], batch, mask)  # type: ignore[attr-defined]
        for number, state in enumerate(states, start=1):
            at = state[:, -length:][:, :-1][mask[:, 1:].to(state.device)]
            # what transformers returns last has gone through the final norm already
            read = lens(self.model, at, normed=number == len(states))
            total = total + _loss(read, batch, mask).to(total.device)
        return 1 + total / len(states)
