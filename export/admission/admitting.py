"""Admit a model that was made elsewhere: try it in confined processes, then stamp a copy."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.contract.parity import ParityBounds, ParityResult, check_parity
from hemline.contract.specs import OutputSpec, SupportedRuntime
from hemline.contract.stamp import (
    LARGEST_STAMP_BYTES,
    Stamp,
    read_stamped,
    stamp_bytes,
    stamp_onnx,
    stamp_tflite,
)
from hemline.contract.test_vector import TestVector
from hemline.errors import GateError, UsageError, remedy
from hemline.export.admission.descriptions import Description
from hemline.export.admission.inspection import open_in_all, read_model
from hemline.export.admission.mistakes import Mistake, suspected_mistakes
from hemline.export.admission.specs import Gives, gives, input_spec, output_spec
from hemline.export.admission.structure import Structure
from hemline.export.admission.trial import (
    Outputs,
    Pixels,
    Trial,
    TrialRequest,
    between_runtimes,
    running_again,
    try_in_all,
)
from hemline.export.admission.user_samples import image_size, read_user_classes
from hemline.export.pixel_scale import PixelScale
from hemline.folders import TemporaryFolder
from hemline.pictures.generated import NO_NOISE, generated_images
from hemline.runtime.backends import BACKENDS
from hemline.runtime.decoder import Decoder

log = logging.getLogger(__name__)

FOREIGN = "foreign"  # the scheme of what Hemline did not export
_USUAL_LOGIT = -10.12345  # as long as most, where they are not known yet
_ROUNDED = 1e-5  # stamped logits have 5 decimals
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """What to admit.

    path: of the foreign file.
    output: of the stamped copy; None for <stem>-admitted beside it.
    labels: class names in the order of the outputs.
    pixels: pixel range of the input; None to read it from an 8-bit input.
    bgr: whether the model expects blue, green and red in this order; None where the user does not
        specify it.
    size: (height, width) of the images, where the file leaves it open.
    gives: what the model returns; None to infer it from its outputs.
    images: path of uint8 images (n, height, width, channels) to run as well, or None.
    expected: path of their integer classes (n,), or None.
    """

    path: Path
    output: Path | None
    labels: tuple[str, ...]
    pixels: PixelScale | None = None
    bgr: bool | None = None
    size: tuple[int, int] | None = None
    gives: Gives | None = None
    images: Path | None = None
    expected: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """An admitted file.

    path: of the stamped copy.
    stamp: in it.
    trials: one for each runtime that it supports.
    parities: comparisons with the first runtime's outputs, one for each trial.
    images: number of the user's images with a known class; 0 without.
    correct: of these, correctly classified, one for each trial.
    unconfirmed: what nothing confirms, a line each; empty with labelled images.
    mistakes: what labelled images show to be a likely mistake, or a possible one.
    """

    path: Path
    stamp: Stamp
    trials: tuple[Trial, ...]
    parities: tuple[ParityResult, ...]
    images: int
    correct: tuple[int, ...]
    unconfirmed: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def admit(request: AdmissionRequest, *, say: Say = log.info) -> Admission:
    """Try a foreign file in every installed runtime of its format, and write a stamped copy.

    Raises FileFormatError for a file that is not an image classifier, UsageError for what must be
    specified, JobError when it crashes or hangs a runtime, GateError when its outputs are not
    deterministic or its runtimes disagree.
    """
    path = request.path
    content, structure = read_model(path)
    tolerance = between_runtimes(structure.eight_bit)
    share = tolerance.share_of(structure.weighted_layers)
    output = _output_path(request, structure)
    size = request.size or image_size(request.images)
    with TemporaryFolder() as name:
        model, opened = open_in_all(Path(name), path, structure, len(request.labels), size, say)
        stamp = _first_stamp(request, structure, next(iter(opened.values())), output)
        if request.size not in (None, stamp.input.shape[:2]):
            raise UsageError(
                f"{path} accepts only images of {stamp.input.height} × {stamp.input.width}"
            )
        generated = generated_images(stamp.input.shape)
        _require_room(stamp, generated[0])
        classes = len(request.labels)
        expected = read_user_classes(request.images, request.expected, stamp.input, classes)
        trial_request = TrialRequest(
            artifact=Path(name) / f"trial.{stamp.format}",
            shown=path,
            generated=Path(name) / "generated.npy",
            given=request.images,
            arrays=Path(name),
            output=stamp.output,
            share=share,
            agreement=tolerance.agreement,
        )
        files.write_bytes(trial_request.artifact, _stamped(model, stamp))
        np.save(trial_request.generated, generated)
        trials = try_in_all(opened, trial_request, say)
        stamp = _with_findings(request, stamp, trials, say)
        mistakes = _mistakes(trial_request, model, stamp, trials[0], expected)
    stamp = replace(
        stamp,
        tolerance=_tolerance(share, stamp, trials[0]),
        parent_sha256=hashlib.sha256(content).hexdigest(),
    )
    bounds = ParityBounds(difference=stamp.tolerance, agreement=tolerance.agreement)
    parities = require_parity(trials, stamp.output, bounds)
    files.write_bytes(output, _stamped(model, _with_vectors(stamp, trials, generated)))
    return Admission(
        path=output,
        stamp=read_stamped(output).stamp,  # what was written is what the loader accepts
        trials=trials,
        parities=parities,
        images=0 if expected is None else len(expected),
        correct=tuple(_correct(trial, expected) for trial in trials),
        unconfirmed=_unconfirmed(request, stamp) if expected is None else (),
        mistakes=mistakes,
    )


def _output_path(request: AdmissionRequest, structure: Structure) -> Path:
    beside = request.path.with_name(f"{request.path.stem}-admitted.{structure.format}")
    output = request.output or beside
    if output.suffix != f".{structure.format}":
        raise UsageError(f"{output} must end in .{structure.format}, the format of the model")
    if output.exists():
        raise UsageError(f"{output} exists already", remedy=remedy("other output"))
    return output


def _first_stamp(
    request: AdmissionRequest, structure: Structure, found: Description, output: Path
) -> Stamp:
    """Return the stamp for the trial: it supports whatever runs, and has no test vectors yet."""
    path, file_format = request.path, structure.format
    source = input_spec(found.inputs[0], request.pixels, file_format, path)
    if request.bgr and source.channels != 3:
        raise UsageError(f"{path} accepts gray images: they have no channel order")
    target = output_spec(found.outputs[0], len(request.labels), file_format, path)
    return Stamp(
        name=output.name,
        scheme=FOREIGN,
        format=file_format,
        model=path.stem,
        labels=request.labels,
        input=replace(source, bgr=bool(request.bgr)),
        outputs=(target,),
        supported_runtimes=tuple(
            SupportedRuntime(runtime=row.name, minimum="0")
            for row in BACKENDS.values()
            if not row.development_only
        ),
        parent_sha256="",
    )


def _require_room(stamp: Stamp, image: Pixels) -> None:
    """Raise UsageError unless the stamp can have two test vectors that pack as well as `image`."""
    logits = np.full(len(stamp.labels), _USUAL_LOGIT, np.float32)
    if not _is_readable(replace(stamp, test_vectors=(TestVector.of(image, logits),) * 2)):
        raise _no_room(stamp)


def _is_readable(stamp: Stamp) -> bool:
    return stamp_bytes(stamp) <= LARGEST_STAMP_BYTES


def _no_room(stamp: Stamp) -> UsageError:
    size = len(json.dumps(stamp.labels, separators=(",", ":")))
    return UsageError(
        f"the stamp would not fit in {LARGEST_STAMP_BYTES / 1e6:.2g} MB: it holds "
        f"{len(stamp.labels):,} labels of {size:,} bytes and two test images with their outputs; "
        "give shorter labels"
    )


def _stamped(model: bytes, stamp: Stamp) -> bytes:
    write = stamp_tflite if stamp.format == "tflite" else stamp_onnx
    return write(model, stamp)


def _with_findings(
    request: AdmissionRequest, stamp: Stamp, trials: tuple[Trial, ...], say: Say
) -> Stamp:
    """Return the stamp with what the trials show: kind of output, batches, supported runtimes."""
    outputs, classes = trials[0].outputs, len(stamp.labels)
    if outputs.shape[1:] != (classes,):
        raise UsageError(
            f"{request.path} returns {outputs[0].size} values per image, for {classes} labels"
        )
    kind = request.gives or gives(outputs, stamp.output, request.path)
    sums = outputs.sum(axis=1)
    say(
        f"returns {kind}: values from {outputs.min():.4g} to {outputs.max():.4g}, sums per image "
        f"from {sums.min():.4g} to {sums.max():.4g}"
    )
    takes_batches = all(trial.takes_batches for trial in trials)
    if not takes_batches:
        say("accepts one image at a time")
    return replace(
        stamp,
        outputs=(replace(stamp.output, gives=kind),),
        supported_runtimes=tuple(
            SupportedRuntime(runtime=trial.runtime, minimum=trial.version) for trial in trials
        ),
        takes_batches=takes_batches,
    )


def _tolerance(share: float, stamp: Stamp, trial: Trial) -> float:
    """Return how far outputs may lie from the first runtime's (trial.py)."""
    probabilities = stamp.output.gives == "probabilities"
    largest = 1.0 if probabilities else float(np.abs(trial.outputs).max())
    step = 0.0 if stamp.output.dtype == "float32" else stamp.output.scale
    return share * largest + step + _ROUNDED


