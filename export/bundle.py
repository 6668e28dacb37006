"""Make a bundle: every artifact of a checkpoint, stamped, with the images to judge them on.

Only what changed is made again: each artifact carries the fingerprint of all it was made from.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hemline import files
from hemline.contract import monitoring, schema, stamp, test_vector
from hemline.contract.checkpoint import read_card
from hemline.contract.class_distance import Method
from hemline.contract.manifest import MANIFEST_NAME, Artifact, Manifest, plan_path, read_manifest
from hemline.contract.specs import EMBEDDING, LOGITS
from hemline.contract.steps import LeftOut
from hemline.data.datasets import Images
from hemline.errors import (
    FileFormatError,
    HemlineError,
    InterruptedWorkError,
    NewerSchemaError,
    NotNeededError,
    StorageError,
    UsageError,
    remedy,
)
from hemline.export import making, reference
from hemline.export.making import CONVERTER_PACKAGES, WORK, ArtifactMaker, ExportInputs
from hemline.export.quantization.calibration import calibration_images
from hemline.export.quantization.calibrators.table import find_calibrator
from hemline.export.quantization.options import QuantizationOptions
from hemline.export.scheme import Scheme
from hemline.export.schemes import SCHEMES
from hemline.export.sources.table import find_source, open_source
from hemline.export.trained_data import require_trained_on, split_of
from hemline.export.user_images import GENERATED
from hemline.pictures import generated
from hemline.progress import tracked
from hemline.provenance import commit, utc_now, versions
from hemline.train.tensorflow import quiet_keras

if TYPE_CHECKING:
    from hemline.export.quantization.quantized import Quantized
    from hemline.export.sources.source import ModelSource

log = logging.getLogger(__name__)

# folders here whose code makes a file
_MAKING = ("graph", "sources", "quantization", "unknown", "writers")
_MODULES = (making, reference, stamp, monitoring, test_vector, generated)  # and modules


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export.

    checkpoint: folder of the checkpoint.
    bundle: folder to write.
    schemes: rows of the SCHEMES table.
    options: of quantization.
    embedding: whether the files give the embedding as a second output.
    store_images: whether files of a custom data set hold two of its validation images for their
        self-test; those of a published one always do.
    one_image: whether the files accept one image at a time only.
    unknown: as in ExportInputs; a distance needs the embedding.
    """

    checkpoint: Path
    bundle: Path
    schemes: tuple[Scheme, ...]
    options: QuantizationOptions = field(default_factory=QuantizationOptions)
    embedding: bool = False
    store_images: bool = False
    one_image: bool = False
    unknown: Method | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs that the files have."""
        return (LOGITS, EMBEDDING) if self.embedding else (LOGITS,)


def export_bundle(
    request: ExportRequest,
    images: Images,
    *,
    say: Callable[[str], None] = log.info,
    planned: Mapping[str, Quantized] | None = None,
) -> Manifest:
    """Bring a bundle up to date with its checkpoint and return its manifest.

    TensorFlow is imported only when something must be made. A file that cannot be made is left out,
    and the manifest says why; the error is raised where there is no other. Raises DataError when
    the images are not those that the checkpoint was trained on.

    planned: what planners gave already, by the fingerprint of what it was made from.
    """
    inputs = export_inputs(request, images)
    recipes = {scheme.file_name: recipe_of(scheme, request, inputs) for scheme in request.schemes}
    old = _previous(request.bundle, inputs)
    state = _State(
        artifacts={a.name: a for a in (old.artifacts if old else ()) if _intact(request.bundle, a)},
        left_out={each.name: each for each in (old.left_out if old else ())},
        evaluation=old.evaluation_sha256 if old else {},
    )
    stale = [scheme for scheme in request.schemes if not state.settles(scheme, recipes)]
    _require_no_loss(request.bundle, old, inputs)
    if old is not None and not stale and _all_intact(request.bundle, state.evaluation):
        gone = len(state.artifacts) < len(old.artifacts)
        return _save(request.bundle, _manifest(inputs, state, old)) if gone else old
    state.forget(stale)
    if old is not None and stale:
        # a kill from here on leaves a bundle that is whole, without what is being made anew
        _save(request.bundle, _manifest(inputs, state, old))
    with opened_source(request, inputs) as source:
        maker = ArtifactMaker(inputs, source, request.bundle, say, planned)
        if not _all_intact(request.bundle, state.evaluation):
            state.evaluation = maker.write_evaluation()
        for scheme in tracked(stale, len(stale), "exporting"):
            _make(maker, scheme, recipes[scheme.file_name], state)
            _save(request.bundle, _manifest(inputs, state, old))
    shutil.rmtree(request.bundle / WORK, ignore_errors=True)
    return _save(request.bundle, _manifest(inputs, state, old))


def opened_source(request: ExportRequest, inputs: ExportInputs) -> ModelSource:
    """Open the model of a checkpoint with the outputs that its files have."""
    quiet_keras()
    model = inputs.card.model
    return open_source(model.source, request.checkpoint / model.file, outputs=request.outputs)


@dataclass(slots=True, kw_only=True)
class _State:
    """What a bundle has so far, by file name; evaluation: the hashes of its evaluation folder."""

    artifacts: dict[str, Artifact]
    left_out: dict[str, LeftOut]
    evaluation: dict[str, str]

    def settles(self, scheme: Scheme, recipes: dict[str, str]) -> bool:
        """Return whether a file is there, or known to be of no use, by the recipe of today."""
        name = scheme.file_name
        if name in self.artifacts:
            return self.artifacts[name].recipe_sha256 == recipes[name]
        other = self.left_out.get(name)
        return other is not None and not other.needed and other.recipe_sha256 == recipes[name]

    def forget(self, schemes: list[Scheme]) -> None:
        """Forget what was made and left out."""
        for scheme in schemes:
            self.artifacts.pop(scheme.file_name, None)
            self.left_out.pop(scheme.file_name, None)


def _make(maker: ArtifactMaker, scheme: Scheme, recipe_sha256: str, state: _State) -> None:
    """Make a file, or note why it is left out; raise the error where there is no other file."""
    name = scheme.file_name
    try:
        state.artifacts[name] = maker.make(scheme, state.evaluation, recipe_sha256)
    except (InterruptedWorkError, StorageError):
        raise
    except HemlineError as error:
        needed = not isinstance(error, NotNeededError)
        if needed and not state.artifacts:
            raise
        maker.leave_out(scheme, str(error))
        state.left_out[name] = LeftOut(
            name=name, reason=str(error), needed=needed, recipe_sha256=recipe_sha256
        )


def export_inputs(request: ExportRequest, images: Images) -> ExportInputs:
    """Return what an export is made from; raises DataError for other images than the model's."""
    card = read_card(request.checkpoint)
    find_source(card.model.source)
    require_trained_on(card, images, checkpoint=request.checkpoint)
    split = split_of(card, images)
    calibration = None
    options = request.options.post_training
    calibrated = any(scheme.calibrated for scheme in request.schemes)
    if calibrated and not find_calibrator(options.calibrator).synthetic:
        calibration = calibration_images(images, split, count=options.images, seed=options.seed)
    return ExportInputs(
        card=card,
        images=images,
        split=split,
        calibration=calibration,
        options=request.options,
        store_images=request.store_images or not images.dataset.is_custom,
        one_image=request.one_image,
        unknown=request.unknown,
    )


