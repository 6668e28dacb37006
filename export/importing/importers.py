"""The importers: every kind of model file that can be imported, and the process that reads one.

A file from elsewhere is read in a child process with limits. The child writes into a folder:

    model.onnx      the model in float, with the source's own input layout: one input, one output
    reference.npz   inputs and outputs of the source in its own runtime
    facts.json      SourceFacts
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from hemline.child_process import how_it_ended, run_child
from hemline.contract import schema
from hemline.errors import FileFormatError, HemlineError, Remedy, UsageError, remedy
from hemline.export.pixel_scale import PixelScale
from hemline.files import read_json
from hemline.safe_path import module_command

CONVERSION_SECONDS = 600.0  # a large Keras file takes one minute on two cores
_RESULT = "facts.json"
_PYTORCH = (".pt", ".pth", ".safetensors", ".ckpt", ".bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """What a converter found in a file.

    kind: name in the IMPORTERS table.
    labels: class names that the file has; empty without.
    scale: what pixels become, where the file says so; None otherwise.
    versions: packages that read it.
    """

    kind: str
    labels: tuple[str, ...] = ()
    scale: PixelScale | None = None
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """A row of the IMPORTERS table.

    name: kind of the model, as a card has it.
    summary: one line for help and tables.
    opener: "module:function" (path, ConversionOptions) → OpenedModel.
    """

    name: str
    summary: str
    opener: str


def _importer(name: str, summary: str, opener: str) -> Importer:
    return Importer(name=name, summary=summary, opener=f"hemline.export.importing.{opener}")


IMPORTERS: dict[str, Importer] = {
    row.name: row
    for row in (
        _importer("keras", "a Keras 3 model", "keras_file:open_keras"),
        _importer("keras2", "a Keras 2 model", "keras_file:open_keras2"),
        _importer("saved-model", "a TensorFlow SavedModel", "saved_model:open_saved_model"),
        _importer("tflite", "a float TFLite model", "tflite_file:open_tflite"),
        _importer("onnx", "a float ONNX model", "onnx_file:open_onnx"),
    )
}


def find_kind(path: Path) -> Importer:
    """Return the importer of a file or folder, by its content where the ending leaves it open.

    Raises UsageError for a path that has none.
    """
    if path.suffix in _PYTORCH:
        raise UsageError(
            f"{path} contains PyTorch weights without the model's code",
            remedy=remedy("from pytorch"),
        )
    if _is_saved_model(path):
        return IMPORTERS["saved-model"]
    if path.is_dir():
        raise UsageError(f"{path} is neither a checkpoint nor a SavedModel (no saved_model.pb)")
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    if path.suffix in (".onnx", ".tflite"):
        return IMPORTERS[path.suffix[1:]]
    if path.suffix in (".keras", ".h5", ".hdf5"):
        from hemline.export.importing.keras_config import is_keras2

        return IMPORTERS["keras2" if is_keras2(path) else "keras"]
    raise UsageError(
        f"{path} cannot be imported: it is not a .keras, .h5, .tflite or .onnx file, or a "
        "SavedModel folder"
    )


def _is_saved_model(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def convert(
    path: Path, kind: str, folder: Path, *, trust: bool = False, size: tuple[int, int] | None = None
) -> SourceFacts:
    """Convert a model in a child process into `folder`; `size` is for open height and width.

    With `trust`, code that the file holds is run. Raises FileFormatError for what cannot be
    imported, with its reason; HemlineError when the child is killed or takes too long.
    """
    height, width = size or (0, 0)
    command = (
        *module_command("hemline.export.importing.conversion"),
        *(kind, str(path.resolve()), str(folder), str(height), str(width)),
        *(["trust"] if trust else []),
    )
    try:
        done = run_child(command, seconds=CONVERSION_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise HemlineError(
            f"{path} was not converted in {CONVERSION_SECONDS:g} s: it is too large for an edge "
            "device, or it hangs"
        ) from error
    except OSError as error:
        raise HemlineError(f"cannot start the process that reads {path}: {error}") from error
    refusal = folder / "refusal.json"
    if refusal.is_file():
        found = read_json(refusal)
        raise FileFormatError(
            f"{path} {found['reason']}",
            remedy=Remedy(found["remedy"], found["facts"]) if found["remedy"] else None,
        )
    if done.returncode != 0 or not (folder / _RESULT).is_file():
        how = how_it_ended(done.returncode, done.stderr.decode("utf-8", "replace"))
        memory = ": it may need more memory than is allowed" if done.returncode < 0 else ""
        raise FileFormatError(f"{path} ended the process that read it {how}{memory}")
    return schema.load(SourceFacts, folder / _RESULT)
