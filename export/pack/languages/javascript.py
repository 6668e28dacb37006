"""The pack for programs in JavaScript: the engine of web pages, WebAssembly, and vectors."""

from __future__ import annotations

import shutil
from pathlib import Path

from hemline.export.pack.languages.filling import write_sample
from hemline.export.pack.packed import Contents, Packed
from hemline.export.pack.web.filling import page_component, page_runtime
from hemline.npm_packages import fetched
from hemline.runtime.page.writing import MODULES, PACKAGES, WEB


def fill(folder: Path, packed: Packed) -> Contents:
    """Write sample, self-test, engine, WebAssembly, vectors and artifact into a folder.

    Raises DataError when the package of the runtime cannot be fetched.
    """
    package, pattern = PACKAGES[packed.artifact.format]
    component = page_component(packed)
    for path in (*fetched(package).glob(pattern), *(WEB / name for name in MODULES)):
        shutil.copyfile(path, folder / path.name)
    runtime = f"{component.name} {component.version}"
    facts = {"ARTIFACT": packed.artifact.name, "RUNTIME": runtime}
    use = write_sample(folder, packed, facts)
    return Contents(runtime=page_runtime(packed), use=use, components=(component,))
