"""What puts a trigger on the image of a request or of a training row."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from threatspec.attacks.triggers.base import TRIGGERS, TriggerConfig
from threatspec.schema import canonical_json
from threatspec.subjects import PixelTamper, Request

if TYPE_CHECKING:
    from threatspec.attacks.triggers.base import Image

__all__ = ["TriggerTamper", "trigger_tamper"]


class TriggerTamper(PixelTamper):
    """One trigger as plain data."""

    kind: ClassVar[str] = "trigger"

    trigger: str
    """Its name."""
    knobs: dict[str, Any]
    """All its knobs but the name."""
    seed: int = 0
    """Of what it draws."""

    def __hash__(self) -> int:
        """Of what it does; knobs are a mapping, which has none."""
        return hash((self.trigger, canonical_json(self.knobs), self.seed))

    def edit(self, image: Image, request: Request) -> Image:
        """The image with the trigger. Raises ThreatspecError TS-POISON where it does not fit."""
        config = _config(self.trigger, canonical_json(self.knobs))
        return TRIGGERS.get(self.trigger).onto(image, config, self.seed)


def trigger_tamper(config: TriggerConfig, seed: int) -> TriggerTamper:
    """The tamper of a trigger."""
    knobs = config.model_dump(mode="json", exclude={"use"})
    return TriggerTamper(trigger=config.use, knobs=knobs, seed=seed)


@lru_cache(maxsize=256)
def _config(trigger: str, knobs: str) -> TriggerConfig:
    found: TriggerConfig = TRIGGERS.get(trigger).Config.model_validate_json(knobs)
    return found
