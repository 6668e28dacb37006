"""Admit a model that was made elsewhere: try it in confined processes, then stamp a copy."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hemline import files
from hemline.contract.specs import SupportedRuntime
from hemline.contract.stamp import (
    LARGEST_STAMP_BYTES,
    Stamp,
    read_stamped,
    stamp_bytes,
    stamp_onnx,
    stamp_tflite,
)
from hemline.contract.test_vector import TestVector
from hemline.errors import GateError, UsageError
from hemline.export.admission.confined import Description
from hemline.export.admission.inspection import open_in_all
from hemline.export.admission.specs import Gives, PixelScale, gives, input_spec, output_spec
from hemline.export.admission.structure import Structure, structure_of
from hemline.export.admission.trial import (
    NO_NOISE,
    Answers,
    Pixels,
    Subject,
    Trial,
    between_runtimes,
    generated_images,
    try_in_all,
)
from hemline.export.admission.user_samples import Evidence, read_evidence
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import BACKENDS
from hemline.runtime.decoder import Decoder
from hemline.version import VERSION

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
    pixels: what pixels become; None to see it from an 8-bit input.
    gives: what the model gives; None to see it from the answers.
    images: path of uint8 images (n, height, width, channels) to run as well, or None.
    expected: path of their integer classes (n,), or None.
    """

    path: Path
    output: Path | None
    labels: tuple[str, ...]
    pixels: PixelScale | None = None
    gives: Gives | None = None
    images: Path | None = None
    expected: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What came of it.

    path: of the stamped copy.
    stamp: in it.
    trials: one for each runtime that it supports.
    differences: largest difference from the first runtime's answers, one for each trial.
    images: number of the user's images with a known class; 0 without.
    correct: of these, labelled right, one for each trial.
    """

    path: Path
    stamp: Stamp
    trials: tuple[Trial, ...]
    differences: tuple[float, ...]
    images: int
    correct: tuple[int, ...]


def admit(request: AdmissionRequest, *, say: Say = log.info) -> Admission:
    """Try a foreign file in every installed runtime of its format, and write a stamped copy.

    Raises FileFormatError for a file that is no classifier of images, UsageError for what must be
    told about it, JobError when it crashes or hangs a runtime, GateError when its answers are not
    steady or its runtimes disagree.
    """
    path, content = request.path, files.read_bytes(request.path)
    structure = structure_of(path, content)
    share = between_runtimes(structure.eight_bit).share_of(structure.weighted_layers)
    output = _output_path(request, structure)
    with TemporaryFolder() as name:
        model, opened = open_in_all(Path(name), path, structure, say)
        stamp = _first_stamp(request, structure, next(iter(opened.values())), output)
        drawn = generated_images(stamp.input.shape)
        _require_room(stamp, drawn[0])
        evidence = read_evidence(request.images, request.expected, stamp.input, len(request.labels))
        subject = Subject(
            artifact=Path(name) / f"trial.{stamp.format}",
            shown=path,
            generated=Path(name) / "generated.npy",
            given=evidence.path,
            arrays=Path(name),
            share=share,
        )
        files.write_bytes(subject.artifact, _stamped(model, stamp))
        np.save(subject.generated, drawn)
        trials = try_in_all(opened, subject, say)
    stamp = _with_outcome(request, stamp, trials, say)
    stamp = replace(
        stamp,
        tolerance=_tolerance(share, stamp, trials[0]),
        parent_sha256=hashlib.sha256(content).hexdigest(),
    )
    differences = require_agreement(trials, stamp.tolerance)
    files.write_bytes(output, _stamped(model, _with_vectors(stamp, trials[0], evidence, drawn)))
    return Admission(
        path=output,
        stamp=read_stamped(output).stamp,  # what was written is what the loader accepts
        trials=trials,
        differences=differences,
        images=0 if evidence.expected is None else len(evidence.expected),
        correct=tuple(_correct(trial, evidence) for trial in trials),
    )


def _output_path(request: AdmissionRequest, structure: Structure) -> Path:
    beside = request.path.with_name(f"{request.path.stem}-admitted.{structure.format}")
    output = request.output or beside
    if output.suffix != f".{structure.format}":
        raise UsageError(f"{output} must end in .{structure.format}, as the model is one")
    if output.exists():
        raise UsageError(f"{output} exists: remove it, or name another file with -o")
    return output


def _first_stamp(
    request: AdmissionRequest, structure: Structure, found: Description, output: Path
) -> Stamp:
    """Return the stamp for the trial: it supports whatever runs, and has no test vectors yet."""
    path, file_format = request.path, structure.format
    target = output_spec(found.outputs[0], len(request.labels), file_format, path)
    return Stamp(
        name=output.name,
        scheme=FOREIGN,
        format=file_format,
        model=path.stem,
        labels=request.labels,
        input=input_spec(found.inputs[0], request.pixels, file_format, path),
        outputs=(target,),
        supported_runtimes=tuple(SupportedRuntime(runtime=name, minimum="0") for name in BACKENDS),
        temperature=1.0,
        unknown_threshold=0.0,
        tolerance=0.0,
        test_vectors=(),
        parent_sha256="",
        calibration_sha256=None,
        payload_sha256="",
        hemline_version=VERSION,
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
        f"{len(stamp.labels):,} labels of {size:,} bytes and two test images with their answers; "
        "give shorter labels"
    )


def _stamped(model: bytes, stamp: Stamp) -> bytes:
    write = stamp_tflite if stamp.format == "tflite" else stamp_onnx
    return write(model, stamp)


def _with_outcome(
    request: AdmissionRequest, stamp: Stamp, trials: tuple[Trial, ...], say: Say
) -> Stamp:
    """Return the stamp with what the answers show: what they are, batches, supported runtimes."""
    answers, classes = trials[0].answers, len(stamp.labels)
    if answers.shape[1:] != (classes,):
        raise UsageError(
            f"{request.path} gives {answers[0].size} values an image, --labels names {classes}"
        )
    kind = request.gives or gives(answers, stamp.output, request.path)
    sums = answers.sum(axis=1)
    say(
        f"gives {kind}: its answers are {answers.min():.4g} … {answers.max():.4g}, "
        f"those to an image sum to {sums.min():.4g} … {sums.max():.4g}"
    )
    takes_batches = all(trial.takes_batches for trial in trials)
    if not takes_batches:
        say("takes one image at a time")
    return replace(
        stamp,
        outputs=(replace(stamp.output, gives=kind),),
        supported_runtimes=tuple(
            SupportedRuntime(runtime=trial.runtime, minimum=trial.version) for trial in trials
        ),
        takes_batches=takes_batches,
    )


def _tolerance(share: float, stamp: Stamp, trial: Trial) -> float:
    """Return how far answers may lie from the first runtime's (trial.py)."""
    probabilities = stamp.output.gives == "probabilities"
    largest = 1.0 if probabilities else float(np.abs(trial.answers).max())
    step = 0.0 if stamp.output.dtype == "float32" else stamp.output.scale
    return share * largest + step + _ROUNDED


