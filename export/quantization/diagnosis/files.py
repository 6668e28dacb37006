"""Diagnose a finished file of any origin against its float source, by the values in both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hemline.child_process import how_it_ended, run_child
from hemline.contract.card import Card
from hemline.contract.checkpoint import read_card
from hemline.data.fetch import FetchOptions
from hemline.errors import FileFormatError, HemlineError
from hemline.export.pixel_scale import PixelScale
from hemline.export.quantization import simulation
from hemline.export.quantization.diagnosis.causes import CLIPPED, LOOSE, WIDE
from hemline.export.quantization.diagnosis.document import Diagnosis, LayerReport
from hemline.export.quantization.diagnosis.layers import layer_report
from hemline.export.quantization.diagnosis.losses import loss_of, require_sense
from hemline.export.quantization.diagnosis.measures import Observation
from hemline.export.quantization.diagnosis.text import short
from hemline.export.sources.table import open_source
from hemline.export.trained_data import split_of, trained_images
from hemline.export.user_images import GENERATED
from hemline.folders import TemporaryFolder
from hemline.safe_path import module_command
from hemline.silence import silenced
from hemline.train.tensorflow import quiet_keras

Floats = npt.NDArray[np.float32]
_SECONDS = 600.0
_IMAGES = 500  # whose outputs are compared
_TAPPED = 32  # whose values in between are
_QUIET = 40.0  # decibels: what rounding an output of usual spread to 8 bits leaves
_STEEP = 10.0  # decibels that one layer must lose to be named
_NOISY = 20.0  # decibels: above it hardly any label changes
_PROBABILITY = 1e-9  # the least; below it a logarithm says nothing
_GENERATED = "generated images say little: name yours, with labels if there are any"
_NO_TAPS = (
    "no value has the same name in both files: only their outputs were compared; the layers can "
    "be measured where both were made by one converter"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tapped:
    """The values in a file: names in its order, operators, ends of their grids, float32 arrays."""

    names: tuple[str, ...]
    operators: tuple[str, ...]
    ends: npt.NDArray[np.float64]
    values: tuple[Floats, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePair:
    """A finished file and the float model that it was made from, on the same images.

    file: that is diagnosed.
    layers: a file of the same predictions whose values in between are compared by name with those
        of `raw`, the float model's file; both None where there is none.
    inputs: float32 (n, h, w, c), as both take the images; labels: uint8 (n,) or None.
    reference: logits of the float model, float32 (n, classes); outputs: those of the file, or None
        to run it.
    subject, source, split, notes: as the document has them.
    """

    file: Path
    layers: Path | None
    raw: Path | onnx.ModelProto | None
    inputs: Floats
    labels: npt.NDArray[np.uint8] | None
    reference: Floats
    subject: str
    source: str
    split: str
    outputs: Floats | None = None
    notes: tuple[str, ...] = ()


def compare(pair: FilePair) -> Diagnosis:
    """Diagnose a file by what it and its float model give, and by the values in both.

    Raises FileFormatError for a file that does not run, DataError for a float model whose outputs
    say nothing.
    """
    require_sense(pair.reference)
    outputs = pair.outputs
    if outputs is None:
        outputs = _log_outputs(tap(pair.file, pair.inputs, output_only=True).values[-1])
    if outputs.shape != pair.reference.shape:
        raise FileFormatError(
            f"{pair.file} gives outputs of shape {outputs.shape[1:]}, its float model of "
            f"{pair.reference.shape[1:]}"
        )
    some = pair.inputs[:_TAPPED]
    layers: tuple[LayerReport, ...] = ()
    if pair.layers is not None and pair.raw is not None:
        layers = _layers(tap(pair.layers, some), tap(pair.raw, some))
    falls = _falls(layers)
    labels, right = pair.labels, pair.reference.argmax(axis=1) == pair.labels
    return Diagnosis(
        subject=pair.subject,
        source=pair.source,
        split=pair.split,
        images=len(pair.inputs),
        labelled=labels is not None,
        float_accuracy=None if labels is None else float(np.mean(right)),
        loss=loss_of(outputs, pair.reference, labels),
        layers=tuple(sorted(layers, key=lambda each: -falls[each.name])),
        causes=(),
        notes=(*_entry(layers), *pair.notes, *(() if layers else (_NO_TAPS,))),
    )


def imported_pair(
    path: Path, checkpoint: Path, raw: Path | None, data: FetchOptions, source: str
) -> FilePair:
    """Return a file made elsewhere beside its float model, which was imported as a checkpoint.

    raw: the float model's own file; None without one, or for one of another format. Raises
    DataError for images that do not fit.
    """
    quiet_keras()
    card = read_card(checkpoint)
    found = trained_images(card, data, checkpoint=checkpoint)
    held_out = list(split_of(card, found).validation_indices)[:_IMAGES]
    images = found.train_images[held_out]
    with open_source(card.model.source, checkpoint / card.model.file) as opened, silenced():
        reference = simulation.float_logits(opened.float_graph, images)
    generated = found.dataset.name == GENERATED
    return FilePair(
        file=path,
        layers=None if raw is None else path,
        raw=raw,
        inputs=_inputs(card, images),
        labels=found.train_labels[held_out] if found.labelled else None,
        reference=reference,
        subject=str(path),
        source=source,
        split=GENERATED if generated else "validation",
        notes=(_GENERATED,) if generated else (),
    )


def tap(model: Path | onnx.ModelProto, inputs: Floats, *, output_only: bool = False) -> Tapped:
    """Run a model in a process of its own; raises FileFormatError when that fails."""
    with TemporaryFolder() as name:
        path = model if isinstance(model, Path) else Path(name) / "model.onnx"
        if not isinstance(model, Path):
            path.write_bytes(model.SerializeToString())
        images, result = Path(name) / "images.npy", Path(name) / "result.npz"
        np.save(images, inputs)
        command = (
            *module_command("hemline.export.quantization.diagnosis.taps"),
            *(str(path.resolve()), str(images), str(result)),
            *(["output"] if output_only else []),
        )
        try:
            done = run_child(command, seconds=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise HemlineError(f"{path} did not run {len(inputs)} images in time") from error
        if done.returncode != 0:
            how = how_it_ended(done.returncode, done.stderr.decode("utf-8", "replace"))
            raise FileFormatError(f"{path} does not run {how}")
        with np.load(result) as arrays:
            count = len(arrays["names"])
            return Tapped(
                names=tuple(map(str, arrays["names"])),
                operators=tuple(map(str, arrays["operators"])),
                ends=arrays["ends"],
                values=tuple(arrays[str(at)] for at in range(count)),
            )


def _inputs(card: Card, images: npt.NDArray[np.uint8]) -> Floats:
    """Return images as the float model's file takes them."""
    origin = card.imported
    if origin is None:
        return images.astype(np.float32)
    return PixelScale(mean=origin.mean, std=origin.std, bgr=origin.bgr).values(images)


