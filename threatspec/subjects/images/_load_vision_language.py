"""Loading vision-language models: safetensors only, no code of the model is ever run."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.subjects._load import chosen_device, require_whole
from threatspec.subjects._locate import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["load_vision_language"]


def load_vision_language(
    ref: str, folder: Path = Path(), *, device: str = "auto", device_map: str | None = None
) -> tuple[PreTrainedModel, Any]:
    """The model in float32, and its processor with `tokenizer` and `image_processor`.

    Raises ThreatspecError TS-MODEL-MISSING, TS-RUNNER-RESOURCES for a device that is not there,
    TS-MISSING-EXTRA without Pillow.
    """
    import torch
    from transformers import AutoModelForImageTextToText, GenerationConfig

    place, chosen = locate(ref, folder), chosen_device(device)
    device_map = None if ref.startswith("specimen:") else device_map
    processor = _processor(place)
    model: Any = AutoModelForImageTextToText.from_pretrained(
        place,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        **({"device_map": device_map} if device_map else {}),
    )
    # How replies are decoded is the serving's to say, not the folder's generation_config.json.
    model.generation_config = GenerationConfig()
    if device_map:
        require_whole(model, ref)
        return model, processor
    return model.to(chosen), processor


def _processor(place: Path) -> Any:
    """Of the kind that `transformers` names for the model, made of a tokenizer and a processor of
    images; what reads videos, and would need torchvision, is left out."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        text = "images are prepared by Pillow, which is not installed: pip install "
        raise ThreatspecError("TS-MISSING-EXTRA", f"{text}'threatspec-claims[images]'") from None
    from transformers import AutoImageProcessor, AutoTokenizer

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    kind = _kind(place)
    tokenizer = AutoTokenizer.from_pretrained(place, **local)
    # Where torchvision is installed it would resize a little differently.
    images = AutoImageProcessor.from_pretrained(place, backend="pil", **local)
    known = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"}
    settings = {name: value for name, value in _settings(place).items() if name in known}
    settings |= {"image_processor": images, "tokenizer": tokenizer}
    settings |= {name: None for name in ("video_processor", "feature_extractor") if name in known}
    try:
        return _lean(kind)(**settings)
    except (ImportError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        text = f"the processor of {place} must do with a tokenizer and a processor of images, but"
        raise ThreatspecError("TS-MODEL-MISSING", f"{text}: {reason}") from None


def _lean(kind: Any) -> Any:
    """The same, and nothing is asked of parts that are left out."""

    def check(self: Any, name: str, part: Any) -> Any:
        return None if part is None else kind.check_argument_for_proper_class(self, name, part)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})


def _kind(place: Path) -> Any:
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    name = PROCESSOR_MAPPING_NAMES.get(config["model_type"])
    found = getattr(transformers, name, None) if name else None
    if found is None:
        text = f"{place} must be of a type whose images `transformers` prepares, but is of"
        raise ThreatspecError("TS-MODEL-MISSING", f"{text} {config['model_type']!r}")
    return found


def _settings(place: Path) -> dict[str, Any]:
    """Of the processor, but for those of its parts."""
    found: dict[str, Any] = {}
    for name in ("chat_template.json", "processor_config.json"):
        if (place / name).is_file():
            found |= json.loads((place / name).read_text(encoding="utf-8"))
    for name in ("chat_template.jinja", "chat_template.jinja2"):
        if (place / name).is_file():
            found["chat_template"] = (place / name).read_text(encoding="utf-8")
    return {name: value for name, value in found.items() if not isinstance(value, dict)}
