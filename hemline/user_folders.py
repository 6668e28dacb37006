"""The user's folders for what Hemline keeps, as the platform places them (XDG on Linux)."""

from __future__ import annotations

from pathlib import Path

from hemline.errors import HemlineError, remedy

_NAME = "hemline"


def cache_folder() -> Path:
    """Return the folder for what can be made again: ~/.cache/hemline, or below $XDG_CACHE_HOME.

    Raises HemlineError for a user without a home folder.
    """
    import platformdirs  # here, because few commands need it

    try:
        return platformdirs.user_cache_path(_NAME)
    except RuntimeError as error:  # a container's user may have no name and no home
        raise HemlineError(
            "this user has no home folder for the cache", remedy=remedy("cache folder")
        ) from error


def config_folder() -> Path:
    """Return the folder for settings: ~/.config/hemline, or below $XDG_CONFIG_HOME.

    Raises HemlineError for a user without a home folder.
    """
    import platformdirs  # here, because few commands need it

    try:
        return platformdirs.user_config_path(_NAME)
    except RuntimeError as error:
        raise HemlineError(
            "this user has no home folder for settings", remedy=remedy("config folder")
        ) from error
