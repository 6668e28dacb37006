"""The form of `hemline verify` for a single file: check a stamped one, admit a foreign one."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from hemline.console import say
from hemline.contract import schema
from hemline.contract.stamp import read_stamped
from hemline.data.class_names import parse_labels
from hemline.errors import GateError, UnstampedError, UsageError
from hemline.export.admission.admitting import Admission, AdmissionRequest, admit
from hemline.export.admission.self_check import FileVerdict, check_file
from hemline.export.admission.specs import Gives, parse_pixels
from hemline.statistics import wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOptions:
    """What the user tells of a foreign file; every field is None unless told.

    labels: of --labels, a file or names with commas between them.
    pixels: of --pixels, LOW..HIGH.
    mean, std: in pixels 0 … 255.
    gives: of --output.
    images: .npy file of images to run as well.
    expected: .npy file of their classes.
    output: file to write.
    """

    labels: str | None
    pixels: str | None
    mean: float | None
    std: float | None
    gives: Gives | None
    images: Path | None
    expected: Path | None
    output: Path | None

    @property
    def given(self) -> bool:
        """Tell whether any was told."""
        return any(getattr(self, name) is not None for name in self.__slots__)


def verify_file(path: Path, options: ForeignOptions, *, as_json: bool) -> None:
    """Check a stamped file or admit a foreign one, and print what came of it.

    Raises GateError when it fails in a runtime that it supports, otherwise as admit.
    """
    try:
        stamp = read_stamped(path).stamp
    except UnstampedError as error:
        _admit(path, options, as_json, error)
        return
    if options.given:
        raise UsageError(f"{path} is stamped already (model {stamp.model}): leave the options out")
    verdicts = check_file(path)
    for verdict in verdicts:
        click.echo(json.dumps(schema.to_document(verdict)) if as_json else _verdict_line(verdict))
    broken = [_verdict_line(v) for v in verdicts if v.supported and v.status != "passed"]
    if broken:
        raise GateError(f"failed in a supported runtime: {'; '.join(broken)}")


def _admit(path: Path, options: ForeignOptions, as_json: bool, error: UnstampedError) -> None:
    if options.labels is None:
        raise error
    request = AdmissionRequest(
        path=path,
        output=options.output,
        labels=parse_labels(options.labels),
        pixels=parse_pixels(options.pixels, options.mean, options.std),
        gives=options.gives,
        images=options.images,
        expected=options.expected,
    )
    admission = admit(request, say=say)
    if as_json:
        click.echo(json.dumps(_document(admission)))
        return
    for line in _lines(admission):
        click.echo(line)


def _verdict_line(verdict: FileVerdict) -> str:
    where = f"{verdict.artifact} in {verdict.runtime} {verdict.version}".rstrip()
    return f"{where}: {verdict.status}{f' ({verdict.reason})' if verdict.reason else ''}"


def _lines(admission: Admission) -> list[str]:
    stamp, out = admission.stamp, shlex.quote(str(admission.path))
    source, target = stamp.input, stamp.output
    low, high = ((pixel - source.mean) / source.std for pixel in (0, 255))
    lines = [
        f"{admission.path}: takes {source.dtype} {' × '.join(map(str, source.shape))}, "
        f"pixels as {low:.4g} … {high:.4g}; gives {target.dtype} {target.gives} of "
        f"{target.classes} classes"
    ]
    for at, trial in enumerate(admission.trials):
        lines.append(f"{admission.path.name} in {trial.name}: {_finding(admission, at)}")
    if admission.images and _is_guessing(admission):
        lines.append("no better than guessing: are --pixels and the order of --labels right?")
    if len(admission.trials) == 1:
        lines.append("compared with itself only: no other runtime here could run it")
    return [*lines, f"next: hemline classify {out} IMAGE, or hemline selftest {out}"]


def _finding(admission: Admission, at: int) -> str:
    trial, tolerance = admission.trials[at], admission.stamp.tolerance
    finding = "steady"
    if at > 0:
        finding = (
            f"within {admission.differences[at]:.2g} of {admission.trials[0].name} "
            f"(tolerance {tolerance:.2g})"
        )
    if admission.images == 0:
        return f"{finding}, {len(trial.answers):,} images"
    low, high = wilson(admission.correct[at], admission.images)
    return (
        f"{finding}, {100 * admission.correct[at] / admission.images:.2f} % right of "
        f"{admission.images:,} images ({100 * low:.2f} … {100 * high:.2f} %)"
    )


def _is_guessing(admission: Admission) -> bool:
    low, _ = wilson(max(admission.correct), admission.images)
    return low <= 1 / admission.stamp.output.classes


def _document(admission: Admission) -> dict[str, object]:
    runs = [
        {
            "runtime": trial.runtime,
            "version": trial.version,
            "largest_difference": admission.differences[at],
            "images": admission.images,
            "correct": admission.correct[at],
        }
        for at, trial in enumerate(admission.trials)
    ]
    stamp = schema.to_document(admission.stamp)
    return {"artifact": str(admission.path), "runtimes": runs, "stamp": stamp}
