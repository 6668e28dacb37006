"""Make a bundle: every artifact of a checkpoint, stamped, with the images to judge them on.

Only what changed is made again: each artifact carries the fingerprint of all it was made from.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hemline import files
from hemline.contract import evaluation_set, schema, stamp
from hemline.contract.card import Card
from hemline.contract.manifest import MANIFEST_NAME, Artifact, Manifest, read_manifest
from hemline.contract.record import Conditions
from hemline.contract.stamp import Stamp, read_stamped, stamp_onnx, stamp_tflite
from hemline.data.datasets import Images
from hemline.errors import HemlineError, NewerSchemaError
from hemline.export.quantization.calibration import Calibration, calibration_images
from hemline.export.scheme import Scheme
from hemline.export.trained_data import require_trained_on
from hemline.host import host_facts
from hemline.provenance import commit, utc_now, versions
from hemline.silence import silenced
from hemline.train.checkpoint import MODEL_NAME, read_card
from hemline.version import VERSION

if TYPE_CHECKING:
    import keras

    from hemline.export.sources.embedding import EmbeddingCheck
    from hemline.export.sources.keras import ModelSource

log = logging.getLogger(__name__)

CONVERTER_PACKAGES = (
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
)
_EMBEDDED = 100  # validation images that a file must embed as the Keras model does
_SOURCES = ("sources", "quantization", "writers")  # folders here whose code makes a file


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export.

    checkpoint: folder of the checkpoint.
    bundle: folder to write.
    schemes: rows of the SCHEMES table.
    calibration_count: images that the ranges of calibrated schemes come from; None for the usual.
    embedding: whether the files give the embedding as a second output.
    """

    checkpoint: Path
    bundle: Path
    schemes: tuple[Scheme, ...]
    calibration_count: int | None = None
    embedding: bool = False


def export_bundle(
    request: ExportRequest, images: Images, *, say: Callable[[str], None] = log.info
) -> Manifest:
    """Bring a bundle up to date with its checkpoint and return its manifest.

    TensorFlow is imported only when something must be made. Raises DataError when the images are
    not those that the checkpoint was trained on.
    """
    card = read_card(request.checkpoint)
    require_trained_on(card, images, checkpoint=request.checkpoint)
    calibration = calibration_images(images, card.trained.split, count=request.calibration_count)
    old = _previous(request.bundle, card)
    kept = {a.name: a for a in (old.artifacts if old else ()) if _unharmed(request.bundle, a)}
    stale = [
        scheme
        for scheme in request.schemes
        if scheme.file_name not in kept
        or kept[scheme.file_name].recipe_sha256 != _recipe(scheme, request, card, calibration)
    ]
    evaluation = old.evaluation_sha256 if old else {}
    if old is not None and not stale and _evaluation_unharmed(request.bundle, evaluation):
        return old
    if old is not None and stale:
        # a kill from here on leaves a bundle that is whole, without what is being made anew
        remaining = {
            name: a for name, a in kept.items() if name not in {s.file_name for s in stale}
        }
        schema.save(request.bundle / MANIFEST_NAME, _manifest(card, remaining, evaluation))
    maker = _Maker(request, card, calibration, images, say)
    if not _evaluation_unharmed(request.bundle, evaluation):
        evaluation = maker.write_evaluation()
    made = maker.make_all(stale, evaluation)
    manifest = _manifest(card, {**kept, **made}, evaluation)
    schema.save(request.bundle / MANIFEST_NAME, manifest)
    return manifest


