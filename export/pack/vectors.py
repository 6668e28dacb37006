"""Golden vectors of a packed artifact: pixels, tensor, raw output, logits and label as Python's.

They test each step of preprocessing, inference and decoding in another language. Images of a
custom data set are among them only if the export was told to store images in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hemline.contract import schema
from hemline.contract.class_distance import ClassDistance
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.contract.stamp import Stamp, read_stamped
from hemline.errors import BackendError, GateError
from hemline.export.pack.packed import Packed
from hemline.pictures.generated import varied_images
from hemline.pictures.pixels import Pixels
from hemline.runtime import Classifier, Prediction
from hemline.runtime.discovery import working
from hemline.runtime.pixels import PixelEncoder
from hemline.silence import silenced

NAME = "vectors.json"
_MOST, _LEAST = 16, 3  # images
_VALUES = 300_000  # in all images: some 3 MB of JSON
_STEPS = 4  # of 8 bits: what rounding moves a logit, or two classes together, with a margin
_NEAR = 0.02  # of a distance's threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenVector:
    """One image and all that becomes of it; arrays are row-major.

    pixels: 0 … 255, (height, width, channels), red before green before blue.
    tensor: the input as the model stores it, (height, width, channels).
    output: of the logits, or probabilities, as the model stores it, (classes,).
    logits: float32 (classes,), not yet divided by the temperature.
    index: of the best class.
    score: its probability, 0 … 1.
    label: its name, or unknown.
    is_unknown: whether the label is "unknown" although no class of that name was found.
    decided: whether the label holds however a runtime rounds: it must then be the same everywhere.
    """

    pixels: tuple[int, ...]
    tensor: tuple[float, ...]
    output: tuple[float, ...]
    logits: tuple[float, ...]
    index: int
    score: float
    label: str
    is_unknown: bool
    decided: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenVectors:
    """What an artifact does with some images.

    artifact, sha256: name and hash of the file.
    runtime: that computed the outputs, with its version.
    labels, input, output, temperature, unknown_threshold, distance: as in the file's stamp.
    tolerance: largest difference of a logit, or probability, that another runtime may cause.
    score_tolerance: largest difference of a score that follows from it.
    """

    KIND: ClassVar[str] = "golden-vectors"
    SCHEMA: ClassVar[int] = 1

    artifact: str
    sha256: str
    runtime: str
    labels: tuple[str, ...]
    input: InputSpec
    output: OutputSpec
    temperature: float
    unknown_threshold: float
    distance: ClassDistance | None
    tolerance: float
    score_tolerance: float
    vectors: tuple[GoldenVector, ...]


def write_vectors(folder: Path, packed: Packed) -> GoldenVectors:
    """Write the vectors of an artifact as vectors.json into a folder; return them."""
    vectors = golden_vectors(packed)
    schema.save(folder / NAME, vectors)
    return vectors


def golden_vectors(packed: Packed) -> GoldenVectors:
    """Run images through an artifact, in the first installed runtime in which it passed.

    Raises BackendError when none of these is installed here, GateError when no label is decided.
    """
    file = read_stamped(packed.path)
    stamp = file.stamp
    passed = {verdict.runtime for verdict in packed.passed}
    found = next((r for r in working(stamp.format, in_process=True) if r.name in passed), None)
    if found is None:
        raise BackendError(
            f"{packed.path} passed in {', '.join(sorted(passed))} only, which is not installed here"
        )
    with silenced(), Classifier(file, found.backend, threads=1) as classifier:
        images = _images(packed, stamp)
        predictions = [classifier.classify(image) for image in images]
    tolerance = _tolerance(predictions, stamp)
    pairs = zip(images, predictions, strict=True)
    vectors = tuple(_vector(image, each, stamp, tolerance) for image, each in pairs)
    if not any(each.decided for each in vectors):
        raise GateError(
            f"{packed.path} has no vector for a test: in all {len(vectors)} images the two best "
            f"classes are within {tolerance:.3g}, which rounding can change"
        )
    return GoldenVectors(
        artifact=stamp.name,
        sha256=packed.artifact.sha256,
        runtime=f"{found.name} {found.version}",
        labels=stamp.labels,
        input=stamp.input,
        output=stamp.output,
        temperature=stamp.temperature,
        unknown_threshold=stamp.unknown_threshold,
        distance=stamp.distance,
        tolerance=tolerance,
        score_tolerance=max(
            float(np.abs(_scores(each, stamp, tolerance) - each.score).max())
            for each in predictions
        ),
        vectors=vectors,
    )


def _tolerance(predictions: Sequence[Prediction], stamp: Stamp) -> float:
    """Return how far another runtime's outputs may lie from these.

    The stamp's tolerance is from the unquantized model, of which 8 bits lie further than runtimes
    from each other. An 8-bit file with float32 output has about 255 steps in its range.
    """
    stored = np.array([each.stored for each in predictions], np.float64) * stamp.output.scale
    step = max(float(np.ptp(stored)) / 255, (stamp.output.dtype != "float32") * stamp.output.scale)
    return min(stamp.tolerance, _STEPS * step)


def _scores(found: Prediction, stamp: Stamp, tolerance: float) -> npt.NDArray[np.float64]:
    """Return the least and the largest score with the best class moved against all others."""
    if stamp.output.gives == "probabilities":
        return found.score + np.array([-tolerance, tolerance]) / stamp.temperature
    others = np.delete(found.logits, found.index) - found.logits[found.index]
    moved = others + np.array([[tolerance], [-tolerance]])
    return np.asarray(1 / (1 + np.exp(moved / stamp.temperature).sum(axis=1)), np.float64)


def _vector(image: Pixels, found: Prediction, stamp: Stamp, tolerance: float) -> GoldenVector:
    return GoldenVector(
        pixels=tuple(image.ravel().tolist()),
        tensor=tuple(PixelEncoder(stamp.input).encode_one(image).ravel().tolist()),
        output=tuple(found.stored.tolist()),
        logits=tuple(found.logits.tolist()),
        index=found.index,
        score=found.score,
        label=found.label,
        is_unknown=not found.known,
        decided=_is_decided(found, stamp, tolerance),
    )


def _is_decided(found: Prediction, stamp: Stamp, tolerance: float) -> bool:
    """Tell whether neither another class nor the threshold is near."""
    stored = np.sort(found.stored.astype(np.float64))
    is_best = float(stored[-1] - stored[-2]) * stamp.output.scale > tolerance
    if stamp.distance is None or found.distance is None:
        low, high = _scores(found, stamp, tolerance)
        return is_best and not low <= stamp.unknown_threshold <= high
    return is_best and abs(found.distance / stamp.distance.threshold - 1) > _NEAR


def _images(packed: Packed, stamp: Stamp) -> list[Pixels]:
    """Return every pixel value, the images of the self-test, and one image for each class.

    The last are validation images of a published data set, else generated ones.
    """
    shape = stamp.input.shape
    every = (np.arange(np.prod(shape)) % 256).astype(np.uint8).reshape(shape)
    own = [vector.image(shape) for vector in stamp.test_vectors]
    count = max(0, max(_LEAST, min(_MOST, _VALUES // every.size)) - len(own) - 1)
    if (split := packed.published_images()) is None:
        return [every, *own, *varied_images(shape, count)]
    first = np.unique(split.logits[len(own) :].argmax(axis=1), return_index=True)[1]
    return [every, *own, *split.images[np.sort(first)[:count] + len(own)]]
