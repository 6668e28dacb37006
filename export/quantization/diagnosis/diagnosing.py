"""Diagnose a quantized model: measure each layer, quantize it alone and spare it, find causes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hemline.errors import DataError
from hemline.export.quantization import simulation
from hemline.export.quantization.annotation import AnnotatedGraph
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.diagnosis.causes import find_causes
from hemline.export.quantization.diagnosis.document import Diagnosis, LayerReport
from hemline.export.quantization.diagnosis.evidence import Evidence
from hemline.export.quantization.diagnosis.layers import layer_report
from hemline.export.quantization.diagnosis.losses import Judge, Labels, Pixels
from hemline.export.quantization.diagnosis.measures import Observation, float_values
from hemline.export.quantization.diagnosis.parts import Part, find_parts, only, without
from hemline.export.quantization.diagnosis.weights import weight_ratios, weight_sqnr
from hemline.export.quantization.quantized import Quantized
from hemline.model_files.onnx import contents_of
from hemline.progress import tracked

log = logging.getLogger(__name__)
Say = Callable[[str], None]
MOST_IMAGES = 1000
_FEWEST_IMAGES = 64
_MACS = 5e11  # of all simulations together: about half a minute on two cores
_TAPPED_BYTES = 1 << 28  # of values that are in memory together, in float and quantized each


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisRequest:
    """What to diagnose, and on which images.

    quantized: the model.
    images: uint8 (n, h, w, c), never of the test split; labels: uint8 (n,), None where unknown.
    calibration: images that the ranges come from; None where they are not known.
    subject, source, split: names, as the document has them.
    other_format: labels that differ in the file of the other format, percentage points, if known.
    shares: whether each layer's part in the loss is measured too, which takes most of the time.
    """

    quantized: Quantized
    images: Pixels
    labels: Labels | None = None
    calibration: Calibration | None = None
    subject: str = "int8"
    source: str = "float"
    split: str = "validation"
    other_format: float | None = None
    shares: bool = True
    notes: tuple[str, ...] = ()


def diagnose(request: DiagnosisRequest, say: Say = log.info) -> Diagnosis:
    """Return where and why a quantized model loses accuracy.

    Raises DataError for images that do not fit, and for a float model whose outputs say nothing.
    """
    return diagnosis_of(request, measure(request, say))


def diagnosis_of(request: DiagnosisRequest, evidence: Evidence) -> Diagnosis:
    """Return the diagnosis that what was measured leads to."""
    judge = evidence.judge
    return Diagnosis(
        subject=request.subject,
        source=request.source,
        split=request.split,
        images=len(judge.images),
        labelled=judge.labels is not None,
        float_accuracy=judge.float_accuracy,
        loss=evidence.loss,
        layers=tuple(sorted(evidence.reports, key=_harm, reverse=True)),
        causes=find_causes(evidence),
        notes=request.notes,
    )


def measure(request: DiagnosisRequest, say: Say = log.info) -> Evidence:
    """Measure every layer of a quantized model; raises as diagnose does."""
    quantized = request.quantized
    _require_fitting(request)
    parts = find_parts(quantized.float_graph)
    count = images_for(quantized, len(parts), len(request.images))
    images = request.images[:count]
    labels = None if request.labels is None else request.labels[:count]
    judge = Judge(quantized.float_graph, images, labels)
    say(f"diagnose {len(parts)} layers on {count:,} {request.split} images")
    observed = observe(quantized, parts, images)
    annotated = quantized.annotated
    return Evidence(
        quantized=quantized,
        parts={part.name: part for part in parts},
        reports=tuple(
            _report(annotated, each, observed, judge, request)
            for each in tracked(parts, len(parts), "diagnosing")
        ),
        observed=observed,
        judge=judge,
        loss=judge.loss(quantized),
        calibration=request.calibration,
        other_format_points=request.other_format,
    )


def images_for(quantized: Quantized, parts: int, available: int) -> int:
    """Return how many images to use: 64 to 1,000, the fewer the more the model calculates."""
    macs = max(1, contents_of(quantized.float_graph.proto).macs)
    affordable = int(_MACS / (macs * (2 * parts + 4)))
    return min(available, max(_FEWEST_IMAGES, min(affordable, MOST_IMAGES)))


def observe(
    quantized: Quantized, parts: tuple[Part, ...], images: Pixels
) -> dict[str, Observation]:
    """Return what each part's value is in float and quantized, by the value's name."""
    graph, annotated = quantized.float_graph, quantized.annotated
    names = tuple(dict.fromkeys(part.value for part in parts))
    grids = {name: annotated.grid(name) for name in names}
    found = {name: Observation(grid.low, grid.high) for name, grid in grids.items()}
    sizes = sum(int(np.prod(graph.graph.shapes.get(name, (1,)))) for name in names)
    batch = max(1, _TAPPED_BYTES // (4 * sizes))
    for first in range(0, len(images), batch):
        some = images[first : first + batch]
        exact = float_values(graph, names, some)
        rounded = simulation.values(quantized, names, some)
        for name in names:
            found[name].add(exact[name], rounded[name])
    return found


def _require_fitting(request: DiagnosisRequest) -> None:
    shape = request.quantized.float_graph.graph.shape(request.quantized.float_graph.graph.image)
    if not len(request.images):
        raise DataError("there are no images to diagnose on")
    if request.images.shape[1:] != shape[1:]:
        raise DataError(
            f"the images are of {request.images.shape[1:]}, the model takes {shape[1:]}"
        )


def _harm(report: LayerReport) -> float:
    return report.alone.divergence if report.alone else -(report.sqnr_db or 1e3)


def _report(
    annotated: AnnotatedGraph,
    part: Part,
    observed: dict[str, Observation],
    judge: Judge,
    request: DiagnosisRequest,
) -> LayerReport:
    quantized = request.quantized
    return layer_report(
        observed[part.value],
        name=part.name,
        operator=part.node.op,
        value=part.value,
        owner=part.owner,
        weights=part.weights,
        weight_ratios=weight_ratios(annotated, part),
        weight_sqnr_db=weight_sqnr(annotated, part),
        alone=judge.loss(only(quantized, part)) if request.shares else None,
        without=judge.loss(without(quantized, part)) if request.shares else None,
    )
