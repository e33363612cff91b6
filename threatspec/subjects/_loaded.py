"""Loading whatever a reference means: a language model, a classifier, a vision-language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from threatspec.subjects._card import Offer
from threatspec.subjects._locate import describe
from threatspec.subjects._resident import ResidentSubject

__all__ = ["load_subject"]


def load_subject(
    ref: str,
    folder: Path = Path(),
    *,
    threads: int = 1,
    device: str = "auto",
    device_map: str | None = None,
) -> Any:
    """The subject `ref`, to be kept resident.

    Raises ThreatspecError TS-MODEL-MISSING, TS-MODEL-DIGEST, TS-RUNNER-RESOURCES or
    TS-MISSING-EXTRA.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for every load would stand between the lines of a run
    how: dict[str, Any] = {"threads": threads, "device": device, "device_map": device_map}
    offers = describe(ref, folder).offers
    if Offer.CLASSES in offers:
        from threatspec.subjects.images._classifier import ClassifierSubject

        return ClassifierSubject.load(ref, folder, **how)
    if Offer.IMAGE in offers:
        from threatspec.subjects.images._vision_language import VisionLanguageSubject

        return VisionLanguageSubject.load(ref, folder, **how)
    return ResidentSubject.load(ref, folder, **how)
