"""What is diagnosed: a checkpoint as it would be exported, or a file of a bundle."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from hemline.contract.card import Card, Split
from hemline.contract.checkpoint import read_card
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import Artifact, Manifest, read_manifest
from hemline.data.datasets import DATASETS, array_sha256
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import HemlineError, UsageError, remedy
from hemline.export.graph.normalization import normalized
from hemline.export.quantization.calibration import Calibration, calibration_images
from hemline.export.quantization.diagnosis.diagnosing import DiagnosisRequest
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.quantization.plan_table import read_plans
from hemline.export.quantization.post_training import post_training
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.table import open_source
from hemline.export.trained_data import require_trained_on, split_of, trained_images
from hemline.export.user_images import GENERATED
from hemline.silence import silenced
from hemline.train.tensorflow import quiet_keras

_FLOAT_FILE = "fp32.onnx"
_UNCALIBRATED = "the calibration images are not known here: no cause is looked for in them"


def checkpoint_request(folder: Path, data: FetchOptions) -> DiagnosisRequest:
    """Return a checkpoint's model in 8 bits, as an export would calibrate it.

    Raises DataError for other images than it was trained on, UsageError for none.
    """
    card = read_card(folder)
    images = trained_images(card, data, checkpoint=folder)
    require_trained_on(card, images, checkpoint=folder)
    if images.dataset.name == GENERATED:
        raise UsageError(
            f"{folder} cannot be diagnosed without images, some hundred, labelled or not",
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


def bundle_request(path: Path, data: FetchOptions, source: Path | None) -> DiagnosisRequest:
    """Return an 8-bit file of a bundle, or the first one there, by its plan.

    source: checkpoint with the float model; None for the float file beside it. Raises HemlineError
    where a plan, or the float model, is missing.
    """
    bundle = path if path.is_dir() else path.parent
    manifest = read_manifest(bundle)
    name, plan = next(iter(read_plans(path).items()))
    graph = _float_graph(bundle, source)
    plan.require_fitting(graph.grids)
    held_out = load_split(bundle, "validation", manifest.evaluation_sha256)
    calibration = _calibration(manifest, manifest.artifact(name), plan, data)
    return DiagnosisRequest(
        quantized=Quantized(float_graph=graph, plan=plan),
        images=np.asarray(held_out.images),
        labels=held_out.labels,
        calibration=calibration,
        subject=str(bundle / name),
        source=str(source or bundle / _FLOAT_FILE),
        notes=() if calibration else (_UNCALIBRATED,),
    )


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
    height, width, channels = artifact.input.shape
    reading = replace(data.reading, size=(height, width), channels=channels, skip_broken=True)
    custom = data.custom is not None
    options = replace(data, reading=reading) if custom else replace(data, offline=True)
    with contextlib.suppress(HemlineError):  # other images, or none
        images = load_images("" if custom else manifest.dataset, options)
        held_out = list(manifest.validation_indices)
        split = Split(
            seed=0,
            limit=None,
            validation_indices=manifest.validation_indices,
            validation_sha256=array_sha256(images.train_images[held_out]),
        )
        found = calibration_images(images, split, count=plan.origin.images)
        return found if found.sha256 == artifact.calibration_sha256 else None
    return None