def _log_outputs(outputs: Floats) -> Floats:
    """Return logits, or the logarithms of probabilities."""
    flat = outputs.reshape(len(outputs), -1)
    sums = flat.sum(axis=1)
    if flat.min() >= 0 and np.abs(sums - 1).max() < 0.1:
        return np.asarray(np.log(np.maximum(flat, _PROBABILITY)))
    return flat


def _layers(file: Tapped, raw: Tapped) -> tuple[LayerReport, ...]:
    """Return the values that both files have by one name and shape, in the order of the file."""
    exact = dict(zip(raw.names, raw.values, strict=True))
    found = []
    for at, name in enumerate(file.names):
        value = exact.get(name)
        on_grid = bool(np.isfinite(file.ends[at]).all())
        if value is not None and value.shape == file.values[at].shape and on_grid:
            seen = Observation(*map(float, file.ends[at]))
            seen.add(value, file.values[at])
            found.append(layer_report(seen, name=name, operator=file.operators[at]))
    return tuple(found)


def _falls(layers: tuple[LayerReport, ...]) -> dict[str, float]:
    """Return by how many decibels the SQNR of each layer is below that of the layer before."""
    levels = [_QUIET, *(each.sqnr_db if each.sqnr_db is not None else _QUIET for each in layers)]
    return {each.name: levels[at] - levels[at + 1] for at, each in enumerate(layers)}


def _entry(layers: tuple[LayerReport, ...]) -> Iterator[str]:
    """Yield where the noise enters, if that is one layer."""
    falls = _falls(layers)
    worst = max(layers, key=lambda each: falls[each.name], default=None)
    if worst is None or worst.sqnr_db is None:
        return
    if falls[worst.name] < _STEEP or worst.sqnr_db > _NOISY:
        return
    before = worst.sqnr_db + falls[worst.name]
    symptom = _symptom(worst)
    yield (
        f"the noise enters at {short(worst.name)}: its SQNR is {worst.sqnr_db:.1f} dB, that of the "
        f"layer before {before:.1f} dB{f'; {symptom}' if symptom else ''}"
    )


def _symptom(layer: LayerReport) -> str:
    """Return what is striking about a layer, if anything."""
    widest = layer.worst_channels[0]
    if layer.range_ratio > LOOSE:
        return f"its range is {layer.range_ratio:.1f} × as wide as the images need"
    if layer.clipped_share > CLIPPED:
        return f"{100 * layer.clipped_share:.0f} % of its values are clipped"
    if widest.activation_ratio > WIDE:
        return f"channel {widest.channel} is {widest.activation_ratio:.0f} × as wide as the rest"
    return ""
