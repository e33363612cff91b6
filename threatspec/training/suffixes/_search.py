"""The search: draw swaps, keep the best, and never one that is worse."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cached_property

import torch

from threatspec.records import ArtefactStore, Optimised
from threatspec.subjects._resident import ResidentSubject
from threatspec.training._asks import Suffix, SuffixRequest
from threatspec.training._meter import Meter
from threatspec.training.suffixes._candidates import (
    Ids,
    allowed_tokens,
    opening_tokens,
    started,
    swaps,
)
from threatspec.training.suffixes._frames import Frames
from threatspec.training.suffixes._model import RowModel, one_hot_gradient
from threatspec.training.suffixes._room import check_room
from threatspec.training.suffixes._spend import evaluations, prefix, rows_at
from threatspec.training.suffixes._text import kept_text, label_of

__all__ = ["Searching", "search"]


def search(
    subject: ResidentSubject, request: SuffixRequest, store: ArtefactStore, meter: Meter
) -> Suffix:
    """See :func:`threatspec.training.suffixes.find_suffix`."""
    searching = Searching(subject, request, meter)
    losses = searching.run()
    first, best = searching.first, searching.current
    text = searching.frames.text(best)
    optimised = Optimised(
        method=request.method,
        steps=request.steps,
        loss=tuple(losses),
        changed=sum(a != b for a, b in zip(first, best, strict=True)),
        tokens=len(best),
    )
    return Suffix(kept_text(text, store), label_of(text), optimised)


class Searching:
    """One search; `current` is the best suffix so far."""

    def __init__(
        self, subject: ResidentSubject, request: SuffixRequest, meter: Meter, *, reuse: bool = True
    ) -> None:
        self.subject, self.request, self.meter, self.reuse = subject, request, meter, reuse
        self._charge = meter.charge_unasked if request.surrogate else meter.charge
        self.draw = random.Random(f"threatspec/suffix/{request.seed}")
        self.allowed = allowed_tokens(subject, ascii_only=request.ascii_only)
        opening = opening_tokens(subject, self.allowed)
        probe = subject.tokenizer.decode([self.draw.choice(opening)]).strip()
        self.frames = Frames(subject, request.rows, request.target, probe)
        check_room(subject.card, request.rows, self.frames, request.length)
        self.first = self.current = started(self.frames, opening, request.length, self.draw)
        self._rows: list[RowModel] = []

    @cached_property
    def _is_allowed(self) -> torch.Tensor:
        embed = self.subject.model.get_input_embeddings()
        found = torch.zeros(embed.num_embeddings, dtype=torch.bool)
        found[self.allowed] = True
        return found

    def run(self) -> list[float]:
        """All steps; the loss at the start and after each."""
        steps, every = self.request.steps, len(self.request.rows)
        used = self._used(0)
        late = self._losses([self.current], range(used, every)) * (every - used)
        found, before = [], 0
        for step in range(steps):
            used = self._used(step)
            loss, choices = self._looked(used, before)
            if not step:  # over all rows, as after the last step
                found.append((loss * used + float(late)) / every)
            loss = self._step(loss, choices, used, self._count(used, before))
            found.append(loss)
            self._loss, before = loss, used
        return found

    def _used(self, step: int) -> int:
        request = self.request
        rows = len(request.rows)
        return rows_at(step, request.steps, rows, progressive=request.progressive)

    def _count(self, used: int, before: int) -> int:
        """Candidates of a step: where the loss is known without asking, one more is tried."""
        known = self.request.method == "random" and used == before
        return self.request.candidates + int(known)

    def _looked(self, used: int, before: int) -> tuple[float, Callable[[int], Sequence[int]]]:
        """Loss of the current suffix on the first `used` rows, and what may be swapped in."""
        if self.request.method == "gradient":
            return self._gradient(used)
        loss = self._loss if used == before else float(self._losses([self.current], range(used)))
        return loss, lambda _: self.allowed

    def _gradient(self, used: int) -> tuple[float, Callable[[int], Sequence[int]]]:
        losses, total = [], torch.zeros(())
        for number in range(used):
            row = self._row(number)
            lengths = self.frames.rows[number].lengths(len(self.current))
            card = self.subject.card
            self._charge(evaluations(card, lengths, 1, reuse=row.reuses, backward=True))
            loss, gradient = row.gradient(self.current)
            losses.append(loss)
            total = total + gradient.float().cpu() / used
        return sum(losses) / used, self._top(total).__getitem__

    def _top(self, gradient: torch.Tensor) -> list[list[int]]:
        """By position, the tokens to which the loss falls fastest."""
        embed = self.subject.model.get_input_embeddings()
        slopes = one_hot_gradient(self.subject.model, gradient.to(embed.weight)).float().cpu()
        slopes = slopes.masked_fill(~self._is_allowed, torch.inf)
        count = min(self.request.top_k, len(self.allowed))
        found: list[list[int]] = slopes.topk(count, dim=1, largest=False).indices.tolist()
        return found

    def _step(
        self, loss: float, choices: Callable[[int], Sequence[int]], used: int, count: int
    ) -> float:
        candidates = swaps(self.frames, self.current, choices, count, self.draw)
        if not candidates:
            return loss
        losses = self._losses(candidates, range(used))
        best = int(losses.argmin())
        if float(losses[best]) < loss:
            self.current, loss = candidates[best], float(losses[best])
        return loss

    def _losses(self, suffixes: Sequence[Ids], rows: range) -> torch.Tensor:
        """Mean loss of each suffix over some rows; charged before it is spent."""
        total = torch.zeros(len(suffixes), dtype=torch.float64)
        for number in rows:
            row = self._row(number)
            lengths = self.frames.rows[number].lengths(len(suffixes[0]))
            self._charge(evaluations(self.subject.card, lengths, len(suffixes), reuse=row.reuses))
            total += row.losses(suffixes).cpu() / len(rows)
        return total

    def _row(self, number: int) -> RowModel:
        """The subject with a row; its prefix goes through the model when it is first asked."""
        while len(self._rows) <= number:
            frame = self.frames.rows[len(self._rows)]
            if self.reuse:
                lengths = frame.lengths(self.request.length)
                self._charge(prefix(self.subject.card, lengths))
            batch = self.request.batch
            self._rows.append(RowModel(self.subject, frame, reuse=self.reuse, batch=batch))
        return self._rows[number]
