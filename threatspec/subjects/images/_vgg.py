"""VGG in the manner of `transformers`, which has none: its configuration and model, registered.

Source: arXiv 1409.1556, section 2.1 (convolutions of 3 x 3 between halvings); batch norm after each
convolution is optional, as is customary since arXiv 1502.03167. Written for this program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

__all__ = ["VggConfig", "VggForImageClassification"]

_HALVING = "M"


class VggConfig(PretrainedConfig):  # type: ignore[misc]
    """Widths of a VGG.

    Args:
        num_channels: of images.
        image_size: height and width of images, in pixels.
        features: widths of convolutions in turn, with `M` where the map is halved.
        batch_norm: whether it follows every convolution.
        hidden: widths of the layers between the last map and the logits.
        dropout: after each of them.
    """

    model_type = "threatspec-vgg"

    def __init__(
        self,
        num_channels: int = 1,
        image_size: int = 28,
        features: Sequence[int | str] = (8, "M", 16, "M", 32, "M"),
        batch_norm: bool = True,
        hidden: Sequence[int] = (32,),
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.num_channels = num_channels
        self.image_size = image_size
        self.features = list(features)
        self.batch_norm = batch_norm
        self.hidden = list(hidden)
        self.dropout = dropout
        super().__init__(**kwargs)


class VggForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """Convolutions, halvings, and linear layers, every one a module that follows another."""

    config_class = VggConfig
    base_model_prefix = "vgg"
    main_input_name = "pixel_values"

    def __init__(self, config: VggConfig) -> None:
        super().__init__(config)
        self.features = nn.Sequential(*_features(config))
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(*_classifier(config))
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> ImageClassifierOutputWithNoAttention:
        """Logits (n, classes) of images (n, channels, height, width)."""
        logits = self.classifier(self.flatten(self.features(pixel_values)))
        return ImageClassifierOutputWithNoAttention(logits=logits)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As arXiv 1502.01852 has it for what is rectified."""
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            mode: Literal["fan_out", "fan_in"]
            mode = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def _features(config: VggConfig) -> Iterator[nn.Module]:
    before = config.num_channels
    for width in config.features:
        if width == _HALVING:
            yield nn.MaxPool2d(2)
            continue
        yield nn.Conv2d(before, int(width), 3, padding=1)
        if config.batch_norm:
            yield nn.BatchNorm2d(int(width))
        yield nn.ReLU()
        before = int(width)


def _classifier(config: VggConfig) -> Iterator[nn.Module]:
    widths = [int(width) for width in config.features if width != _HALVING]
    side = config.image_size // 2 ** config.features.count(_HALVING)
    before = (widths[-1] if widths else config.num_channels) * side**2
    for width in config.hidden:
        yield nn.Linear(before, width)
        yield nn.ReLU()
        yield nn.Dropout(config.dropout)
        before = width
    yield nn.Linear(before, config.num_labels)


AutoConfig.register(VggConfig.model_type, VggConfig)
AutoModelForImageClassification.register(VggConfig, VggForImageClassification)
