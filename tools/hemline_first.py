"""Find the checkout's `hemline` where a folder of that name would hide it.

A script beside a clone named hemline/ would import the clone's own folder, as a namespace package
without modules, because an editable install is asked last. Run as a program, this file installs
itself into the environment of the Python that runs it; from then on each start imports it.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


class NamespaceIsNotHemline:
    """A finder that asks the editable install where the path has only a folder without code."""

    @staticmethod
    def find_spec(  # noqa: D102 — of MetaPathFinder
        name: str, path: Sequence[str] | None = None, _: object = None
    ) -> ModuleSpec | None:
        if name != "hemline":
            return None
        found = PathFinder.find_spec(name, path)
        if found is None or found.origin is not None:
            return found
        editable = (each for each in sys.meta_path if "__editable___hemline" in each.__module__)
        return next((each.find_spec(name, path) for each in editable), None)


if __name__ == "__main__":
    installed = Path(sysconfig.get_path("purelib"))
    shutil.copy(__file__, installed)
    (installed / "hemline_first.pth").write_text("import hemline_first\n")
else:
    sys.meta_path.insert(0, NamespaceIsNotHemline)  # type: ignore[arg-type]
