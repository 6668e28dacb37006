"""What is diagnosed: a checkpoint as it would be exported, or a file of a bundle."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hemline.contract.card import Card, Split
from hemline.contract.checkpoint import read_card
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import Artifact, Manifest, read_manifest
from hemline.data.custom.test_split import with_large_test_part
from hemline.data.datasets import DATASETS, array_sha256
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.image_rows import selected
from hemline.errors import HemlineError, UsageError, remedy
from hemline.export.graph.normalization import normalized
from hemline.export.quantization import simulation
from hemline.export.quantization.calibration import Calibration, calibration_images
from hemline.export.quantization.diagnosis.diagnosing import (
    MOST_IMAGES,
    DiagnosisRequest,
)
from hemline.export.quantization.diagnosis.files import FilePair
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.quantization.plan_table import read_plans
from hemline.export.quantization.post_training import post_training
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.table import open_source
from hemline.export.trained_data import require_trained_on, split_of, trained_images
from hemline.export.user_images import GENERATED
from hemline.remedies import advice
from hemline.runtime import Classifier
from hemline.silence import silenced
from hemline.train.tensorflow import quiet_keras

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
_FLOAT_FILE = "fp32.onnx"
_COMPARED = 32  # images on which a file is compared with its plan
_ROUNDING = 0.05  # of the largest logit: six steps of 8 bits
_CHANGED = (
    "the weights of this file were changed after the plan was made: its own values are compared "
    "with those of the float model, and no layer is quantized alone"
)
_UNCALIBRATED = "no cause is looked for in the calibration images"


def checkpoint_request(folder: Path, data: FetchOptions) -> DiagnosisRequest:
    """Return a checkpoint's model in 8 bits, as an export would calibrate it.

    Raises DataError for other images than it was trained on, UsageError for none.
    """
    card = read_card(folder)
    images = trained_images(card, data, checkpoint=folder)
    require_trained_on(card, images, checkpoint=folder)
    if images.dataset.name == GENERATED:
        raise UsageError(
            f"{folder} cannot be diagnosed without images, a few hundred, labelled or not",
            remedy=remedy("name images"),
        )
    split, options = split_of(card, images), PostTrainingOptions()
    calibration = calibration_images(images, split, count=options.images)
    quantized = post_training(_graph_of(folder, card), calibration, options)
    held_out = list(split.validation_indices)
    return DiagnosisRequest(
        quantized=quantized,
        images=images.train_images[held_out],
        labels=images.train_labels[held_out] if images.labelled else None,
        calibration=calibration,
        subject=f"{folder} in int8",
        source=str(folder),
    )


def bundle_subject(
    path: Path, data: FetchOptions, source: Path | None
) -> DiagnosisRequest | FilePair:
    """Return an 8-bit file of a bundle, or the first one there: by its plan, or as a file.

    A file whose weights were changed, by training or corrections, does not follow from its plan
    and the float model: its own values are compared with those of the float model.
    source: checkpoint with the float model; None for the float file beside it. Raises HemlineError
    where a plan, or the float model, is missing.
    """
    bundle = path if path.is_dir() else path.parent
    manifest = read_manifest(bundle)
    name, plan = next(iter(read_plans(path).items()))
    graph = _float_graph(bundle, source)
    plan.require_fitting(graph.grids)
    held_out = load_split(bundle, "validation", manifest.evaluation_sha256)
    quantized = Quantized(float_graph=graph, plan=plan)
    images = np.asarray(held_out.images[:MOST_IMAGES])
    labels = None if held_out.labels is None else held_out.labels[:MOST_IMAGES]
    outputs = {each: _run(bundle / each, images) for each in _twins(manifest, name)}
    other = next((outputs[each] for each in outputs if each != name), None)
    subject, original = str(bundle / name), str(source or bundle / _FLOAT_FILE)
    if not _follows(outputs[name][:_COMPARED], simulation.logits(quantized, images[:_COMPARED])):
        return FilePair(
            file=bundle / name,
            layers=next((bundle / each for each in outputs if each.endswith(".onnx")), None),
            raw=graph.proto,
            inputs=images.astype(np.float32),
            labels=labels,
            reference=simulation.float_logits(graph, images),
            outputs=outputs[name],
            subject=subject,
            source=original,
            split="validation",
            notes=(_CHANGED,),
        )
    calibration = _calibration(manifest, manifest.artifact(name), plan, data)
    return DiagnosisRequest(
        quantized=quantized,
        images=images,
        labels=labels,
        calibration=calibration,
        subject=subject,
        source=original,
        other_format=None if other is None else _other_labels(outputs[name], other),
        notes=() if calibration else (_uncalibrated(data),),
    )


def _uncalibrated(data: FetchOptions) -> str:
    if data.folder is None:
        yours = advice(remedy("name your images"))
        return f"{_UNCALIBRATED}, which are not stored in the bundle: {yours}"
    return f"{_UNCALIBRATED}: this file was calibrated with others"


def _twins(manifest: Manifest, name: str) -> list[str]:
    """Return a file and that of the other format by the same plan."""
    plan = manifest.artifact(name).plan_sha256
    return [each.name for each in manifest.artifacts if each.plan_sha256 == plan]


def _run(path: Path, images: Pixels) -> Floats:
    with silenced(), Classifier.load(path) as classifier:
        return classifier.logits(images)


def _follows(found: Floats, simulated: Floats) -> bool:
    """Return whether a file gives what its plan makes of the float model, up to rounding."""
    return bool(np.abs(found - simulated).max() <= _ROUNDING * np.abs(simulated).max())


def _other_labels(first: Floats, second: Floats) -> float:
    return 100 * float((first.argmax(axis=1) != second.argmax(axis=1)).mean())


def _float_graph(bundle: Path, source: Path | None) -> FloatGraph:
    if source is not None:
        return _graph_of(source, read_card(source))
    path = bundle / _FLOAT_FILE
    if not path.is_file():
        raise UsageError(
            f"{bundle} has no {_FLOAT_FILE} to compare with", remedy=remedy("name source")
        )
    proto = onnx.load(path)
    return FloatGraph(normalized(proto, outputs=tuple(each.name for each in proto.graph.output)))


def _graph_of(folder: Path, card: Card) -> FloatGraph:
    quiet_keras()
    with open_source(card.model.source, folder / card.model.file) as source, silenced():
        return source.float_graph


def _calibration(
    manifest: Manifest, artifact: Artifact, plan: QuantizationPlan, data: FetchOptions
) -> Calibration | None:
    """Return the images that a plan's ranges come from, if they are at hand."""
    if data.folder is None and manifest.dataset not in DATASETS:
        return None
    custom = data.custom is not None
    with contextlib.suppress(HemlineError):  # other images, or none
        options = data.for_model(artifact.input.shape, artifact.name, manifest.data_sha256)
        options = options if custom else replace(data, offline=True)
        images = load_images("" if custom else manifest.dataset, options)
        if images.sha256 != manifest.data_sha256:
            images = with_large_test_part(images)  # as for the export of an imported model
        held_out = list(manifest.validation_indices)
        split = Split(
            seed=0,
            limit=None,
            validation_indices=manifest.validation_indices,
            validation_sha256=array_sha256(selected(images.train_images, held_out)),
        )
        found = calibration_images(images, split, count=plan.origin.images, seed=plan.origin.seed)
        return found if found.sha256 == artifact.calibration_sha256 else None
    return None
