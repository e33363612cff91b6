"""What a trigger is: a change of an image that a backdoored model answers to.

Triggers are a table: a row has a name, a sentence, a source, knobs, a bound of its change and the
function from bytes to bytes. What is drawn follows from knobs and a seed, and for triggers that are
another one on every image from a hash of the image too; nothing else is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from threatspec.errors import ThreatspecError
from threatspec.registry import Registry
from threatspec.schema import Described

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

__all__ = ["TRIGGERS", "Trigger", "TriggerConfig"]


class TriggerConfig(Described):
    """Knobs of a trigger."""

    use: str
    """Name of the trigger."""


class Trigger(ABC):
    """One way of marking an image."""

    kind: ClassVar[str]
    """Name in the registry and in YAML."""
    says: ClassVar[str]
    """What it does, in one plain sentence."""
    source: ClassVar[str]
    """Where it is described; `ours` where the program's own reading stands in for a generator that
    does not come with it."""
    per_image: ClassVar[bool] = False
    """Whether it is another one on every image."""
    Config: ClassVar[type[TriggerConfig]]

    def least(self, config: Any) -> int:
        """Height and width that an image must have, in pixels."""
        return 1

    def most(self, config: Any) -> float:
        """Bound of the change of any channel of any pixel (0 to 1)."""
        return 1.0

    @abstractmethod
    def drawn(self, image: Image, config: Any, seed: int) -> Image:
        """The marked image; `image` is left as it is."""

    def onto(self, image: Image, config: Any, seed: int) -> Image:
        """The marked image: (height, width, channels) bytes, as before.

        Raises ThreatspecError TS-POISON for an image that the trigger does not fit on.
        """
        self.require_room(config, *image.shape[:2])
        return self.drawn(image, config, seed)

    def require_room(self, config: Any, height: int, width: int) -> None:
        """Raises ThreatspecError TS-POISON for an image that the trigger does not fit on."""
        least = self.least(config)
        if min(height, width) < least:
            text = f"trigger {self.kind} must fit on the image, but takes {least} x {least} pixels "
            raise ThreatspecError("TS-POISON", f"{text}of {height} x {width}; make it smaller")


def blended(image: Image, pattern: Any, alpha: float) -> Image:
    """`(1 - alpha) image + alpha pattern`; the change is cut to whole levels, towards none."""
    import numpy as np

    own = image.astype(np.float64)
    change = np.fix(alpha * (np.asarray(pattern, dtype=np.float64) - own) + 0.0)
    return (own + change).astype(np.uint8)


def shifted(image: Image, change: Any) -> Image:
    """The image plus `change` in levels, cut to whole ones towards none and to 0 to 255."""
    import numpy as np

    found: Image = np.clip(image + np.fix(change), 0, 255).astype(np.uint8)
    return found


TRIGGERS: Registry[Trigger] = Registry(
    "trigger",
    "TS-UNKNOWN-NAME",
    (
        "threatspec.attacks.triggers.blends",
        "threatspec.attacks.triggers.natural",
        "threatspec.attacks.triggers.patches",
        "threatspec.attacks.triggers.quantised",
        "threatspec.attacks.triggers.sampled",
        "threatspec.attacks.triggers.waves",
    ),
    base=Trigger,
)
"""All triggers by name."""
