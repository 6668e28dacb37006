"""The pack of a web page: static files for any host, or one file to double click."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemline.contract.manifest import Verdict
from hemline.contract.specs import version_key
from hemline.errors import GateError
from hemline.export.pack.bill_of_materials import npm_component
from hemline.export.pack.packed import Component, Contents, Packed, filled_file
from hemline.files import read_bytes
from hemline.pictures.pixels import Pixels
from hemline.runtime.page.writing import PACKAGES, ClassifyingPage, write_page
from hemline.runtime.similar.page_images import page_images

_HERE = Path(__file__).parent
_LARGEST_BYTES = 100_000_000  # of a file on static hosts such as GitHub Pages
_EXAMPLES = 12  # at most, one of each class
# of each format: the runtime whose build for browsers the page has; its wheel has the licence
_RUNTIMES = {"tflite": ("litert", "Apache-2.0", "ai-edge-litert"),
             "onnx": ("onnxruntime", "MIT", "onnxruntime")}  # fmt: skip


def page_runtime(packed: Packed) -> Verdict:
    """Return the verdict of the runtime that a page has too; raises GateError where it cannot."""
    artifact, dtype = packed.artifact, packed.stamp.input.dtype
    if dtype == "int16":
        raise GateError(f"{artifact.name} takes {dtype} pixels, which pages cannot run")
    if artifact.size_bytes > _LARGEST_BYTES:
        raise GateError(
            f"{artifact.name} has {artifact.size_bytes:,} bytes: a page can have {_LARGEST_BYTES:,}"
        )
    runtime = _RUNTIMES[artifact.format][0]
    usable = [each for each in packed.passed if each.runtime == runtime]
    if not usable:
        raise GateError(f"{artifact.name} did not pass in {runtime}, which runs it in a page")
    return max(usable, key=lambda verdict: version_key(verdict.version))


def fill(folder: Path, packed: Packed) -> Contents:
    """Write the page into a folder; raises DataError when its runtime cannot be fetched."""
    index = packed.options.similar
    page = ClassifyingPage(
        title=packed.bundle.resolve().name,
        artifact=read_bytes(packed.path),
        stamp=packed.stamp,
        examples=_examples(packed),
        similar=None if index is None else page_images(index, [packed.stamp]),
    )
    write_page(folder, page, single_file=packed.options.single_file)
    component = page_component(packed)
    use = "use_file.md" if packed.options.single_file else "use.md"
    runtime = f"{component.name} {component.version}"
    return Contents(
        runtime=page_runtime(packed),
        use=filled_file(_HERE / use, {"RUNTIME": runtime}),
        components=(component,),
    )


def page_component(packed: Packed) -> Component:
    """Return the package that runs the artifact in WebAssembly."""
    _, licence, wheel = _RUNTIMES[packed.artifact.format]
    return npm_component(PACKAGES[packed.artifact.format][0], licence, wheel)


def _examples(packed: Packed) -> tuple[tuple[str, Pixels], ...]:
    """Return (class, pixels) of a validation image of each class; only published images."""
    if (split := packed.published_images()) is None:
        return ()
    return tuple(
        (name, np.array(split.images[found[0]]))
        for at, name in enumerate(packed.stamp.labels[:_EXAMPLES])
        if (found := np.flatnonzero(split.labels == at)).size
    )