def _require_no_loss(bundle: Path, old: Manifest | None, inputs: ExportInputs) -> None:
    """Raise UsageError for generated images where a bundle was exported with the user's."""
    if old is not None or inputs.images.dataset.name != GENERATED:
        return
    if not (bundle / MANIFEST_NAME).exists():
        return
    with contextlib.suppress(FileFormatError):  # another model's, or damaged: replaced
        there = read_manifest(bundle)
        if there.parent_sha256 == inputs.card.model.sha256:
            raise UsageError(
                f"{bundle} was exported with the images {there.dataset}",
                remedy=remedy("same images"),
            )


def _previous(bundle: Path, inputs: ExportInputs) -> Manifest | None:
    """Return the old manifest of the same model and images; None for one that cannot be read."""
    if not (bundle / MANIFEST_NAME).exists():
        return None
    try:
        old = read_manifest(bundle)
    except NewerSchemaError:
        raise  # what a newer Hemline made is not ours to overwrite
    except HemlineError as error:
        log.warning("%s: exporting everything again", error)
        return None
    now = (inputs.card.model.sha256, inputs.images.sha256)
    return old if (old.parent_sha256, old.data_sha256) == now else None


def _manifest(inputs: ExportInputs, state: _State, old: Manifest | None) -> Manifest:
    artifacts = state.artifacts
    ordered = tuple(artifacts[name] for name in sorted(artifacts, key=_in_table))
    model, images = inputs.card.model, inputs.images
    # the choice is between these very files: it stands as long as none of them changes
    chosen = old if old is not None and _files(old.artifacts) == _files(ordered) else None
    return Manifest(
        model=model.name,
        source=model.source,
        parameters=model.parameters,
        macs=model.macs,
        labels=model.labels,
        dataset=images.dataset.name,
        data_sha256=images.sha256,
        parent_sha256=model.sha256,
        validation_indices=inputs.split.validation_indices,
        evaluation_sha256=state.evaluation,
        keras_scores=() if inputs.card.training is None else inputs.card.training.scores,
        artifacts=ordered,
        recommended=chosen.recommended if chosen else None,
        recommended_because=chosen.recommended_because if chosen else "",
        recommended_on=chosen.recommended_on if chosen else (),
        versions=versions(CONVERTER_PACKAGES),
        commit=commit(),
        created=utc_now(),
        left_out=tuple(state.left_out[name] for name in sorted(state.left_out, key=_in_table)),
        tuned=tuple(
            each
            for each in (() if old is None else old.tuned)
            if each.artifact_sha256 in {artifact.sha256 for artifact in ordered}
        ),
    )


