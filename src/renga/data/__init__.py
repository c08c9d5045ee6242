"""Data for systems: labelled images from packages and files."""

from renga.data._images import DataError, Images, load_images

__all__ = ["DataError", "Images", "load_images"]
