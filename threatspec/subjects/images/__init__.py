"""Images that subjects are shown: where they come from, and what is done to them. No torch."""

from threatspec.subjects.images._read import image_of, read_image
from threatspec.subjects.images._sources import PACKAGED, Packaged

__all__ = ["PACKAGED", "Packaged", "image_of", "read_image"]
