"""Import a model of any kind as a checkpoint: model.onnx and card.json."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from hemline import files
from hemline.contract import schema
from hemline.contract.card import Card, Confirmation, ImportCard, ModelCard
from hemline.contract.checkpoint import CARD_NAME, is_checkpoint, read_card
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.contract.stamp import Stamp, stamp_onnx
from hemline.contract.test_vector import TestVector
from hemline.data.class_names import distinct_labels
from hemline.data.custom.held_out import with_labels_of
from hemline.data.datasets import Images
from hemline.errors import HemlineError, UsageError, remedy
from hemline.export.admission.mistakes import MOST_IMAGES
from hemline.export.graph.forms import source_input
from hemline.export.graph.normalization import normalized
from hemline.export.importing.graph_session import GraphSession
from hemline.export.importing.importers import SourceFacts, convert, find_kind
from hemline.export.importing.judgement import Judgement, fingerprint_of, judge
from hemline.export.importing.reference import Reference, require_agreement
from hemline.export.pixel_scale import PixelScale
from hemline.export.schemes import FLOAT32, SCHEMES
from hemline.folders import TemporaryFolder
from hemline.host import host_facts
from hemline.model_files.onnx import contents_of
from hemline.pictures.generated import self_test_images
from hemline.provenance import commit, utc_now, versions
from hemline.statistics import wilson

log = logging.getLogger(__name__)

MODEL_NAME = "model.onnx"
SOURCE = "onnx"  # in the SOURCES table
_PACKAGES = ("onnx", "onnxruntime", "numpy")
USUAL_SCALE = PixelScale.of_range(0, 1)  # where nothing says what pixels become
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
_LONGEST_NAME = 60

Pixels = npt.NDArray[np.uint8]
Say = Callable[[str], None]


# labelled images at (height, width, channels), None where they have no labels
Samples = Callable[[tuple[int, int, int]], Images | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What to import.

    path: of the model's file or folder.
    folder: of the checkpoint.
    labels: class names in the order of the outputs; None for those in the file.
    scale: what pixels become in the source; None for what the file says.
    bgr: whether the source takes blue, green and red in this order; None where nobody says so.
    size: (height, width) of the images, where the file leaves them open.
    trust: run code that is in the file (Lambda layers, custom objects).
    """

    path: Path
    folder: Path
    labels: tuple[str, ...] | None = None
    scale: PixelScale | None = None
    bgr: bool | None = None
    size: tuple[int, int] | None = None
    trust: bool = False

    @property
    def options_sha256(self) -> str:
        """Return the fingerprint of the options."""
        scale = None if self.scale is None else [list(self.scale.means), list(self.scale.stds)]
        size = None if self.size is None else list(self.size)
        labels = None if self.labels is None else list(self.labels)
        order = {} if self.bgr is None else {"bgr": self.bgr}  # older imports have none
        return files.fingerprint(
            {"labels": labels, "scale": scale, "size": size, "trust": self.trust, **order}
        )


def checkpoint_name(path: Path) -> str:
    """Return the name of a model's checkpoint: letters, digits, dot, - and _ of its file's name."""
    title = path.resolve().name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title)[:_LONGEST_NAME].strip("-._") or "model"


def import_model(
    request: ImportRequest, *, samples: Samples | None = None, say: Say = log.info
) -> Card:
    """Import a model and return its card; only what changed is imported again.

    `samples` are labelled images that choose the pixel range, and name the classes, where neither
    the user nor the file says it. Raises FileFormatError for a file that cannot be imported,
    UsageError for what must be specified or does not fit.
    """
    kind = find_kind(request.path)
    sha256 = source_sha256(request.path)
    with files.locked(request.folder):
        known = _known(request, sha256)
        if known is not None and not _may_confirm(known, samples):
            return known
        say(f"import {request.path}: {kind.summary}")
        with TemporaryFolder() as name:
            facts = convert(
                request.path, kind.name, Path(name), size=request.size, trust=request.trust
            )
            return _Import(request, facts, Path(name), samples).write(sha256, say)


