"""Make artifacts: convert a model, stamp the file, and write it into its bundle."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.compression import compressed_size
from hemline.contract import evaluation_set, schema
from hemline.contract.card import Card, Split
from hemline.contract.class_distance import Method
from hemline.contract.manifest import Artifact, plan_path
from hemline.contract.record import Conditions
from hemline.contract.specs import EMBEDDING
from hemline.contract.stamp import Stamp, StampedFile, read_stamped, stamp_onnx, stamp_tflite
from hemline.contract.test_vector import TestVector
from hemline.data.datasets import Images
from hemline.data.image_rows import ImageRows, selected
from hemline.errors import HemlineError, NotNeededError, remedy
from hemline.export.embedding_check import opened, require_embedding
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.calibrators.table import find_calibrator
from hemline.export.quantization.options import QuantizationOptions
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.reference import reference_of
from hemline.export.scheme import Scheme
from hemline.export.sources.source import ModelSource
from hemline.export.user_images import GENERATED
from hemline.export.writers.converted import ConvertedModel
from hemline.export.writers.fixed_batch import with_batch_of_one
from hemline.host import host_facts
from hemline.pictures.generated import self_test_images
from hemline.provenance import commit, utc_now, versions
from hemline.runtime.backends import attribute
from hemline.silence import silenced
from hemline.train.confidence import fit_unknown_threshold

if TYPE_CHECKING:
    from hemline.export.quantization.planning import Planning
    from hemline.export.quantization.quantized import Quantized

WORK = ".work"  # folder in a bundle for what a stopped planner goes on from
CONVERTER_PACKAGES = (
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
)
# In a bundle: 3,566 photographs of 224 × 224. The first ones of custom images are random ones.
_MOST_TEST_BYTES = 1 << 29
_EMBEDDED = 100  # validation images that a file must embed as its source does
_VECTORS = 2  # enough to see a wrong build on a device; each costs 0.6 kB in every artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportInputs:
    """What an export is made from, beside the model file.

    card: of the checkpoint.
    images: that it is calibrated and evaluated on; split is how.
    calibration: images that the ranges of calibrated schemes come from; None without data.
    options: of quantization.
    store_images: whether the test vectors of the files are images of the data; else generated ones.
    one_image: whether the files accept one image at a time only.
    unknown: by what they decide that an image is of no class: score or distance, fitted where it
        was not; None for the score that the model was trained with.
    """

    card: Card
    images: Images
    split: Split
    calibration: Calibration | None
    options: QuantizationOptions
    store_images: bool
    one_image: bool = False
    unknown: Method | None = None

    @property
    def validation(self) -> tuple[ImageRows, npt.NDArray[np.uint8]]:
        """Return the images and labels that were held out for validation."""
        held_out = list(self.split.validation_indices)
        return selected(self.images.train_images, held_out), self.images.train_labels[held_out]

    def calibration_sha256(self, scheme: Scheme) -> str | None:
        """Return the hash of the images that a file is calibrated on, None for none."""
        if scheme.planner is None or self.calibration is None:
            return None
        return self.calibration.sha256

    def planned_from(self, scheme: Scheme) -> dict[str, object]:
        """Return all that the plan of a scheme is made from, beside the model, as JSON."""
        if scheme.planner is None:
            return {}
        plain = {
            "planner": scheme.planner,
            "calibration": self.calibration_sha256(scheme),
            "post_training": schema.to_document(self.options.post_training),
        }
        if not scheme.searches:
            return plain
        return plain | {
            "options": schema.to_document(self.options),
            "data": self.images.sha256,
            "split": schema.to_document(self.split),
        }


class ArtifactMaker:
    """Makes the artifacts of one open source in a bundle."""

    def __init__(
        self,
        inputs: ExportInputs,
        source: ModelSource,
        bundle: Path,
        say: Callable[[str], None],
        planned: Mapping[str, Quantized] | None = None,
    ) -> None:
        """`planned` is what planners gave already, by the fingerprint of what it was made from."""
        self._inputs, self._source, self._bundle, self._say = inputs, source, bundle, say
        self._planned = dict(planned or {})
        self._refused: dict[str, NotNeededError] = {}

    def write_evaluation(self) -> dict[str, str]:
        """Write images, labels and the source's logits of both splits; return their hashes."""
        images = self._inputs.images
        parts = {
            "validation": self._inputs.validation,
            "test": (images.test_images, images.test_labels),
        }
        hashes: dict[str, str] = {}
        for name, (pixels, labels) in parts.items():
            self._say(f"logits of the source model on the {name} split ({len(pixels):,} images)")
            logits = self._source.run(pixels)
            _require_score(self._inputs.card, name, int((logits.argmax(axis=1) == labels).sum()))
            most = _MOST_TEST_BYTES // math.prod(pixels.shape[1:])
            if name == "test" and len(pixels) > most:
                self._say(f"the bundle keeps {most:,} of the {len(pixels):,} test images")
                pixels = selected(pixels, slice(most))
                labels, logits = labels[:most], logits[:most]
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
        quantized = self.quantized(scheme)
        with silenced():
            converted: ConvertedModel = attribute(scheme.converter)(self._source, quantized)
            if self._inputs.one_image:
                converted = with_batch_of_one(converted, scheme.format)
        logits = evaluation_set.load_split(self._bundle, "validation", evaluation).logits
        calibrated_on = None if quantized is None else quantized.plan.origin.images_sha256
        stamp = self._stamp(scheme, converted, float(np.abs(logits).max()), calibrated_on)
        _require_specs(stamp, self._inputs.card)
        stamp = replace(stamp, test_vectors=self._test_vectors(converted, stamp, logits))
        stamp = self._deciding(converted, stamp, logits)
        if self._inputs.images.dataset.name != GENERATED:
            file = StampedFile(stamp, converted.content)
            stamp = replace(stamp, reference=reference_of(file, self._inputs.validation[0]))
        plan_sha256 = None if quantized is None else self._save_plan(scheme, quantized.plan)
        path = self._write(scheme, converted, stamp)
        return Artifact(
            name=scheme.file_name,
            scheme=scheme.name,
            format=scheme.format,
            sha256=files.sha256_of(path),
            size_bytes=path.stat().st_size,
            compressed_bytes=compressed_size(path.read_bytes()),
            input=stamp.input,
            outputs=stamp.outputs,
            calibration_sha256=stamp.calibration_sha256,
            recipe_sha256=recipe_sha256,
            plan_sha256=plan_sha256,
            steps=() if quantized is None else quantized.steps,
            float_layers=() if quantized is None else quantized.plan.float_layers,
            tolerance=stamp.tolerance,
            minimum_agreement=scheme.tolerance.agreement,
        )

    def leave_out(self, scheme: Scheme, reason: str) -> None:
        """Report a file that is not made, and remove one of before."""
        self._say(f"left out {scheme.file_name}: {reason}")
        for name in (scheme.file_name, plan_path(scheme.file_name)):
            (self._bundle / name).unlink(missing_ok=True)

    def quantized(self, scheme: Scheme) -> Quantized | None:
        """Return what a scheme's planner gives; the formats of a scheme share it."""
        if scheme.planner is None:
            return None
        made_from = files.fingerprint(self._inputs.planned_from(scheme))
        if made_from in self._refused:
            raise self._refused[made_from]  # for the other format it would be sought again
        if made_from not in self._planned:
            planner = attribute(scheme.planner)
            try:
                self._planned[made_from] = planner(self._planning(made_from))
            except NotNeededError as error:
                self._refused[made_from] = error
                raise
        return self._planned[made_from]

    def _planning(self, made_from: str) -> Planning:
        from hemline.export.quantization.planning import Planning  # loads onnx

        inputs = self._inputs
        return Planning(
            source=self._source,
            card=inputs.card,
            images=inputs.images,
            split=inputs.split,
            calibration=self._calibration,
            options=inputs.options,
            int8=self._int8,
            work=self._bundle / WORK / made_from[:16],
            say=self._say,
        )

    @functools.cached_property
    def _int8(self) -> Quantized:
        from hemline.export.quantization.post_training import post_training  # loads onnx

        options = self._inputs.options.post_training
        with silenced():
            return post_training(self._source.float_graph, self._calibration, options)

    @functools.cached_property
    def _calibration(self) -> Calibration | None:
        """Return the images for ranges, which some calibrators make; None without data."""
        from hemline.export.quantization.post_training import synthetic_calibration

        options = self._inputs.options.post_training
        found = self._inputs.calibration
        if find_calibrator(options.calibrator).synthetic:
            self._say("make calibration images from the model")
            with silenced():
                found = synthetic_calibration(self._source, options)
        for doubt in () if found is None else found.doubts:
            self._say(f"warning: {doubt}")
        return found

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

    def _deciding(
        self, converted: ConvertedModel, stamp: Stamp, logits: npt.NDArray[np.float32]
    ) -> Stamp:
        """Return the stamp with what decides what is unknown (validation's logits are given)."""
        inputs = self._inputs
        if inputs.unknown is None:
            return stamp
        if stamp.unknown_threshold == 0:  # of an imported model
            limit = fit_unknown_threshold(logits, inputs.validation[1], stamp.temperature)
            stamp = replace(stamp, unknown_threshold=limit)
        if inputs.unknown == "score":
            return stamp
        from hemline.export.unknown.fitting import fitted  # loads scikit-learn

        with silenced(), opened(StampedFile(stamp, converted.content)) as classifier:
            distance = fitted(classifier, self._training, inputs.validation)
        return replace(stamp, distance=distance)

    @functools.cached_property
    def _training(self) -> tuple[ImageRows, npt.NDArray[np.uint8]]:
        from hemline.export.unknown.fitting import training_images

        return training_images(self._inputs.images, self._inputs.split)

    def _stamp(
        self,
        scheme: Scheme,
        converted: ConvertedModel,
        largest_logit: float,
        calibrated_on: str | None,
    ) -> Stamp:
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
            calibration_sha256=calibrated_on,
            preprocessing=model.preprocessing,
            takes_batches=not self._inputs.one_image,
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
