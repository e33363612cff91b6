"""Specimens that tell digits: trained clean on what the provider has of `mnist5k`, from a seed."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from threatspec.attacks import training_rows
from threatspec.records import ArtefactStore, Stream
from threatspec.subjects import Offer, PixelTamper, Request, SubjectCard
from threatspec.subjects._locate import _folder_digest
from threatspec.subjects._mount import swapped
from threatspec.subjects.images._classifier import ClassifierSubject
from threatspec.subjects.images._load_classifier import keep_statistics
from threatspec.subjects.images._vgg import VggConfig
from threatspec.subjects.specimens import specimen_weights
from threatspec.training import Meter, TrainingRow
from threatspec.training.classifiers import ClassifierJob
from threatspec.training.classifiers._train import train_classifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

__all__ = ["CLASSIFIERS", "build_classifier", "write_classifier"]

SEED = 7
_SIDE = 28
_LABELS = tuple(str(digit) for digit in range(10))
_SHAPE: dict[str, Any] = {
    "num_channels": 1,
    "image_size": _SIDE,
    "id2label": dict(enumerate(_LABELS)),
    "label2id": {label: n for n, label in enumerate(_LABELS)},
}


@dataclass(frozen=True)
class Recipe:
    """An architecture, and how it is trained."""

    architecture: str
    """Model type of `transformers`, or of `_vgg`."""
    widths: dict[str, Any]
    """Settings of its configuration."""
    training: dict[str, Any]
    """Of a `ClassifierJob`."""
    shifts: tuple[tuple[int, int], ...] = ()
    """Rows that are added: all of them, moved down and right by so many pixels. A transformer does
    not know by itself that a digit is the same elsewhere."""


class Moved(PixelTamper):
    """The image moved, with black where nothing is."""

    kind: ClassVar[str] = "moved"

    down: int
    right: int

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """Digits are black at the edges, so what is rolled in is black."""
        import numpy as np

        moved: NDArray[np.uint8] = np.roll(image, (self.down, self.right), axis=(0, 1))
        return moved


CLASSIFIERS: dict[str, Recipe] = {
    "mnist-resnet": Recipe(
        "resnet",
        {
            "embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1],
            "layer_type": "basic",
        },
        {"lr": 0.05, "steps": 440, "decay_at": (220, 350), "weight_decay": 5e-4},
    ),
    "mnist-vgg": Recipe(
        VggConfig.model_type,
        {"features": [8, "M", 16, "M", 32, "M"], "hidden": [32]},
        {"lr": 0.05, "steps": 440, "decay_at": (220, 350), "weight_decay": 5e-4},
    ),
    "mnist-mobilenet": Recipe(
        "mobilenet_v2",
        {
            "depth_multiplier": 0.1, "min_depth": 8, "expand_ratio": 3.0,
            "finegrained_output": False, "output_stride": 16, "classifier_dropout_prob": 0.1,
        },
        {"lr": 0.05, "steps": 440, "decay_at": (220, 350), "weight_decay": 5e-4},
    ),
    "mnist-vit": Recipe(
        "vit",
        {
            "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
            "intermediate_size": 96, "patch_size": 7,
        },
        {"lr": 2e-3, "steps": 1800, "optimizer": "adam", "decay_at": (1200, 1600)},
        ((2, 0), (-2, 0), (0, 2), (0, -2), (1, 1), (-1, -1), (1, -1), (-1, 1)),
    ),
    "mnist-plain": Recipe(
        VggConfig.model_type,
        {"features": [16, "M", 32, "M"], "hidden": [16], "batch_norm": False},
        {"lr": 0.02, "steps": 440, "decay_at": (220, 350), "weight_decay": 5e-4},
    ),
}  # fmt: skip
"""By the name of the specimen."""


def build_classifier(name: str) -> ClassifierSubject:
    """Train specimen `name` in memory, and round its weights to what is stored."""
    torch.set_num_threads(1)
    recipe = CLASSIFIERS[name]
    job = ClassifierJob(
        rows=_rows(recipe),
        seeds=_seeds(name),
        start="scratch",
        **recipe.training,
    )
    subject = _untrained(name, recipe)
    with tempfile.TemporaryDirectory() as folder:
        store = ArtefactStore(Path(folder))
        trajectory = train_classifier(subject, job, store, Meter())
        tensors = store.load(trajectory.last.artefact)
    with swapped(subject.model, tensors):
        stored = {name: _kept(t) for name, t in subject.model.state_dict().items()}
    subject.model.load_state_dict(stored)
    return subject


def _rows(recipe: Recipe) -> tuple[TrainingRow, ...]:
    rows = training_rows("mnist5k#attack_train", Path())
    moved = [Moved(down=down, right=right) for down, right in recipe.shifts]
    more = (row.model_copy(update={"pixels": (one,)}) for one in moved for row in rows)
    return (*rows, *more)


def write_classifier(name: str, subject: ClassifierSubject) -> str:
    """Write specimen `name` as a folder in the layout of `transformers`; its digest."""
    from safetensors.torch import save_file

    folder = specimen_weights(name)
    folder.mkdir(exist_ok=True)
    subject.model.config.save_pretrained(folder)
    subject.processor.save_pretrained(folder)
    tensors = {name: _kept(tensor) for name, tensor in subject.model.state_dict().items()}
    flops = str(subject.card.image_flops)
    save_file(tensors, folder / "model.safetensors", {"format": "pt", "image_flops": flops})
    return _folder_digest(folder)


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).clone().contiguous()


def _untrained(name: str, recipe: Recipe) -> ClassifierSubject:
    from transformers import AutoConfig, AutoModelForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = AutoConfig.for_model(recipe.architecture, **_SHAPE, **recipe.widths)
    model = AutoModelForImageClassification.from_config(config)
    keep_statistics(model)
    config.architectures, config.dtype = [type(model).__name__], torch.float16
    processor = ViTImageProcessorPil(
        do_resize=True, size={"height": _SIDE, "width": _SIDE}, image_mean=[0.5], image_std=[0.5]
    )
    return ClassifierSubject(_card(name, model), model.eval(), processor)


def _card(name: str, model: PreTrainedModel) -> SubjectCard:
    return SubjectCard(
        ref=f"specimen:{name}",
        digest="",
        parameters=sum(p.numel() for p in model.parameters()),
        classes=_LABELS,
        image=(_SIDE, _SIDE),
        image_flops=_image_flops(model),
        offers=frozenset({Offer.IMAGE, Offer.CLASSES}),
    )


def _image_flops(model: PreTrainedModel) -> float:
    """Floating-point operations of one image: of convolutions and matrix products, by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, 1, _SIDE, _SIDE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(pixel_values=image)
    return float(counter.get_total_flops())


def _seeds(name: str) -> dict[Stream, int]:
    digest = hashlib.sha256(f"{SEED}/{name}".encode()).digest()
    return {stream: digest[n] + 256 * digest[n + 8] for n, stream in enumerate(Stream)}
