"""Rushes under one name: the folders of the repository, linked here so that nothing else of their names is in the way."""

from rushes.shared import __version__

__all__ = ["__version__"]
