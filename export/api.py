"""Import, export, verify and pack from Python, as the commands do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.errors import GateError, UnknownNameError, UsageError, remedy
from hemline.progress import say

if TYPE_CHECKING:
    from hemline.contract.budget import Budget, Candidate
    from hemline.contract.card import Card
    from hemline.contract.manifest import Manifest, Verdict
    from hemline.data.datasets import Images
    from hemline.data.fetch import FetchOptions
    from hemline.export.admission.self_check import FileVerdict
    from hemline.export.budget.search import Found
    from hemline.export.bundle import ExportRequest
    from hemline.export.importing.importing import Samples
    from hemline.export.importing.target import ExportTarget
    from hemline.export.pack.packed import Packed, PackOptions
    from hemline.export.pixel_scale import PixelScale
    from hemline.export.quantization.options import PostTrainingOptions
    from hemline.export.scheme import Scheme

    Data = FetchOptions | Path | str | None
    Labels = Sequence[str] | Path | str | None
    Pixels = PixelScale | str | tuple[float, float] | None
    Size = int | tuple[int, int] | None

_QUICK_EPOCHS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """A model that was made elsewhere, as a checkpoint.

    checkpoint: folder that holds it.
    card: what it is and how it was imported.
    """

    checkpoint: Path
    card: Card

    @property
    def lines(self) -> list[str]:
        """Return lines on what was imported, and on what nobody confirmed."""
        from hemline.export.pixel_scale import PixelScale

        model, origin = self.card.model, self.card.imported
        if origin is None:
            raise AssertionError("an imported model has an import card")
        height, width, channels = model.shape
        scale = PixelScale(mean=origin.mean, std=origin.std, bgr=origin.bgr)
        labels = ", ".join(model.labels[:4]) + (", …" if len(model.labels) > 4 else "")
        lines = [
            f"{self.checkpoint}: {origin.file} ({origin.kind}), {height} × {width} × {channels}, "
            f"pixel range {scale.text}, {len(model.labels)} classes ({labels})",
            f"{model.parameters:,} parameters, {model.macs:,} multiply-accumulates; probabilities "
            f"within {origin.largest_difference:.1g} of the source on "
            f"{origin.reference_images} inputs",
        ]
        if origin.unconfirmed:
            tried = "these images are not enough to decide"
            advice = tried if origin.images_sha256 else "labelled images can confirm it (--data)"
            lines.append(f"not confirmed: {', '.join(origin.unconfirmed)}; {advice}")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """An exported and verified bundle.

    bundle: folder of the files.
    checkpoint: that they were exported from.
    manifest: each file, and what it did in each runtime.
    search: what was tried to meet a budget; None without one.
    """

    bundle: Path
    checkpoint: Path
    manifest: Manifest
    search: Found | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the exported files."""
        return tuple(self.bundle / artifact.name for artifact in self.manifest.artifacts)

    @property
    def test_images(self) -> int:
        """Return how many labelled test images the files were verified on."""
        verdicts = (verdict for each in self.manifest.artifacts for verdict in each.verdicts)
        scores = (verdict.score("test") for verdict in verdicts)
        return max((score.images for score in scores if score is not None), default=0)

    @property
    def chosen(self) -> Path | None:
        """Return the fastest file within the budget; None where none fits, or without a budget."""
        chosen = None if self.search is None else self.search.chosen
        return None if chosen is None else self.bundle / chosen.artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What each file did in each runtime.

    verdicts: names of files, and status, reason and version of the runtime.
    failure: the error that a gate raises; None when all passed in their supported runtimes.
    """

    verdicts: tuple[tuple[str, Verdict | FileVerdict], ...]
    failure: GateError | None

    @property
    def passed(self) -> bool:
        """Return whether every file passed in every runtime that it supports."""
        return self.failure is None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackResult:
    """A pack, and what is in it.

    path: its folder, or archive.
    packed: the artifact, its target, and why it is this one.
    """

    path: Path
    packed: Packed


def import_model(
    path: Path | str,
    *,
    output: Path | str | None = None,
    labels: Labels = None,
    pixels: Pixels = None,
    bgr: bool | None = None,
    size: Size = None,
    trust: bool = False,
    data: Data = None,
) -> ImportResult:
    """Import a model that was made elsewhere as a checkpoint, unless it is imported already.

    path: a .keras, .h5, .tflite or .onnx file, or the folder of a SavedModel.
    output: folder of the checkpoint (default: checkpoints/ and the name of the file).
    labels: class names in the order of the outputs, or a file with them (default: those in the
        model's file).
    pixels: what the model expects of pixels 0 to 255: "0..1", (0, 1) or a PixelScale, which also
        has a mean and deviation for each channel.
    bgr: whether it expects blue, green and red in this order.
    size: side, or (height, width), of the images in pixels, if the file leaves it open.
    trust: run code that is in the file.
    data: labelled images, which confirm the pixel range and the order of the labels.

    Raises FileFormatError for a file that cannot be imported, UsageError for what must be
    specified or does not fit.
    """
    from hemline.data.class_names import labels_of
    from hemline.data.fetch import FetchOptions
    from hemline.export.importing.importing import ImportRequest, checkpoint_name
    from hemline.export.importing.importing import import_model as import_as_checkpoint
    from hemline.export.pixel_scale import PixelScale
    from hemline.train.nets.models import MODELS

    path, options = Path(path), FetchOptions.of(data)
    name = checkpoint_name(path)
    name = f"{name}-imported" if name in MODELS else name
    request = ImportRequest(
        path=path,
        folder=Path(output or Path("checkpoints") / name),
        labels=options.reading.labels if labels is None else labels_of(labels),
        scale=None if pixels is None else PixelScale.of(pixels),
        bgr=bgr,
        size=(size, size) if isinstance(size, int) else size,
        trust=trust,
    )
    samples = None if options.folder is None else _samples(options)
    card = import_as_checkpoint(request, samples=samples, say=say)
    return ImportResult(checkpoint=request.folder, card=card)


def export(
    model: ExportTarget | Path | str = "hem-50k",
    *,
    data: Data = None,
    output: Path | str | None = None,
    schemes: Sequence[str] = (),
    post_training: PostTrainingOptions | None = None,
    qat_epochs: int | None = None,
    embedding: bool = False,
    store_images: bool = False,
    one_image: bool = False,
    unknown: str | None = None,
    strangers: Sequence[str] = (),
    train_anew: bool = False,
    quick: bool = False,
    budget: Budget | None = None,
    device: str = "local",
    labels: Labels = None,
    pixels: Pixels = None,
    bgr: bool | None = None,
    size: Size = None,
    trust: bool = False,
) -> ExportResult:
    """Export a model in several schemes and verify each file in every installed runtime.

    model: name of a model, folder of a checkpoint, or a model file, which is imported first. A
        named model without a checkpoint is trained first.
    data: your images, if the model was trained on such: for calibration and verification.
    output: folder of the bundle (default: artifacts/ and the name of the checkpoint).
    schemes: file or scheme names, such as int8 or int8.onnx (default: the usual ones).
    post_training: how 8-bit ranges are found.
    qat_epochs: passes over the training images for int8-qat and int8-w4.
    embedding: also return the input of the last layer.
    store_images: store two of your validation images in each file for its self-test.
    one_image: accept one image at a time only, as some compilers require.
    unknown: what makes an image unknown: its "score", its "distance" to the classes, or "auto" for
        the better one (default: the score, if the model was trained here).
    strangers: images of nothing that the model knows, to choose with: folders, .npz files or named
        sets (default: digits, textures, noise).
    train_anew: train a named model even if it has a checkpoint.
    quick: use few images and epochs, in folders of their own.
    budget: try remedies for the 8-bit file, the cheapest first, until one fits.
    device: that the latency limit of the budget is measured on.
    labels: of a model file, as in `import_model`, like those below.
    pixels: its pixel range.
    bgr: its channel order.
    size: of its images.
    trust: run code that is in it.

    Raises UsageError for a wrong request, DataError for images other than those trained on,
    GateError when a file fails in a runtime that it supports.
    """
    from hemline import files
    from hemline.contract.checkpoint import read_card
    from hemline.data.fetch import FetchOptions
    from hemline.export.importing.judgement import confirm
    from hemline.export.importing.target import ExportTarget, find_export_target
    from hemline.export.schemes import find_schemes
    from hemline.export.trained_data import parts_line, trained_images

    rows, options = find_schemes(tuple(schemes)), FetchOptions.of(data)
    found = model if isinstance(model, ExportTarget) else find_export_target(str(model))
    specified = any(each is not None for each in (labels, pixels, bgr, size)) or trust
    if specified and found.kind != "file":
        raise UsageError(f"{found.name} is not imported: omit labels, pixels, bgr, size and trust")
    source = found.path or _checkpoint(found.name, quick, train_anew, options)
    if found.kind == "file":
        imported = import_model(
            source, labels=labels, pixels=pixels, bgr=bgr, size=size, trust=trust, data=options
        )
        source = imported.checkpoint
        # the labels are the model's; the classes of the images are brought into their order
        options = replace(options, reading=replace(options.reading, labels=None))
    bundle = Path(output or Path("artifacts") / source.resolve().name)
    card = read_card(source)
    images = trained_images(card, options, checkpoint=source)
    if card.training is None and options.folder is not None:
        say(parts_line(card, images))
        if images.labelled:
            card = confirm(source, card, images, say)
    from hemline.export.bundle import ExportRequest, export_bundle
    from hemline.export.quantization.options import PostTrainingOptions, QuantizationOptions
    from hemline.export.verification import verify_bundle

    ranges = post_training or PostTrainingOptions()
    request = ExportRequest(
        checkpoint=source,
        bundle=bundle,
        schemes=_possible(rows, images, ranges.calibrator, asked=bool(schemes)),
        options=QuantizationOptions(
            post_training=ranges,
            training_epochs=qat_epochs or (_QUICK_EPOCHS if quick else None),
        ),
        embedding=embedding,
        store_images=store_images,
        one_image=one_image,
    )
    if unknown is not None:
        from hemline.export.unknown.choice import deciding_by

        request = deciding_by(unknown, request, images, tuple(strangers), say)
    search = None
    with files.locked(bundle):
        if budget is None:
            manifest = verify_bundle(bundle, export_bundle(request, images, say=say), say=say)
        else:
            search = _within(budget, device, request, images)
            manifest = search.manifest
    return ExportResult(bundle=bundle, checkpoint=source, manifest=manifest, search=search)


def verify(path: Path | str, *, runtimes: Sequence[str] = ()) -> VerifyResult:
    """Verify a bundle or an exported file in every installed runtime.

    runtimes: of a bundle, other versions that were added, such as litert==1.4.0; or all.

    Raises FileFormatError for a damaged file, BackendError when no runtime is installed.
    """
    from hemline import files
    from hemline.contract.manifest import read_manifest

    path = Path(path)
    if not path.is_dir():
        return _verified_file(path, runtimes)
    from hemline.export.verification import verify_bundle
    from hemline.runtime.targets import find_targets

    targets = find_targets(tuple(runtimes)) if runtimes else None
    failure = None
    with files.locked(path):
        try:
            manifest = verify_bundle(path, read_manifest(path), targets, say=say)
        except GateError as error:  # the verdicts were written before it was raised
            failure, manifest = error, read_manifest(path)
    verdicts = tuple((a.name, verdict) for a in manifest.artifacts for verdict in a.verdicts)
    return VerifyResult(verdicts=verdicts, failure=failure)


def pack(
    bundle: Path | str,
    target: str,
    *,
    output: Path | str | None = None,
    options: PackOptions | None = None,
    force: bool = False,
) -> PackResult:
    """Pack a verified file of a bundle with all that its target needs.

    bundle: its folder.
    target: what it is for, such as "pi".
    output: folder, or archive that ends in .tar.gz (default: packs/ and the bundle and target).
    options: which file, and what only some targets have.
    force: replace a pack that is there.

    Raises UnknownNameError for an unknown target, UsageError for options of another target and a
    path that is taken, GateError when no file of the bundle was verified or fits the target.
    """
    from hemline.export.pack.packed import PackOptions
    from hemline.export.pack.packing import choose, write_pack
    from hemline.export.pack.table import TARGETS

    if target not in TARGETS:
        raise UnknownNameError("target", target, TARGETS)
    row, options = TARGETS[target], options or PackOptions()
    for field in fields(PackOptions):
        is_default = getattr(options, field.name) == field.default
        if not is_default and field.name not in ("artifact", "device", *row.options):
            raise UsageError(f"{field.name} is not for {target}: leave it out")
    if options.artifact is not None and options.device is not None:
        raise UsageError("name an artifact or a device, not both")
    packed = choose(Path(bundle), row, options)
    path = Path(output or Path("packs") / packed.name)
    write_pack(packed, path, force=force)
    return PackResult(path=path, packed=packed)


def _verified_file(path: Path, runtimes: Sequence[str]) -> VerifyResult:
    from hemline.export.admission.self_check import check_file

    if runtimes:
        raise UsageError(f"{path} is a file: only a bundle is verified in other runtimes")
    found = check_file(path)
    failed = "; ".join(v.text for v in found if v.supported and v.status != "passed")
    failure = GateError(f"failed in a supported runtime: {failed}") if failed else None
    return VerifyResult(verdicts=tuple((str(path), each) for each in found), failure=failure)


def _samples(data: FetchOptions) -> Samples:
    from hemline.export.user_images import read_images

    own = replace(data, reading=replace(data.reading, labels=None))  # those are the model's

    def labelled(shape: tuple[int, int, int]) -> Images | None:
        images = read_images(shape, own)
        return images if images.labelled else None

    return labelled


def _checkpoint(name: str, quick: bool, train_anew: bool, data: FetchOptions) -> Path:
    """Return the folder of the checkpoint to export: trained before, shipped, or trained now."""
    from hemline.contract.checkpoint import is_checkpoint
    from hemline.data.fetch import load_images
    from hemline.remedies import advice
    from hemline.train.api import run_training
    from hemline.train.checkpoint import ZOO
    from hemline.train.custom_data import named_after
    from hemline.train.nets.models import find_model
    from hemline.train.request import new_request

    model = find_model(name)
    name = f"{named_after(model, data)}{'-quick' if quick else ''}"
    folder = Path("checkpoints") / name
    if not train_anew:
        for known in (folder, ZOO / name):
            if is_checkpoint(known):
                say(f"checkpoint: {'comes with Hemline' if known != folder else folder}")
                return known
        here = sorted(filter(is_checkpoint, Path("checkpoints").glob("*")))
        found = ", ".join(map(str, here))
        say(
            f"{folder} holds no checkpoint{f' (found: {found})' if found else ''}, so "
            f"{model.name} is trained first; {advice(remedy('name checkpoint'))}"
        )
    request = new_request(model, folder=folder, recipe="quick" if quick else None)
    say(run_training(request, load_images("fashion-mnist", data)).summary)
    return folder


def _possible(
    rows: tuple[Scheme, ...], images: Images, calibrator: str, *, asked: bool
) -> tuple[Scheme, ...]:
    """Return the schemes that can be exported: without data those that need no images of it."""
    from hemline.export.quantization.calibrators.table import find_calibrator
    from hemline.export.user_images import GENERATED

    calibrated = [row.file_name for row in rows if row.calibrated]
    synthetic = find_calibrator(calibrator).synthetic and not any(row.searches for row in rows)
    if images.dataset.name != GENERATED or not calibrated or synthetic:
        return rows
    problem = f"{', '.join(calibrated)} cannot be made: calibration needs images"
    if asked:
        raise UsageError(problem, remedy=remedy("name images"))
    say(
        f"{problem}, a few hundred, labelled or not (--data), or --calibrator synthetic; verified "
        "on generated images"
    )
    return tuple(row for row in rows if not row.calibrated)


def _within(budget: Budget, device: str, request: ExportRequest, images: Images) -> Found:
    """Export with the cheapest remedy that fits a budget, measured on a device."""
    from hemline.bench.devices.addresses import open_device
    from hemline.bench.measuring.candidates import timed_candidates
    from hemline.export.budget.search import BudgetSearch
    from hemline.export.user_images import GENERATED

    if images.dataset.name == GENERATED:
        raise UsageError("a budget needs your images", remedy=remedy("name your images"))
    with open_device(device) as opened:
        if not opened.capabilities.latencies:
            raise UsageError(f"{device} has no latencies", remedy=remedy("other device"))

        def measure(manifest: Manifest) -> tuple[Candidate, ...]:
            return timed_candidates(opened, request.bundle, manifest, say)

        return BudgetSearch(request, images, budget, measure, say).run()
