"""Make artifacts: convert a model, stamp the file, and write it into its bundle."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.contract import evaluation_set, schema
from hemline.contract.card import Card, Split
from hemline.contract.manifest import Artifact, plan_path
from hemline.contract.record import Conditions
from hemline.contract.specs import EMBEDDING
from hemline.contract.stamp import Stamp, StampedFile, read_stamped, stamp_onnx, stamp_tflite
from hemline.contract.test_vector import TestVector
from hemline.data.datasets import Images
from hemline.errors import HemlineError, remedy
from hemline.export.embedding_check import opened, require_embedding
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.scheme import Scheme
from hemline.export.sources.source import ModelSource
from hemline.export.writers.converted import ConvertedModel
from hemline.host import host_facts
from hemline.pictures.generated import self_test_images
from hemline.provenance import commit, utc_now, versions
from hemline.runtime.backends import attribute
from hemline.silence import silenced

CONVERTER_PACKAGES = (
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
)
_EMBEDDED = 100  # validation images that a file must embed as its source does
_VECTORS = 2  # enough to see a wrong build on a device; each costs 0.6 kB in every artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportInputs:
    """What an export is made from, beside the model file.

    card: of the checkpoint.
    images: that it is calibrated and evaluated on; split is how.
    calibration: images that the ranges of calibrated schemes come from; None without data.
    store_images: whether the test vectors of the files are images of the data; else generated ones.
    """

    card: Card
    images: Images
    split: Split
    calibration: Calibration | None
    store_images: bool

    @property
    def validation(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the images and labels that were held out for validation."""
        held_out = list(self.split.validation_indices)
        return self.images.train_images[held_out], self.images.train_labels[held_out]

    def calibration_sha256(self, scheme: Scheme) -> str | None:
        """Return the hash of the images that a file is calibrated on, None for none."""
        if not scheme.calibrated or self.calibration is None:
            return None
        return self.calibration.sha256