class _Maker:
    """Holds the loaded model while artifacts are made."""

    def __init__(
        self,
        request: ExportRequest,
        card: Card,
        calibration: Calibration,
        images: Images,
        say: Callable[[str], None],
    ) -> None:
        from hemline.train.tensorflow import quiet_keras

        self._request, self._card, self._calibration = request, card, calibration
        self._images, self._say = images, say
        self._model: keras.Model = quiet_keras().models.load_model(
            request.checkpoint / MODEL_NAME, compile=False
        )

    def write_evaluation(self) -> dict[str, str]:
        """Write images, labels and Keras logits of validation and test; return their hashes."""
        from hemline.train.predictor import Predictor

        predictor = Predictor(self._model)
        images, split = self._images, list(self._card.trained.split.validation_indices)
        parts = {
            "validation": (images.train_images[split], images.train_labels[split]),
            "test": (images.test_images, images.test_labels),
        }
        hashes: dict[str, str] = {}
        for name, (pixels, labels) in parts.items():
            self._say(f"keras logits of the {name} split ({len(pixels):,} images)")
            logits = predictor.logits(pixels)
            correct = int((logits.argmax(axis=1) == labels).sum())
            _require_score(self._card, name, correct)
            hashes |= evaluation_set.save_split(
                self._request.bundle, name, images=pixels, labels=labels, logits=logits
            )
        return hashes | evaluation_set.save_conditions(self._request.bundle, _conditions())

    def make_all(self, schemes: list[Scheme], evaluation: dict[str, str]) -> dict[str, Artifact]:
        """Convert, stamp and write the artifacts of some schemes, by name."""
        from hemline.export.sources.keras import ModelSource

        with ModelSource(self._model, embedding=self._request.embedding) as source:
            return {scheme.file_name: self._make(source, scheme, evaluation) for scheme in schemes}

    def _make(self, source: ModelSource, scheme: Scheme, evaluation: dict[str, str]) -> Artifact:
        self._say(f"export {scheme.file_name}: {scheme.summary}")
        module, _, name = scheme.converter.partition(":")
        convert = getattr(importlib.import_module(module), name)
        pixels = self._calibration.images if scheme.calibrated else None
        with silenced():
            converted = convert(source, pixels)
        tolerance, layers = scheme.tolerance, _weighted_layers(self._model)
        logits = evaluation_set.load_split(self._request.bundle, "validation", evaluation).logits
        written = Stamp(
            name=scheme.file_name,
            scheme=scheme.name,
            format=scheme.format,
            model=self._card.model.name,
            labels=self._card.model.labels,
            input=converted.input,
            outputs=converted.outputs,
            supported_runtimes=scheme.supported_runtimes,
            temperature=self._card.model.temperature,
            unknown_threshold=self._card.model.unknown_threshold,
            tolerance=tolerance.bound(float(np.abs(logits).max()), layers),
            test_vectors=self._card.model.test_vectors,
            parent_sha256=self._card.model.sha256,
            calibration_sha256=self._calibration.sha256 if scheme.calibrated else None,
            payload_sha256="",
            hemline_version=VERSION,
            preprocessing=self._card.model.preprocessing,
        )
        _require_specs(written, self._card)
        write_stamp = stamp_tflite if scheme.format == "tflite" else stamp_onnx
        path = self._request.bundle / scheme.file_name
        files.write_bytes(path, write_stamp(converted.content, written))
        file = read_stamped(path)  # ensures that what was written is what the loader accepts
        if self._request.embedding:
            with silenced():
                self._embedding_check.require(file, share=tolerance.share_of(layers))
        return Artifact(
            name=scheme.file_name,
            scheme=scheme.name,
            format=scheme.format,
            sha256=files.sha256_of(path),
            size_bytes=path.stat().st_size,
            input=written.input,
            outputs=written.outputs,
            calibration_sha256=written.calibration_sha256,
            recipe_sha256=_recipe(scheme, self._request, self._card, self._calibration),
            tolerance=written.tolerance,
            minimum_agreement=tolerance.agreement,
            verdicts=(),
        )

    @functools.cached_property
    def _embedding_check(self) -> EmbeddingCheck:
        from hemline.export.sources.embedding import EmbeddingCheck

        some = list(self._card.trained.split.validation_indices[:_EMBEDDED])
        return EmbeddingCheck(self._model, self._images.train_images[some])


