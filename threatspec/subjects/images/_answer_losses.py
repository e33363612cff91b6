"""The loss of answers by pixels: what searches for pixels minimise on vision-language models."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from threatspec.errors import ThreatspecError
from threatspec.schema import Serving
from threatspec.subjects._shown import Shown, beside
from threatspec.subjects.images._processing import processed

if TYPE_CHECKING:
    from threatspec.subjects.images._vision_language import VisionLanguageSubject
    from threatspec.training import TrainingRow

__all__ = ["AnswerLosses"]

_ALIKE = 1e-3
"""Logits that differ by less are the same, but for rounding."""


class AnswerLosses:
    """Losses of one subject; what is known of its processor and model is found out once."""

    def __init__(self, subject: VisionLanguageSubject) -> None:
        self.subject = subject
        self._blank: dict[tuple[int, int], Shown] = {}
        self._is_causal = False
        forward = inspect.signature(subject.model.forward).parameters
        self._takes_features = "mm_encoder_outputs" in forward
        self._spares = "logits_to_keep" in forward

    def of(self, images: torch.Tensor, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """See :meth:`VisionLanguageSubject.losses`."""
        blank = self._blank_of(images.shape[-2], images.shape[-1])
        self._check_causal(blank)
        asked = [self._asked(row, blank) for row in rows]
        longest = max(len(prompt) + len(answer) for prompt, answer in asked)
        ids = torch.full((len(rows), longest), self.subject.pad)
        there, wanted = torch.zeros_like(ids), torch.full_like(ids, -100)
        for n, (prompt, answer) in enumerate(asked):
            end = len(prompt) + len(answer)
            ids[n, :end] = torch.tensor([*prompt, *answer])
            there[n, :end] = 1
            wanted[n, len(prompt) : end] = ids[n, len(prompt) : end]
        given = self._encoded(images.to(self.subject.device), blank, ids)
        kept = longest - min(len(prompt) for prompt, _ in asked) + 1
        if self._spares:
            given["logits_to_keep"] = kept
        device = self.subject.device
        logits = self.subject.model(
            input_ids=ids.to(device), attention_mask=there.to(device), use_cache=False, **given
        ).logits
        return _mean_losses(logits[:, -kept:], wanted[:, -kept:].to(logits.device))

    def _blank_of(self, height: int, width: int) -> Shown:
        """What the processor makes of a black image, for everything but the pixels."""
        if (height, width) not in self._blank:
            black = np.zeros((height, width, 3), dtype=np.uint8)
            self._blank[height, width] = self.subject.show(black)
        return self._blank[height, width]

    def _check_causal(self, shown: Shown) -> None:
        """Some models read all of a first sequence both ways; asked once."""
        if self._is_causal:
            return
        [(_, prompt)] = self.subject.read([(("",), shown)], Serving())
        ids = torch.tensor([[*prompt, *[self.subject.end] * 3]], device=self.subject.device)
        with torch.no_grad():
            short, long = (
                self.subject.model(
                    input_ids=part, attention_mask=torch.ones_like(part), use_cache=False,
                    **beside([shown], part, self.subject.device),
                ).logits[0, len(prompt) - 1]
                for part in (ids[:, : len(prompt)], ids)
            )  # fmt: skip
        if float((short - long).abs().max()) > _ALIKE:
            text = (
                f"for a loss, answers must be read word by word, but {self.subject.card.ref} reads"
            )
            raise ThreatspecError("TS-IMAGE", f"{text} ahead; use another model")
        self._is_causal = True

    def _asked(self, row: TrainingRow, shown: Shown) -> tuple[list[int], list[int]]:
        serving = Serving(system=row.system)
        [(_, prompt)] = self.subject.read([((row.prompt,), shown)], serving)
        answer = self.subject.tokens(row.answer)
        if not answer or len(prompt) + len(answer) > self.subject.card.context:
            text = f"row {row.id} must have an answer, and fit with its image into the context of"
            raise ThreatspecError("TS-DATA", f"{text} {self.subject.card.context} tokens")
        return prompt, answer

    def _encoded(self, images: torch.Tensor, blank: Shown, ids: torch.Tensor) -> dict[str, Any]:
        """Inputs beside token ids [rows, tokens]; one image is encoded once, for all rows."""
        count, rows = len(images), len(ids)
        given: dict[str, Any] = beside([blank] * count, device=self.subject.device)
        pixels = processed(self.subject.processor.image_processor, images)
        shape = given["pixel_values"].shape
        if pixels.numel() != given["pixel_values"].numel() or shape[-2:] != pixels.shape[-2:]:
            text = f"gradients must go through the processor of {self.subject.card.ref}, but it"
            raise ThreatspecError("TS-IMAGE", f"{text} cuts images in a way that is not known here")
        given["pixel_values"] = pixels.reshape(shape).to(self.subject.model.dtype)
        if count == 1 and rows > 1:
            given = self._repeated(given, rows)
        if blank.marked:
            given[blank.marked] = (ids == blank.token).long().to(self.subject.device)
        return given

    def _repeated(self, given: Mapping[str, torch.Tensor], rows: int) -> dict[str, Any]:
        if not self._takes_features:
            return {
                name: value.repeat(rows, *[1] * (value.ndim - 1)) for name, value in given.items()
            }
        seen = self.subject.model.get_image_features(**given, return_dict=True)
        one = seen.pooler_output
        seen.pooler_output = (
            one.repeat(rows, *[1] * (one.ndim - 1)) if isinstance(one, torch.Tensor)
            else list(one) * rows
        )  # fmt: skip
        return {"mm_encoder_outputs": {"image": seen}}


def _mean_losses(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Logits [rows, tokens, vocabulary] after each of `wanted`'s tokens -> (rows,)."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), wanted[:, 1:], reduction="none", ignore_index=-100
    )
    return each.sum(dim=1) / (wanted[:, 1:] != -100).sum(dim=1)