def _files(artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    return {artifact.name: artifact.sha256 for artifact in artifacts}


def _save(bundle: Path, manifest: Manifest) -> Manifest:
    schema.save(bundle / MANIFEST_NAME, manifest)
    return manifest


def _in_table(name: str) -> tuple[int, str]:
    order = list(SCHEMES)
    return (order.index(name) if name in order else len(order), name)


def recipe_of(scheme: Scheme, request: ExportRequest, inputs: ExportInputs) -> str:
    """Return the fingerprint of all that an artifact is made from, its plan included."""
    here = Path(__file__).resolve().parent
    made_by = {path for name in _MAKING for path in (here / name).rglob("*.py")}
    made_by |= {Path(str(module.__file__)) for module in _MODULES}
    model = inputs.card.model
    return files.fingerprint(
        {
            "scheme": schema.to_document(scheme),
            "model": schema.to_document(model),
            **inputs.planned_from(scheme),
            "embedding": request.embedding,
            "one_image": inputs.one_image,
            "unknown": inputs.unknown,
            "store_images": inputs.store_images,
            "versions": versions(CONVERTER_PACKAGES),
            "sources": [files.sha256_of(path) for path in sorted(made_by)],
        }
    )


def _intact(bundle: Path, artifact: Artifact) -> bool:
    """Return whether an artifact and its plan are the files that the manifest describes."""
    expected = {artifact.name: artifact.sha256}
    if artifact.plan_sha256 is not None:
        expected[plan_path(artifact.name)] = artifact.plan_sha256
    return _all_intact(bundle, expected)


def _all_intact(bundle: Path, hashes: dict[str, str]) -> bool:
    return bool(hashes) and all(
        (bundle / name).is_file() and files.sha256_of(bundle / name) == digest
        for name, digest in hashes.items()
    )
