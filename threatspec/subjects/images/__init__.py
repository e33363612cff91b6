"""Images that subjects are shown: where they come from, and what is done to them. No torch."""

from threatspec.subjects.images._read import KINDS, image_of, read_image, require_known
from threatspec.subjects.images._sources import PACKAGED, Packaged

__all__ = ["KINDS", "PACKAGED", "Packaged", "image_of", "read_image", "require_known"]
