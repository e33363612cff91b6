"""CIFAR-10 in its binary version: 3,073 bytes an image, a label and three planes of 32 x 32.

Source: the page of the set, https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from threatspec.subjects.images._names import number_below, unique_names
from threatspec.subjects.images.folders._base import (
    ImageFolder,
    Part,
    bad_layout,
    first_that_is,
    unknown_image,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Cifar10"]

_SIDE = 32
_RECORD = 1 + 3 * _SIDE * _SIDE
_FILES: dict[Part, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
    "test": ("test_batch.bin",),
}
_PLACES = ("cifar-10-batches-bin", ".")
_PICKLED = ("cifar-10-batches-py", "data_batch_1")
_NAMES = "batches.meta.txt"
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
            "truck")  # fmt: skip
"""In the order of the set's batches.meta.txt, which is read where it is there."""


class Cifar10(ImageFolder):
    """Ten kinds of things in 32 x 32 pixels."""

    kind: ClassVar[str] = "cifar10"
    says: ClassVar[str] = "60,000 coloured images of 32 x 32 pixels in ten classes (CIFAR-10)"
    licence: ClassVar[str] = "none stated by its authors"
    source: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html"

    @classmethod
    def held(cls, path: Path) -> Iterator[Path]:
        """Batches and names of classes."""
        for name in _PLACES:
            for files in (*_FILES.values(), (_NAMES,)):
                yield from (path / name / file for file in files)

    @cached_property
    def _folder(self) -> Path:
        for name in _PLACES:
            if all((self.path / name / file).is_file() for file in _FILES["test"]):
                return self.path / name
        if first_that_is(self.path, _PICKLED):
            text = "it has the version for Python, a pickle, which runs whatever is in it when it "
            text += f"is read; get cifar-10-binary.tar.gz from {self.source} and unpack it there"
            raise bad_layout(self, "hold the binary version of CIFAR-10", text)
        text = "test_batch.bin is neither there nor in cifar-10-batches-bin"
        raise bad_layout(self, "hold the binary version of CIFAR-10", text)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Of batches.meta.txt, if it is there."""
        path = self._folder / _NAMES
        names = path.read_text("utf-8").split() if path.is_file() else _CLASSES
        if len(names) != len(_CLASSES):
            raise bad_layout(self, "name ten classes", f"batches.meta.txt has {len(names)}")
        return unique_names(names)

    @cached_property
    def _records(self) -> dict[Part, NDArray[np.uint8]]:
        """(images, 3,073) of every part."""
        import numpy as np

        found = {}
        for part, names in _FILES.items():
            parts = [self._file(self._folder / name) for name in names]
            found[part] = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return found

    def _file(self, path: Path) -> NDArray[np.uint8]:
        import numpy as np

        if not path.is_file():
            raise bad_layout(self, "hold all batches", f"{path.name} is not there")
        size = path.stat().st_size
        if size == 0 or size % _RECORD:
            text = f"{path.name} has {size:,} bytes; it was cut, or is another file"
            raise bad_layout(self, f"hold whole images of {_RECORD:,} bytes", text)
        found = np.fromfile(path, dtype=np.uint8).reshape(-1, _RECORD)
        if found[:, 0].max() >= len(_CLASSES):
            text = f"{path.name} has a label {found[:, 0].max()}"
            raise bad_layout(self, "have labels 0 to 9", text)
        return found

    def entries(self, part: Part) -> Sequence[tuple[str, int]]:
        """Images are named by their numbers, in the order of the batches."""
        labels = self._records[part][:, 0].tolist()
        return [(str(number), label) for number, label in enumerate(labels)]

    def image(self, part: Part, name: str) -> NDArray[np.uint8]:
        """The image of a number."""
        records = self._records[part]
        number = number_below(name, len(records))
        if number is None:
            raise unknown_image(self, f"{part}/{name}", (f"{part}/0", f"{part}/{len(records) - 1}"))
        return records[number, 1:].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0).copy()

    @cached_property
    def digest(self) -> str:
        """sha256 of all batches."""
        found = hashlib.sha256()
        for records in self._records.values():
            found.update(records.data)
        return found.hexdigest()
