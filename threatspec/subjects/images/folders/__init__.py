"""Image data that users have as folders, in the layouts in which they are published. No torch."""

from threatspec.subjects.images.folders._base import PARTS, ImageFolder, Part
from threatspec.subjects.images.folders._find import FOLDERS, image_folder, is_folder_name

__all__ = ["FOLDERS", "PARTS", "ImageFolder", "Part", "image_folder", "is_folder_name"]
