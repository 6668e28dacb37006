"""The user's folders for what Hemline keeps, as the platform places them (XDG on Linux)."""

from __future__ import annotations

from pathlib import Path

from hemline.errors import HemlineError, Remedy, remedy


def cache_folder() -> Path:
    """Return the folder for what can be made again: ~/.cache/hemline, or below $XDG_CACHE_HOME.

    Raises HemlineError for a user without a home folder.
    """
    return _folder("cache", "the cache", remedy("cache folder"))


def cache_folder_if_any() -> Path | None:
    """Return the cache folder, or None for a user without a home folder."""
    try:
        return cache_folder()
    except HemlineError:
        return None


def config_folder() -> Path:
    """Return the folder for settings: ~/.config/hemline, or below $XDG_CONFIG_HOME.

    Raises HemlineError for a user without a home folder.
    """
    return _folder("config", "settings", remedy("config folder"))


def _folder(kind: str, what: str, advice: Remedy) -> Path:
    import platformdirs  # here, because few commands need it

    try:
        path: Path = getattr(platformdirs, f"user_{kind}_path")("hemline")
    except RuntimeError as error:  # a container's user may have no name and no home
        raise HemlineError(f"this user has no home folder for {what}", remedy=advice) from error
    return path
