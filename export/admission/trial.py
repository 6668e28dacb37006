"""Run an untrusted model in its runtimes, and compare their outputs.

Every run is a job in a confined process. The same file runs in all of them, so only the kernels
differ, and how far their answers may lie apart is derived below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.contract.job import Job, JobCell
from hemline.contract.parity import ParityBounds, check_parity
from hemline.contract.specs import OutputSpec
from hemline.errors import FileFormatError, GateError, JobError
from hemline.export.admission.confined import COMMAND, in_one_line
from hemline.export.admission.descriptions import Description
from hemline.export.scheme import Tolerance
from hemline.export.schemes import EIGHT_BIT, EIGHT_BIT_ROUNDING, FLOAT32
from hemline.runtime.backends import BACKENDS, Backend
from hemline.runtime.process import JobProcess

Pixels = npt.NDArray[np.uint8]
Outputs = npt.NDArray[np.float32]

TRIAL_SECONDS = 120.0  # for 16 images; a model for a small device does not take longer
_ALL_SECONDS = 3600.0  # for the images of the user, however many
_BATCH = 8

# Two runtimes with the same file, as a share of the largest |output|. In float each may be off by
# fp32's share. In 8 bit the weights are the same; a kernel may round each activation to the other
# of two neighbouring steps: at worst one rounding of its own in each runtime. Where a model gives
# probabilities the largest value counts as 1. An error e of the logits moves a probability by e ÷ 2
# at most, so the share admits logits twice as far apart where the answer is open: less than for
# logits themselves as soon as these are larger than 2.
_FLOAT = replace(FLOAT32, share=2 * FLOAT32.share)
_EIGHT_BIT = replace(EIGHT_BIT, share=EIGHT_BIT_ROUNDING, least=0.0)


def between_runtimes(eight_bit: bool) -> Tolerance:
    """Return how far the outputs of two runtimes with one file may lie apart."""
    return _EIGHT_BIT if eight_bit else _FLOAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a model returned in one runtime.

    runtime: name in the BACKENDS table.
    version: of the runtime's package.
    generated: float32 (16, classes), of the generated images.
    given: float32 (n, classes), of the user's images; None where there are none.
    takes_batches: whether several images at once give the outputs of single ones.
    """

    runtime: str
    version: str
    generated: Outputs
    given: Outputs | None
    takes_batches: bool

    @property
    def outputs(self) -> Outputs:
        """Return the outputs of all images, float32 (n, classes)."""
        parts = [self.generated] if self.given is None else [self.generated, self.given]
        return np.concatenate(parts)

    @property
    def name(self) -> str:
        """Return runtime and version."""
        return f"{self.runtime} {self.version}"


class Refused(Exception):  # noqa: N818 — a finding of a trial, not a mistake
    """A runtime opens the model but does not run it; the text is its reason, one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """A model to try.

    artifact: the file with a stamp for the trial only.
    shown: the file that the user named, for errors.
    generated: path of the generated images.
    given: path of the user's images, or None.
    arrays: folder for the outputs.
    output: of the model, as far as it is known before a trial.
    share: how far outputs may lie apart, as a share of the largest.
    agreement: least share of images with the same label.
    """

    artifact: Path
    shown: Path
    generated: Path
    given: Path | None
    arrays: Path
    output: OutputSpec
    share: float
    agreement: float

    def agrees(self, found: Outputs, reference: Outputs) -> bool:
        """Tell whether outputs are the same but for rounding."""
        bounds = ParityBounds(
            difference=self.share * float(np.abs(reference).max()), agreement=self.agreement
        )
        return check_parity(found, reference, self.output, bounds).passed


def try_in_all(
    opened: dict[Backend, Description], request: TrialRequest, say: Callable[[str], None]
) -> tuple[Trial, ...]:
    """Return what came of each runtime that runs the model.

    Raises FileFormatError when none does, otherwise as try_in.
    """
    trials, reasons = [], []
    for backend, found in opened.items():
        try:
            trials.append(try_in(backend, found.version, request))
        except Refused as error:  # noqa: PERF203 — a trial takes seconds
            reasons.append(f"{backend.name} {found.version}: {error}")
    if not trials:
        raise FileFormatError(f"{request.shown} is rejected by {'; '.join(reasons)}")
    for reason in reasons:
        say(f"rejected by {reason}")
    return tuple(trials)


def try_in(backend: Backend, version: str, request: TrialRequest) -> Trial:
    """Run a model twice on the generated images and once on the user's, then in batches.

    Raises Refused, JobError when the process dies or hangs, and GateError for a model whose outputs
    are not finite or not the same both times.
    """
    where = f"{request.shown} in {backend.name} {version}"
    with _process(request) as process:
        first = _run(process, backend, request, request.generated, TRIAL_SECONDS)
        second = _run(process, backend, request, request.generated, TRIAL_SECONDS)
        given = request.given
        outputs = None if given is None else _run(process, backend, request, given, _ALL_SECONDS)
    for found in (first, outputs):
        if found is not None and not np.isfinite(found).all():
            raise GateError(f"not admitted: {where} returns non-finite values")
    if not np.array_equal(first, second):
        raise GateError(
            f"not admitted: {where} returns different values for the same images on each run"
        )
    return Trial(
        runtime=backend.name,
        version=version,
        generated=first,
        given=outputs,
        takes_batches=_takes_batches(backend, request, first),
    )


@contextmanager
def running_again(
    runtime: str, request: TrialRequest
) -> Iterator[Callable[[bytes, Pixels], Outputs]]:
    """Lend a function that runs a file that was tried, with another stamp, in one process.

    It returns float32 outputs (n, classes) of images. The process opens the model once: a stamp
    changes only how pixels go in. Raises Refused, or JobError when the process dies or hangs.
    """
    again = replace(request, artifact=request.artifact.with_stem("again"))
    path = request.arrays / "again.npy"
    with _process(again) as process:

        def run(artifact: bytes, images: Pixels) -> Outputs:
            files.write_bytes(again.artifact, artifact)
            np.save(path, images)
            return _run(process, BACKENDS[runtime], again, path, _ALL_SECONDS)

        yield run


def _run(
    process: JobProcess,
    backend: Backend,
    request: TrialRequest,
    images: Path,
    seconds: float,
    batch: int = 1,
) -> Outputs:
    """Return float32 outputs (n, …) of a file of images; raises Refused or JobError."""
    job = Job(
        id="trial",
        artifact=str(request.artifact),
        runtime=backend.name,
        images=str(images),
        cells=(JobCell(batch=batch),),
        arrays=str(request.arrays),
    )
    result = process.run(job, timeout_seconds=seconds)
    if result.failure is not None:
        said = result.failure.message.replace(str(request.artifact), str(request.shown))
        raise Refused(in_one_line(said))
    return result.logits()


@contextmanager
def _process(request: TrialRequest) -> Iterator[JobProcess]:
    """Lend a confined job runner; its errors name the user's file."""
    try:
        with JobProcess((*COMMAND, "jobs")) as process:
            yield process
    except JobError as error:
        said = str(error).replace(str(request.artifact), str(request.shown))
        raise JobError(f"not admitted: {said}") from error


def _takes_batches(backend: Backend, request: TrialRequest, singles: Outputs) -> bool:
    """Tell whether images in a batch get their own outputs; a model made for one may even crash."""
    try:
        with _process(request) as process:
            found = _run(process, backend, request, request.generated, TRIAL_SECONDS, _BATCH)
    except (Refused, JobError):
        return False
    # a batch is summed in another order, and with 8 bits its ranges may be those of all its images
    return request.agrees(found, singles)
