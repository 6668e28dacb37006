"""The pack for programs in JavaScript: the engine of web pages, WebAssembly, and vectors."""

from __future__ import annotations

import shutil
from importlib.resources import files as resources
from pathlib import Path

from hemline.export.pack.packed import Contents, Packed, filled
from hemline.export.pack.vectors import write_vectors
from hemline.export.pack.web.filling import page_component, page_runtime
from hemline.npm_packages import fetched
from hemline.runtime.page.writing import PACKAGES

_SAMPLE = Path(__file__).parent / "js"
_MODULES = ("pixels.js", "engine.js", "decoder.js")


def fill(folder: Path, packed: Packed) -> Contents:
    """Write sample, self-test, engine, WebAssembly, vectors and artifact into a folder.

    Raises DataError when the package of the runtime cannot be fetched.
    """
    package, start = PACKAGES[packed.artifact.format]
    component = page_component(packed)
    facts = {"ARTIFACT": packed.artifact.name, "RUNTIME": f"{component.name} {component.version}"}
    for path in _SAMPLE.iterdir():
        if path.name != "use.md":
            (folder / path.name).write_text(filled(path.read_text(), facts))
    for name in _MODULES:
        content = (resources("hemline.runtime") / "web" / name).read_bytes()
        (folder / name).write_bytes(content)
    for path in (packed.path, *fetched(package).glob(f"{start}*")):
        shutil.copyfile(path, folder / path.name)
    write_vectors(folder, packed)
    return Contents(
        runtime=page_runtime(packed),
        use=filled((_SAMPLE / "use.md").read_text(), facts),
        components=(component,),
    )
