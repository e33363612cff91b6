"""Loading classifiers: safetensors only, no code of the model is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.subjects._load import chosen_device, require_whole
from threatspec.subjects._locate import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["keep_statistics", "load_classifier"]

_MOST = 0.5
"""Share of a batch in statistics of batch norm from which on it must be the other share."""


def load_classifier(
    ref: str, folder: Path = Path(), *, device: str = "auto", device_map: str | None = None
) -> tuple[PreTrainedModel, Any]:
    """The model in float32, and the processor of its images.

    Raises ThreatspecError TS-MODEL-MISSING, TS-RUNNER-RESOURCES for a device that is not there,
    TS-MISSING-EXTRA without Pillow.
    """
    import torch
    from transformers import AutoModelForImageClassification

    import threatspec.subjects.images._vgg  # noqa: F401  (registers VGG)

    place, chosen = locate(ref, folder), chosen_device(device)
    processor = _processor(place)
    device_map = None if ref.startswith("specimen:") else device_map
    model: Any = AutoModelForImageClassification.from_pretrained(
        place,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        **({"device_map": device_map} if device_map else {}),
    )
    keep_statistics(model)
    if device_map:
        require_whole(model, ref)
        return model, processor
    return model.to(chosen), processor


def keep_statistics(model: Any) -> None:
    """Batch norm learns slowly: the MobileNets of `transformers` give it the share of what was (as
    TensorFlow has it) for that of the new batch, and would be left with statistics of the last."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and (module.momentum or 0.0) > _MOST:
            module.momentum = 0.1


def _processor(place: Path) -> Any:
    if not (place / "preprocessor_config.json").is_file():
        text = f"{place} must say how images are prepared, but has no preprocessor_config.json"
        raise ThreatspecError("TS-MODEL-MISSING", text)
    try:
        import PIL  # noqa: F401
    except ImportError:
        text = "images are prepared by Pillow, which is not installed: pip install "
        raise ThreatspecError("TS-MISSING-EXTRA", f"{text}'threatspec-claims[images]'") from None
    from transformers import AutoImageProcessor

    # Where torchvision is installed it would resize a little differently.
    return AutoImageProcessor.from_pretrained(
        place, backend="pil", local_files_only=True, trust_remote_code=False
    )