def _previous(bundle: Path, card: Card) -> Manifest | None:
    """Return the old manifest of the same checkpoint; one that cannot be read is none."""
    if not (bundle / MANIFEST_NAME).exists():
        return None
    try:
        old = read_manifest(bundle)
    except NewerSchemaError:
        raise  # what a newer Hemline made is not ours to overwrite
    except HemlineError as error:
        log.warning("%s: exporting everything again", error)
        return None
    return old if old.parent_sha256 == card.model.sha256 else None


def _manifest(card: Card, artifacts: dict[str, Artifact], evaluation: dict[str, str]) -> Manifest:
    ordered = tuple(artifacts[name] for name in sorted(artifacts, key=_in_table))
    return Manifest(
        model=card.model.name,
        parameters=card.model.parameters,
        macs=card.model.macs,
        labels=card.model.labels,
        dataset=card.trained.dataset,
        data_sha256=card.trained.data_sha256,
        parent_sha256=card.model.sha256,
        validation_indices=card.trained.split.validation_indices,
        evaluation_sha256=evaluation,
        keras_scores=card.trained.scores,
        artifacts=ordered,
        recommended=None,
        recommended_because="",
        versions=versions(CONVERTER_PACKAGES),
        created=utc_now(),
    )


def _conditions() -> Conditions:
    """Return the conditions of an export that computes the Keras model's logits now."""
    return Conditions(
        host=host_facts(),
        delegate="TensorFlow",
        versions=versions(CONVERTER_PACKAGES),
        commit=commit(),
        date=utc_now(),
    )


def _in_table(name: str) -> tuple[int, str]:
    from hemline.export.schemes import SCHEMES

    order = list(SCHEMES)
    return (order.index(name) if name in order else len(order), name)


def _recipe(scheme: Scheme, request: ExportRequest, card: Card, calibration: Calibration) -> str:
    """Return the fingerprint of all that an artifact is made from."""
    here = Path(__file__).resolve().parent
    converter = importlib.util.find_spec(scheme.converter.partition(":")[0])
    if converter is None or converter.origin is None:
        raise HemlineError(f"scheme {scheme.name} has no converter {scheme.converter}: report this")
    made_by = {path for name in _SOURCES for path in (here / name).glob("*.py")}
    made_by |= {Path(converter.origin), Path(stamp.__file__)}
    return files.fingerprint(
        {
            "scheme": schema.to_document(scheme),
            "checkpoint": card.model.sha256,
            "card": [
                card.model.labels,
                card.model.temperature,
                card.model.unknown_threshold,
                card.model.preprocessing,
            ],
            "vectors": schema.to_document(card.model.test_vectors),
            "calibration": calibration.sha256 if scheme.calibrated else None,
            "embedding": request.embedding,
            "versions": versions(CONVERTER_PACKAGES),
            "sources": [files.sha256_of(path) for path in sorted(made_by)],
        }
    )


def _unharmed(bundle: Path, artifact: Artifact) -> bool:
    path = bundle / artifact.name
    return path.is_file() and files.sha256_of(path) == artifact.sha256


def _evaluation_unharmed(bundle: Path, hashes: dict[str, str]) -> bool:
    return bool(hashes) and all(
        (bundle / name).is_file() and files.sha256_of(bundle / name) == digest
        for name, digest in hashes.items()
    )


def _weighted_layers(model: keras.Model) -> int:
    return sum(1 for layer in model.layers if hasattr(layer, "kernel"))


def _require_specs(made: Stamp, card: Card) -> None:
    if made.input.shape != card.model.shape or made.output.classes != len(card.model.labels):
        raise HemlineError(
            f"{made.name} came out with input {made.input.shape} and {made.output.classes} "
            f"classes, the card says {card.model.shape} and {len(card.model.labels)}: report this"
        )


def _require_score(card: Card, split: str, correct: int) -> None:
    expected = card.trained.score(split).correct
    # Another processor sums in another order: a few images at the edge may change sides.
    if abs(correct - expected) > max(3, expected // 2000):
        raise HemlineError(
            f"the checkpoint labels {correct} {split} images right, its card says {expected}: "
            "the checkpoint does not work here; train again with --train"
        )
