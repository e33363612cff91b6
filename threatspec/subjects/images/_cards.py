"""What is known of an image classifier or a vision-language model without loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threatspec.subjects._card import Offer, SubjectCard
from threatspec.subjects.images._names import unique_names

__all__ = ["image_card"]

_TWO = {"0": "LABEL_0", "1": "LABEL_1"}
"""What `transformers` calls classes where a config says nothing of them: it leaves out two."""
_SEEN = frozenset({Offer.IMAGE, Offer.LOGITS, Offer.GRADIENTS, Offer.WEIGHTS})


def image_card(
    folder: Path, config: Mapping[str, Any], metadata: Mapping[str, str], **known: Any
) -> SubjectCard | None:
    """The card of a folder in the layout of `transformers`; None if its model sees no images.

    Args:
        config: of config.json.
        metadata: of the safetensors file; `image_flops` is what `SubjectCard` has.
        known: reference, digest and parameters.

    Raises KeyError, TypeError or ValueError for a config that is not one.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"it is no mapping, but {type(config).__name__}")
    known["image_flops"] = float(metadata.get("image_flops", 2.0 * known["parameters"]))
    architectures = config.get("architectures") or ()
    if any(str(name).endswith("ForImageClassification") for name in architectures):
        labels = config.get("id2label", _TWO)
        return SubjectCard(
            classes=unique_names(str(labels[str(n)]) for n in range(len(labels))),
            image=_size(folder, config.get("image_size")),
            offers=_SEEN | {Offer.CLASSES},
            **known,
        )
    if "vision_config" in config and "text_config" in config:
        text, seen = config["text_config"], config["vision_config"]
        return SubjectCard(
            layers=text["num_hidden_layers"],
            hidden=text["hidden_size"],
            vocabulary=text["vocab_size"],
            context=text["max_position_embeddings"],
            tokens_per_word=float(metadata.get("tokens_per_word", 1.5)),
            image=_size(folder, seen.get("image_size")),
            image_tokens=int(config.get("image_seq_length") or _patches(seen)),
            offers=_SEEN | {Offer.TEXT},
            **known,
        )
    return None


def _patches(seen: Mapping[str, Any]) -> int:
    """Of the image encoder; 0 where its config does not say."""
    whole, patch = seen.get("image_size"), seen.get("patch_size")
    if not (isinstance(whole, int) and isinstance(patch, int) and patch):
        return 0
    return (whole // patch) ** 2


def _size(folder: Path, own: Any) -> tuple[int, int]:
    """What the processor makes of any image, or else what the model's config says."""
    found: Any = own
    if (folder / "preprocessor_config.json").is_file():
        settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        crops = settings.get("do_center_crop") and settings.get("crop_size")
        found = crops or settings.get("size") or own
    if isinstance(found, Mapping):
        side = None if "longest_edge" in found else found.get("shortest_edge")
        height, width = found.get("height", side), found.get("width", side)
        if height and width:
            return int(height), int(width)
        found = own  # images keep their proportions
    if isinstance(found, (list, tuple)):
        return int(found[0]), int(found[1])
    return (int(found), int(found)) if found else (0, 0)
