"""Open an untrusted model in every runtime, each in a confined process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hemline import files
from hemline.contract.specs import Format
from hemline.errors import BackendError, FileFormatError
from hemline.export.admission.confined import (
    change_form,
    describe,
    to_channels_last,
    with_weights_inside,
)
from hemline.export.admission.descriptions import Description
from hemline.export.admission.forms import form_of
from hemline.export.admission.specs import takes_channels_first
from hemline.export.admission.structure import Structure, structure_of
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import Backend
from hemline.runtime.discovery import installed_backends, none_installed

Opened = dict[Backend, Description]


def read_model(path: Path) -> tuple[bytes, Structure]:
    """Return a model with all its weights, and what it is made of.

    Raises FileFormatError for a file that is not a model, BackendError for weights beside an ONNX
    file that cannot be read.
    """
    content = files.read_bytes(path)
    structure = structure_of(path, content)
    if not structure.external:
        return content, structure
    with TemporaryFolder() as name:
        whole = Path(name) / path.name
        with_weights_inside(path, whole)
        content = files.read_bytes(whole)
    structure = structure_of(path, content)
    if structure.external:  # a parser that reads fewer places than this one looks at
        raise FileFormatError(f"{path} stores its weights in another file: save it as one file")
    return content, structure


def open_in_all(
    folder: Path,
    shown: Path,
    structure: Structure,
    classes: int,
    size: tuple[int, int] | None,
    say: Callable[[str], None],
) -> tuple[bytes, Opened]:
    """Return a model for (n, height, width, channels) and its description by each runtime.

    `shown` is the file in errors, `size` that of the user's images, if any. Raises
    FileFormatError for a model that no runtime opens, or that is not an image classifier;
    BackendError when there is no runtime.
    """
    model = folder / f"model.{structure.format}"
    files.write_bytes(model, structure.model)
    opened = _opened(model, shown, say)
    first = next(iter(opened.values()))
    form = form_of(first, classes, size, structure.format, shown, say)
    if form is not None:
        changed = folder / f"changed.{structure.format}"
        change_form(model, changed, form, shown=shown)
        return files.read_bytes(changed), _opened(changed, shown, say)
    if not takes_channels_first(next(iter(opened.values())), shown):
        return structure.model, opened
    if structure.format != "onnx":
        raise FileFormatError(
            f"{shown} expects channels before height and width: convert it again for (1, height, "
            "width, channels)"
        )
    turned = folder / "turned.onnx"
    to_channels_last(model, turned, shown=shown)
    say("expects channels first: the copy transposes its input")
    return files.read_bytes(turned), _opened(turned, shown, say)


def _opened(model: Path, shown: Path, say: Callable[[str], None]) -> Opened:
    file_format: Format = "onnx" if model.suffix == ".onnx" else "tflite"
    opened, reasons = Opened(), []
    for backend in installed_backends(file_format):
        try:
            found = describe(backend, model, shown=shown)
        except BackendError as error:
            say(f"not tested in {backend.name}: {error}")
            continue
        if found.refused:
            reasons.append(f"{backend.name} {found.version}: {found.refused}")
        else:
            opened[backend] = found
    if reasons and not opened:
        raise FileFormatError(f"{shown} is rejected by {'; '.join(reasons)}")
    if not opened:
        raise none_installed(file_format)
    for reason in reasons:
        say(f"rejected by {reason}")
    return opened
