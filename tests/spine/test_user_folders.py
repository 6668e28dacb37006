"""The user's folders: where XDG places them, and an error for a user without a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from hemline.errors import HemlineError
from hemline.remedies import described
from hemline.user_folders import cache_folder, config_folder


def test_the_folders_are_those_of_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache" / "hemline"
    assert config_folder() == tmp_path / "config" / "hemline"
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "relative")  # to be ignored, says the specification
    monkeypatch.setenv("HOME", "/home/user")
    assert cache_folder() == Path("/home/user/.cache/hemline")
    assert config_folder() == Path("/home/user/.config/hemline")


def test_a_user_without_a_home_folder_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(HemlineError, match="no home folder for the cache") as caught:
        cache_folder()
    assert "set XDG_CACHE_HOME to a folder" in described(caught.value)
    with pytest.raises(HemlineError, match="no home folder for settings") as caught:
        config_folder()
    assert "set XDG_CONFIG_HOME to a folder" in described(caught.value)
