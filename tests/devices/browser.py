"""A browser without a window: that of this machine, or one out of Debian's package, cached."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hemline.debian_packages import unpack_packages
from hemline.folders import made
from hemline.programs import ProgramError, chromium
from hemline.user_folders import cache_folder

_PACKAGE = "chromium-headless-shell"
_NEEDS_BYTES = 1300 << 20


def find_browser() -> tuple[Path, dict[str, str]]:
    """Return a browser and its environment; raises HemlineError where none can be had."""
    with contextlib.suppress(ProgramError):
        return chromium(), {}
    folder = made(cache_folder() / "browser", _unpack, needs_bytes=_NEEDS_BYTES)
    shared = (folder / "usr" / "lib").glob("*-linux-gnu*")
    # some have a folder of their own, such as pulseaudio's, which they look for in the system
    libraries = [str(part) for each in shared for part in (each, each / "pulseaudio")]
    return folder / "usr" / "lib" / "chromium" / _PACKAGE, {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries)
    }


def _unpack(folder: Path) -> None:
    unpack_packages([_PACKAGE, "fonts-dejavu-core"], folder)


@contextlib.contextmanager
def opened_browser(*options: str) -> Iterator[Any]:
    """Yield Playwright's browser; `options` are further ones. It is closed when the block ends."""
    from playwright.sync_api import sync_playwright

    path, variables = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, env={**os.environ, **variables}, args=["--no-sandbox", *options]
        )
        try:
            yield browser
        finally:
            browser.close()


def opened_page(browser: Any, path: Path, *, width: int = 1280, **options: Any) -> Any:
    """Open a file from the disk and wait until its plots are drawn."""
    viewport = {"width": width, "height": 900}
    page = browser.new_context(viewport=viewport, **options).new_page()
    page.goto(path.absolute().as_uri())
    if options.get("java_script_enabled", True) and page.locator("[data-plot]").count():
        page.locator("html[data-drawn]").wait_for(state="attached")
    return page
