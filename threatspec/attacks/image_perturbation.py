"""Attack `image-perturbation`: a picture, or a change of all images, found by gradients (PGD).

Source: arXiv 2306.13213, section 3: one picture for all prompts, which makes a corpus of answers
likely. On a classifier it is a universal change that makes one class of every image, after arXiv
1610.08401. What is sent has 8 bits; of all checkpoints the best so rounded is kept.
"""

from __future__ import annotations

from threatspec.attacks._pixels import PixelSearch, PixelSearchConfig
from threatspec.attacks.base import ATTACKS
from threatspec.schema import Capability
from threatspec.subjects import Offer

__all__ = ["ImagePerturbation", "ImagePerturbationConfig"]


class ImagePerturbationConfig(PixelSearchConfig):
    """Knobs of the search."""


class ImagePerturbation(PixelSearch):
    """Projected gradient descent on the pixels of one picture, or of a shared change."""

    kind = "image-perturbation"
    says = "shows a picture whose pixels, found by gradients, make complying answers likely"
    needs = (
        frozenset({Capability.IMAGE, Capability.GRADIENTS}),
        frozenset({Capability.IMAGE, Capability.WEIGHTS_READ}),
    )
    offers = frozenset({Offer.IMAGE, Offer.GRADIENTS})
    Config = ImagePerturbationConfig


ATTACKS.register(ImagePerturbation.kind, ImagePerturbation())