def require_agreement(trials: tuple[Trial, ...], tolerance: float) -> tuple[float, ...]:
    """Return how far each runtime lies from the first; raises GateError beyond the tolerance."""
    first = trials[0]
    apart = [np.abs(trial.answers - first.answers).max(axis=1) for trial in trials]
    for trial, each in zip(trials, apart, strict=True):
        if each.max() > tolerance:
            raise GateError(
                f"not admitted: {first.name} and {trial.name} disagree on "
                f"{int((each > tolerance).sum()):,} of {len(each):,} images, by up to "
                f"{each.max():.3g} (tolerance {tolerance:.3g}): one of them is wrong"
            )
    return tuple(float(each.max()) for each in apart)


def _with_vectors(stamp: Stamp, trial: Trial, evidence: Evidence, drawn: Pixels) -> Stamp:
    """Return the stamp with two images and the first runtime's logits, of two labels if it can.

    The user's images; where these do not pack well enough, the generated ones; then those alone
    that are no noise. Raises UsageError when the stamp would be too large to read even so.
    """
    sources = [(drawn, trial.generated), (drawn[:NO_NOISE], trial.generated[:NO_NOISE])]
    if evidence.images is not None and trial.given is not None:
        sources.insert(0, (np.asarray(evidence.images), trial.given))
    for images, answers in sources:
        whole = replace(stamp, test_vectors=_vectors(stamp, images, answers))
        if _is_readable(whole):
            return whole
    raise _no_room(stamp)


def _vectors(stamp: Stamp, images: Pixels, answers: Answers) -> tuple[TestVector, ...]:
    real = replace(stamp.output, dtype="float32", scale=1.0, zero_point=0)
    logits, labels = Decoder(real, stamp.labels).logits(answers), answers.argmax(axis=1)
    other = int((labels != labels[0]).argmax())  # 0 when all are alike
    return tuple(TestVector.of(images[at], logits[at]) for at in (0, other or len(labels) - 1))


def _correct(trial: Trial, evidence: Evidence) -> int:
    if evidence.expected is None or trial.given is None:
        return 0
    return int((trial.given.argmax(axis=1) == evidence.expected).sum())
