"""What is known of a subject without loading it."""

from __future__ import annotations

from enum import StrEnum

from threatspec.schema import Model

__all__ = ["Offer", "SubjectCard"]


class Offer(StrEnum):
    """What a subject lets one do; an attack that needs more is an error of `check`."""

    TEXT = "text"
    IMAGE = "image"
    CLASSES = "classes"
    """It answers an image with one of fixed classes, and reads no text."""
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
    layers: int = 0
    """Of the language model, as everything up to `template_tokens`; a classifier has none."""
    hidden: int = 0
    vocabulary: int = 0
    context: int = 0
    """Longest sequence, in tokens."""
    tokens_per_word: float = 1.0
    """For predictions: 1.0 for word-level vocabularies, about 1.5 for byte-pair ones."""
    template_tokens: int = 16
    """For predictions: rough length of the chat template around one row."""
    classes: tuple[str, ...] = ()
    """Of a classifier: names of its classes, in the order of its logits."""
    image: tuple[int, int] = (0, 0)
    """Height and width of the images that it sees, in pixels; (0, 0): it sees none."""
    batch_norms: int = 0
    """Layers that normalise batches; 0 where there are none, or where the files do not say."""
    image_flops: float = 0.0
    """Floating-point operations of one image through a classifier, or through the image encoder."""
    image_tokens: int = 0
    """Of a vision-language model: places that an image takes among the tokens."""
    offers: frozenset[Offer]
