"""Hemline: from labelled images to a small, verified, measured file for an edge device."""

from hemline import version

__version__ = version.VERSION
__all__ = ["__version__"]
