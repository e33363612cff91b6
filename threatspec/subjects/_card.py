"""What is known of a subject without loading it."""

from __future__ import annotations

from enum import StrEnum

from threatspec.schema import Model

__all__ = ["Offer", "SubjectCard"]


class Offer(StrEnum):
    """What a subject lets one do; an attack that needs more is an error of `check`."""

    TEXT = "text"
    IMAGE = "image"
    LOGITS = "logits"
    CHOICES = "choices"
    """It tells how probable given words are."""
    GRADIENTS = "gradients"
    TRAINING = "training"
    """Somebody trains it on rows."""
    WEIGHTS = "weights"
    """Its weights are here, to be read and changed."""


class SubjectCard(Model):
    """Size and identity of a subject, read from its files (no torch)."""

    ref: str
    """How the spec names it, e.g. `specimen:deep`."""
    digest: str
    """sha256 over weights, tokenizer and configuration."""
    parameters: int
    """Stored parameters; tied embeddings count once."""
    layers: int
    hidden: int
    vocabulary: int
    context: int
    """Longest sequence, in tokens."""
    tokens_per_word: float
    """For predictions: 1.0 for word-level vocabularies, about 1.5 for byte-pair ones."""
    template_tokens: int = 16
    """For predictions: rough length of the chat template around one row."""
    offers: frozenset[Offer]