def source_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, of the names and contents of its files."""
    if path.is_file():
        beside = path.parent.glob("[!.]*.data") if path.suffix == ".onnx" else ()  # its weights
        hashes = {each.name: files.sha256_of(each) for each in (path, *sorted(beside))}
        return hashes[path.name] if len(hashes) == 1 else files.fingerprint(hashes)
    below = sorted(each for each in path.rglob("*") if each.is_file())
    return files.fingerprint({str(p.relative_to(path)): files.sha256_of(p) for p in below})


def _may_confirm(card: Card, samples: Samples | None) -> bool:
    """Return whether labelled images, others than before, may confirm what none have."""
    if samples is None or card.imported is None or card.imported.proven:
        return False
    images = samples(card.model.shape)
    return images is not None and fingerprint_of(images) != card.imported.images_sha256


def _known(request: ImportRequest, sha256: str) -> Card | None:
    """Return the card that an earlier import of the same wrote, None without one.

    Raises UsageError where the folder holds another model's checkpoint.
    """
    if not is_checkpoint(request.folder):
        return None
    try:
        card = read_card(request.folder)
    except HemlineError as error:
        log.warning("%s: importing again", error)
        return None
    imported = card.imported
    if imported is None or imported.file != request.path.resolve().name:
        what = "a trained model" if imported is None else imported.file
        raise UsageError(
            f"{request.folder} holds the checkpoint of {what}", remedy=remedy("other output folder")
        )
    same = (sha256, request.options_sha256) == (imported.sha256, imported.options_sha256)
    return card if same else None


class _Import:
    """A converted model on its way into a checkpoint."""

    def __init__(
        self, request: ImportRequest, facts: SourceFacts, folder: Path, samples: Samples | None
    ) -> None:
        self._request, self._facts = request, facts
        self._raw = onnx.load(folder / MODEL_NAME)
        self._reference = Reference.read(folder / "reference.npz")
        self._input = source_input(self._raw, size=request.size)
        own = None if samples is None else samples(self._input.pixels)
        self._labels, self._labels_confirmed = self._find_labels(own)
        self._images = None if own is None else with_labels_of(own, self._labels)

    def write(self, sha256: str, say: Say) -> Card:
        """Normalize, check and write the model; return its card."""
        scale, confirmed = self._scale(say)
        proto = self._normalized(scale)
        session = GraphSession(proto)
        judged = Judgement()
        if self._images is not None:
            path = str(self._request.path)
            judged = judge(session.run, self._images, self._labels, scale, where=path, say=say)
        imported = ImportCard(
            kind=self._facts.kind,
            file=self._request.path.resolve().name,
            sha256=sha256,
            options_sha256=self._request.options_sha256,
            mean=scale.means,
            std=scale.stds,
            bgr=scale.bgr,
            pixels_confirmed=judged.of("pixels", confirmed),
            channels_confirmed=self._channels_confirmed(judged),
            labels_confirmed=judged.of("label order", self._labels_confirmed),
            images_sha256="" if self._images is None else fingerprint_of(self._images),
            reference_images=len(self._reference.inputs),
            largest_difference=self._difference(session, scale),
            versions=self._facts.versions,
        )
        folder = self._request.folder
        # without its card the folder is not a checkpoint: a kill leaves none, or a whole one
        (folder / CARD_NAME).unlink(missing_ok=True)
        stamped = stamp_onnx(session.content, self._stamp(session, sha256))
        files.write_bytes(folder / MODEL_NAME, stamped)
        card = Card(model=self._model_card(session), training=None, imported=imported)
        schema.save(folder / CARD_NAME, card)
        return card

    def _find_labels(self, images: Images | None) -> tuple[tuple[str, ...], Confirmation]:
        count = max(2, self._reference.outputs.shape[1])  # one value is two classes
        given, path = self._request.labels, self._request.path
        if given is not None and len(given) != count:
            raise UsageError(f"{path} has {count} classes, but {len(given)} labels are given")
        if given is not None:
            return distinct_labels(given), "user"
        if len(self._facts.labels) == count:
            return distinct_labels(self._facts.labels), "file"
        if images is not None and len(images.dataset.labels) == count:
            return images.dataset.labels, "nobody"  # their order is that of many trainers
        return tuple(f"class_{at}" for at in range(count)), "nobody"

    def _channels_confirmed(self, judged: Judgement) -> Confirmation:
        if self._input.pixels[2] == 1:
            return "file"
        return judged.of("channel order", "nobody" if self._request.bgr is None else "user")

    def _scale(self, say: Say) -> tuple[PixelScale, Confirmation]:
        if self._request.bgr and self._input.pixels[2] != 3:
            raise UsageError(
                f"{self._request.path} accepts gray images: they have no channel order"
            )
        scale, confirmed = self._range(say)
        return replace(scale, bgr=bool(self._request.bgr)), confirmed

    def _range(self, say: Say) -> tuple[PixelScale, Confirmation]:
        if self._request.scale is not None:
            return self._request.scale, "user"
        if self._facts.scale is not None:
            return self._facts.scale, "file"
        if self._images is None:
            return USUAL_SCALE, "nobody"
        return self._best_scale(say)

    def _best_scale(self, say: Say) -> tuple[PixelScale, Confirmation]:
        """Return the usual pixel range in which the outputs separate the classes best."""
        correct = {}
        for scale in (PixelScale.of_range(*ends) for ends in _RANGES):
            correct[scale] = self._separated(GraphSession(self._normalized(scale)))
        best, second, *_ = sorted(correct, key=correct.__getitem__, reverse=True)
        count = len(self._sample[0])
        shares = (f"{scale.text}: {100 * each / count:.1f} %" for scale, each in correct.items())
        say(f"correct on {count:,} images by pixel range: {', '.join(shares)}")
        low, _ = wilson(correct[best], count)
        sure = low > max(1 / len(self._labels), correct[second] / count)
        return best, "images" if sure else "nobody"

    @property
    def _sample(self) -> tuple[Pixels, npt.NDArray[Any]]:
        """Return some of the labelled images, none of the test part, and their classes."""
        if self._images is None:
            raise AssertionError("there are no labelled images")
        return self._images.train_images[:MOST_IMAGES], self._images.train_labels[:MOST_IMAGES]

    def _separated(self, session: GraphSession) -> int:
        """Return how many images are of the class that their output gets most: in any order."""
        images, classes = self._sample
        seen = np.zeros((len(self._labels), len(self._labels)), np.int64)
        np.add.at(seen, (session.run(images).argmax(axis=1), classes), 1)
        return int(seen.max(axis=1).sum())

    def _normalized(self, scale: PixelScale) -> onnx.ModelProto:
        return normalized(
            self._raw,
            mean=scale.means,
            std=scale.stds,
            bgr=scale.bgr,
            size=self._request.size,
        )

    def _difference(self, session: GraphSession, scale: PixelScale) -> float:
        """Return the largest difference of a probability from the source's own."""
        pixels = self._reference.pixels(scale, channels_first=self._input.layout == "nchw")
        difference = self._reference.largest_difference(session.run(pixels))
        require_agreement(difference, str(self._request.path))
        return difference

    def _stamp(self, session: GraphSession, sha256: str) -> Stamp:
        """Return what makes model.onnx an artifact, which evaluate and classify run."""
        vectors = self._test_vectors(session)
        largest = max(abs(value) for vector in vectors for value in vector.logits)
        return Stamp(
            name=MODEL_NAME,
            scheme="fp32",
            format="onnx",
            model=checkpoint_name(self._request.path),
            labels=self._labels,
            input=self._spec,
            outputs=(OutputSpec(size=len(self._labels), dtype="float32"),),
            supported_runtimes=SCHEMES["fp32.onnx"].supported_runtimes,
            tolerance=FLOAT32.bound(largest, 1),
            test_vectors=vectors,
            parent_sha256=sha256,
        )

    @property
    def _spec(self) -> InputSpec:
        height, width, channels = self._input.pixels
        return InputSpec(height=height, width=width, channels=channels, dtype="float32")

    def _test_vectors(self, session: GraphSession) -> tuple[TestVector, ...]:
        some = self_test_images(self._input.pixels)
        pairs = zip(some, session.run(some), strict=True)
        return tuple(TestVector.of(image, logits) for image, logits in pairs)

    def _model_card(self, session: GraphSession) -> ModelCard:
        host, contents = host_facts(), contents_of(session.proto)
        return ModelCard(
            name=checkpoint_name(self._request.path),
            source=SOURCE,
            file=MODEL_NAME,
            sha256=files.sha256_of(self._request.folder / MODEL_NAME),
            parameters=contents.parameters,
            macs=contents.macs,
            labels=self._labels,
            input=self._spec,
            temperature=1.0,  # the probabilities are those of the source
            unknown_threshold=0.0,
            test_vectors=self._test_vectors(session),
            versions=versions(_PACKAGES),
            commit=commit(),
            host=f"{host.processor}, {host.cores} cores",
            created=utc_now(),
        )