class ArtifactMaker:
    """Makes the artifacts of one open source in a bundle."""

    def __init__(
        self, inputs: ExportInputs, source: ModelSource, bundle: Path, say: Callable[[str], None]
    ) -> None:
        self._inputs, self._source, self._bundle, self._say = inputs, source, bundle, say

    def write_evaluation(self) -> dict[str, str]:
        """Write images, labels and the source's logits of both splits; return their hashes."""
        images = self._inputs.images
        parts = {
            "validation": self._inputs.validation,
            "test": (images.test_images, images.test_labels),
        }
        hashes: dict[str, str] = {}
        for name, (pixels, labels) in parts.items():
            self._say(
                f"{self._inputs.card.model.source} logits of the {name} split "
                f"({len(pixels):,} images)"
            )
            logits = self._source.run(pixels)
            _require_score(self._inputs.card, name, int((logits.argmax(axis=1) == labels).sum()))
            hashes |= evaluation_set.save_split(
                self._bundle,
                name,
                images=pixels,
                labels=labels if images.labelled else None,
                logits=logits,
            )
        conditions = Conditions(
            host=host_facts(),
            delegate=self._source.delegate,
            versions=versions(CONVERTER_PACKAGES),
            commit=commit(),
            date=utc_now(),
        )
        return hashes | evaluation_set.save_conditions(self._bundle, conditions)

    def make(self, scheme: Scheme, evaluation: dict[str, str], recipe_sha256: str) -> Artifact:
        """Convert, stamp and write one artifact, with the plan that it is quantized by."""
        self._say(f"export {scheme.file_name}: {scheme.summary}")
        with silenced():
            plan = self._plan(scheme)
            converted: ConvertedModel = attribute(scheme.converter)(self._source, plan)
        logits = evaluation_set.load_split(self._bundle, "validation", evaluation).logits
        stamp = self._stamp(scheme, converted, float(np.abs(logits).max()))
        _require_specs(stamp, self._inputs.card)
        stamp = replace(stamp, test_vectors=self._test_vectors(converted, stamp, logits))
        plan_sha256 = None if plan is None else self._save_plan(scheme, plan)
        path = self._write(scheme, converted, stamp)
        return Artifact(
            name=scheme.file_name,
            scheme=scheme.name,
            format=scheme.format,
            sha256=files.sha256_of(path),
            size_bytes=path.stat().st_size,
            input=stamp.input,
            outputs=stamp.outputs,
            calibration_sha256=stamp.calibration_sha256,
            recipe_sha256=recipe_sha256,
            plan_sha256=plan_sha256,
            tolerance=stamp.tolerance,
            minimum_agreement=scheme.tolerance.agreement,
        )

    def _plan(self, scheme: Scheme) -> QuantizationPlan | None:
        return self._calibrated if scheme.calibrated else None

    @functools.cached_property
    def _calibrated(self) -> QuantizationPlan | None:
        """Return the plan that all calibrated schemes share; None without calibration images."""
        from hemline.export.quantization.float_graph import calibrated_plan  # loads onnx

        if self._inputs.calibration is None:
            return None
        return calibrated_plan(self._source.float_graph, self._inputs.calibration)

    def _save_plan(self, scheme: Scheme, plan: QuantizationPlan) -> str:
        path = self._bundle / plan_path(scheme.file_name)
        path.parent.mkdir(exist_ok=True)
        schema.save(path, plan)
        return files.sha256_of(path)

    def _test_vectors(
        self, converted: ConvertedModel, stamp: Stamp, logits: npt.NDArray[np.float32]
    ) -> tuple[TestVector, ...]:
        """Return images for the self-test with their logits (validation's are given).

        Generated images are like nothing that the model has seen: how far 8 bits may lie from the
        source there is not known. Their logits are those of the file, in the first runtime.
        """
        if self._inputs.store_images:
            images, expected = self._inputs.validation[0], logits
        else:
            images = self_test_images(stamp.input.shape)
            with silenced(), opened(StampedFile(stamp, converted.content)) as classifier:
                expected = classifier.logits(images)
        return tuple(TestVector.of(images[at], expected[at]) for at in range(_VECTORS))

    def _stamp(self, scheme: Scheme, converted: ConvertedModel, largest_logit: float) -> Stamp:
        model = self._inputs.card.model
        return Stamp(
            name=scheme.file_name,
            scheme=scheme.name,
            format=scheme.format,
            model=model.name,
            labels=model.labels,
            input=converted.input,
            outputs=converted.outputs,
            supported_runtimes=scheme.supported_runtimes,
            temperature=model.temperature,
            unknown_threshold=model.unknown_threshold,
            tolerance=scheme.tolerance.bound(largest_logit, self._source.weighted_layers),
            parent_sha256=model.sha256,
            calibration_sha256=self._inputs.calibration_sha256(scheme),
            preprocessing=model.preprocessing,
        )

    def _write(self, scheme: Scheme, converted: ConvertedModel, stamp: Stamp) -> Path:
        write_stamp = stamp_tflite if scheme.format == "tflite" else stamp_onnx
        path = self._bundle / scheme.file_name
        files.write_bytes(path, write_stamp(converted.content, stamp))
        file = read_stamped(path)  # ensures that what was written is what the loader accepts
        if EMBEDDING in self._source.outputs:
            share = scheme.tolerance.share_of(self._source.weighted_layers)
            with silenced():
                require_embedding(file, *self._embedded, share=share)
        return path

    @functools.cached_property
    def _embedded(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        images = self._inputs.validation[0][:_EMBEDDED]
        return images, self._source.run(images, EMBEDDING)


def _require_specs(made: Stamp, card: Card) -> None:
    if made.input.shape != card.model.shape or made.output.size != len(card.model.labels):
        raise HemlineError(
            f"{made.name} came out with input {made.input.shape} and {made.output.size} "
            f"classes, the card says {card.model.shape} and {len(card.model.labels)}: report this"
        )


def _require_score(card: Card, split: str, correct: int) -> None:
    if card.training is None:
        return
    expected = card.training.score(split).correct
    # Another processor sums in another order: a few images at the edge may change sides.
    if abs(correct - expected) > max(3, expected // 2000):
        raise HemlineError(
            f"the checkpoint classifies {correct} {split} images correctly, its card says "
            f"{expected}: it does not work here",
            remedy=remedy("train anew"),
        )