def require_parity(
    trials: tuple[Trial, ...], output: OutputSpec, bounds: ParityBounds
) -> tuple[ParityResult, ...]:
    """Compare each runtime with the first; raises GateError where one differs."""
    first, values = trials[0], replace(output, gives="logits")  # as they come, no logarithms
    parities = tuple(check_parity(trial.outputs, first.outputs, values, bounds) for trial in trials)
    for trial, parity in zip(trials, parities, strict=True):
        if not parity.passed:
            raise GateError(
                f"not admitted: {first.name} and {trial.name} disagree: {parity.reason}"
            )
    return parities


def _with_vectors(stamp: Stamp, trials: tuple[Trial, ...], generated: Pixels) -> Stamp:
    """Return the stamp with two generated images and the first runtime's logits for them.

    Those without noise where the others do not pack well enough. Raises UsageError when the stamp
    would be too large to read even so.
    """
    for count in (len(generated), NO_NOISE):
        whole = replace(stamp, test_vectors=_vectors(stamp, trials, generated[:count]))
        if _is_readable(whole):
            return whole
    raise _no_room(stamp)


def _vectors(stamp: Stamp, trials: tuple[Trial, ...], images: Pixels) -> tuple[TestVector, ...]:
    """Return images that no runtime differs on by more than the tolerance, of two labels if any."""
    outputs = [trial.generated[: len(images)] for trial in trials]
    apart = np.max([np.abs(each - outputs[0]).max(axis=1) for each in outputs], axis=0)
    within = np.flatnonzero(apart <= stamp.tolerance)
    labels = outputs[0][within].argmax(axis=1)
    other = int((labels != labels[0]).argmax())  # 0 when all are alike
    real = replace(stamp.output, dtype="float32", scale=1.0, zero_point=0)
    logits = Decoder(real, stamp.labels).logits(outputs[0])
    chosen = within[[0, other or len(labels) - 1]]
    return tuple(TestVector.of(images[at], logits[at]) for at in chosen)


