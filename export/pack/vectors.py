"""Golden vectors of a packed artifact: pixels, tensor, raw output, logits and label as Python's.

They test each step of preprocessing, inference and decoding in another language. Images of a
custom data set are among them only if the export was told to store images in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from hemline.contract import schema
from hemline.contract.class_distance import ClassDistance
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.contract.stamp import Stamp, read_stamped
from hemline.errors import BackendError
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
_STEPS = 4  # of the output: what rounding moves two classes apart or together, with a margin
_NEAR = 0.02  # of the threshold: a score, or a share of a distance


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
    vectors: tuple[GoldenVector, ...]


def write_vectors(folder: Path, packed: Packed) -> GoldenVectors:
    """Write the vectors of an artifact as vectors.json into a folder; return them."""
    vectors = golden_vectors(packed)
    schema.save(folder / NAME, vectors)
    return vectors


def golden_vectors(packed: Packed) -> GoldenVectors:
    """Run images through an artifact, in the first installed runtime in which it passed.

    Raises BackendError when none of these is installed here.
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
        vectors = tuple(_vector(classifier, image) for image in _images(packed, stamp))
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
        tolerance=stamp.tolerance,
        vectors=vectors,
    )


def _vector(classifier: Classifier, image: Pixels) -> GoldenVector:
    prediction = classifier.classify(image)
    return GoldenVector(
        pixels=tuple(image.ravel().tolist()),
        tensor=tuple(PixelEncoder(classifier.stamp.input).encode_one(image).ravel().tolist()),
        output=tuple(prediction.stored.tolist()),
        logits=tuple(prediction.logits.tolist()),
        index=prediction.index,
        score=prediction.score,
        label=prediction.label,
        is_unknown=not prediction.known,
        decided=_is_decided(prediction, classifier.stamp),
    )


def _is_decided(prediction: Prediction, stamp: Stamp) -> bool:
    """Tell whether neither another class nor the threshold is near."""
    spec, stored = stamp.output, np.sort(prediction.stored.astype(np.float64))
    gap = float(stored[-1] - stored[-2]) * spec.scale
    near = 2 * stamp.tolerance if spec.dtype == "float32" else _STEPS * spec.scale
    if stamp.distance is None or prediction.distance is None:
        return gap > near and abs(prediction.score - stamp.unknown_threshold) > _NEAR
    return gap > near and abs(prediction.distance / stamp.distance.threshold - 1) > _NEAR


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
