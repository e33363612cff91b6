"""Floating-point operations of training, by formula: the same for prediction and for metering.

A multiply-add counts as two operations. `docs/flops.md` derives the formula and says what it
leaves out.
"""

from __future__ import annotations

from threatspec.subjects import SubjectCard

__all__ = ["forward_flops", "training_flops"]


def forward_flops(subject: SubjectCard, tokens: int, length: int) -> float:
    """One forward pass over `tokens` tokens in sequences of `length`, padding included.

    2 x parameters per token for the matrix products, and 4 x layers x hidden x length per token for
    the attention scores and their weighted sum.
    """
    attention = 4.0 * subject.layers * subject.hidden * length
    return tokens * (2.0 * subject.parameters + attention)


def training_flops(
    subject: SubjectCard, tokens: int, length: int, adapter: int | None = None
) -> float:
    """Forward and backward pass over `tokens` tokens.

    Full fine-tuning: the backward pass costs twice the forward pass (gradients of activations and
    of weights), 3 forward passes in all. With an adapter of `adapter` parameters the base has no
    weight gradients: 2 forward passes, and 6 x adapter per token.
    """
    forward = forward_flops(subject, tokens, length)
    return 3 * forward if adapter is None else 2 * forward + 6.0 * adapter * tokens
