"""What a provider imposes on somebody else's training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from threatspec.training._job import TrainingRow

__all__ = ["TrainingPolicy"]


class TrainingPolicy:
    """Hooks of provider-side safeguards; the base class imposes nothing.

    Applied whenever training happens at the provider (`finetune_data`), never where the adversary
    has `weights_write`.
    """

    def admit(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        """The rows that pass moderation."""
        return rows

    def mix(self, rows: Sequence[TrainingRow]) -> Sequence[TrainingRow]:
        """The rows that are trained on, with the provider's own."""
        return rows

    def token_weights(
        self, token_loss: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor | None:
        """Weights of the token losses, or None.

        Args:
            token_loss: [batch, length], nats; 0 where there is no loss.
            positions: [batch, length], index of the token within the answer, -1 outside.
        """
        return None

    def mask_gradients(self, model: nn.Module) -> None:
        """Edit `.grad` in place, before clipping."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """Edit weights in place after optimiser step `step` (1-based)."""