def _correct(trial: Trial, expected: npt.NDArray[np.int64] | None) -> int:
    if expected is None or trial.given is None:
        return 0
    return int((trial.given.argmax(axis=1) == expected).sum())


def _unconfirmed(request: AdmissionRequest, stamp: Stamp) -> tuple[str, ...]:
    """Return what the user or the file states and no labelled image confirms."""
    low, high = stamp.input.range
    by = "as specified" if request.pixels else "as the 8-bit input implies"
    facts = [f"pixel range {low:.4g} … {high:.4g}, {by}"]
    if stamp.input.channels == 3:
        by = "the default" if request.bgr is None else "as specified"
        facts.append(f"channel order {'bgr' if stamp.input.bgr else 'rgb'}, {by}")
    facts.append("label order, as specified")
    return tuple(facts)


def _mistakes(
    request: TrialRequest,
    model: bytes,
    stamp: Stamp,
    trial: Trial,
    expected: npt.NDArray[np.int64] | None,
) -> tuple[Mistake, ...]:
    """Return what the user's labelled images show to be a likely mistake."""
    if expected is None or request.given is None:
        return ()
    spec, output = stamp.input, stamp.output

    with running_again(trial.runtime, request) as run_stamped:

        def run(images: Pixels, scale: PixelScale) -> Outputs:
            source = replace(spec, mean=scale.mean, std=scale.std, bgr=scale.bgr)
            # the outputs as they come, without logarithms
            plain = replace(stamp, input=source, outputs=(replace(output, gives="logits"),))
            return run_stamped(_stamped(model, plain), images)

        return suspected_mistakes(
            run,
            np.load(request.given, mmap_mode="r").reshape(-1, *spec.shape),
            expected,
            stamp.labels,
            scale=PixelScale(mean=spec.mean, std=spec.std, bgr=spec.bgr),
            gives=output.gives,
        )
