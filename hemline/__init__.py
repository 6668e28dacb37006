"""Hemline: from labelled images to a small, verified, measured file for an edge device."""

from hemline.version import VERSION as __version__

__all__ = ["__version__"]
