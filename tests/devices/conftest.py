"""Fixtures of the tests on stand-ins for devices."""

from __future__ import annotations

import os

import pytest

CACHE = os.environ.get("XDG_CACHE_HOME")  # before a fixture sets another one for each test


@pytest.fixture
def warm_cache(_no_user_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a stand-in downloads (up to hundreds of MB) in the user's own cache."""
    if CACHE is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
