"""`hemline verify` of a single file: check a stamped one, admit a foreign one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click

from hemline.console import next_step, say
from hemline.contract import schema
from hemline.contract.stamp import read_stamped
from hemline.data.class_names import parse_labels
from hemline.errors import UnstampedError, UsageError, remedy
from hemline.export.admission.admitting import Admission, AdmissionRequest, admit
from hemline.export.admission.self_check import FileVerdict
from hemline.export.admission.specs import Gives
from hemline.export.api import verify
from hemline.export.input_options import UNSPECIFIED, InputOptions
from hemline.remedies import advice
from hemline.small_sets import interval_text
from hemline.statistics import wilson
from hemline.tables import percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOptions:
    """What the user specifies of a foreign file; every field but `source` is None otherwise.

    labels: of --labels, a file or names with commas between them.
    source: its input.
    gives: of --output.
    images: .npy file of images to run as well.
    expected: .npy file of their classes.
    output: file to write.
    """

    labels: str | None = None
    source: InputOptions = UNSPECIFIED
    gives: Gives | None = None
    images: Path | None = None
    expected: Path | None = None
    output: Path | None = None

    @property
    def given(self) -> bool:
        """Tell whether any is specified."""
        return self != ForeignOptions()


def verify_file(path: Path, options: ForeignOptions, *, as_json: bool) -> None:
    """Check a stamped file or admit a foreign one, and print the result.

    Raises GateError when it fails in a runtime that it supports, otherwise as admit.
    """
    try:
        stamp = read_stamped(path).stamp
    except UnstampedError as error:
        _admit(path, options, as_json, error)
        return
    if options.given:
        raise UsageError(f"{path} is already stamped (model {stamp.model}): omit the options")
    verified = verify(path)
    for _, verdict in verified.verdicts:
        text = verdict.text if isinstance(verdict, FileVerdict) else ""
        click.echo(json.dumps(schema.to_document(verdict)) if as_json else text)
    if verified.failure is not None:
        raise verified.failure
    next_step("classify", path, "IMAGE")


def _admit(path: Path, options: ForeignOptions, as_json: bool, error: UnstampedError) -> None:
    if options.labels is None:
        raise error
    request = AdmissionRequest(
        path=path,
        output=options.output,
        labels=parse_labels(options.labels),
        pixels=options.source.scale,
        bgr=options.source.bgr,
        size=options.source.size,
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
    next_step("classify", admission.path, "IMAGE")


def _lines(admission: Admission) -> list[str]:
    stamp = admission.stamp
    source, target = stamp.input, stamp.output
    low, high = source.range
    lines = [
        f"{admission.path}: accepts {source.dtype} {' × '.join(map(str, source.shape))}, pixel "
        f"range {low:.4g} … {high:.4g}; returns {target.dtype} {target.gives} of {target.size} "
        "classes"
    ]
    for at, trial in enumerate(admission.trials):
        lines.append(f"{admission.path.name} in {trial.name}: {_finding(admission, at)}")
    if admission.unconfirmed:
        facts = "; ".join(admission.unconfirmed)
        lines.append(f"not confirmed: {facts}: confirm with --images and --expected")
    lines += [m.line for m in admission.mistakes]
    if admission.images and not admission.mistakes and _is_guessing(admission):
        lines.append(f"not clearly better than guessing: {advice(remedy('doubtful use'))}")
    if len(admission.trials) == 1:
        lines.append("not compared: no other installed runtime could run it")
    return lines


def _finding(admission: Admission, at: int) -> str:
    parity, tolerance = admission.parities[at], admission.stamp.tolerance
    finding = "passed, deterministic"
    if at > 0:
        beyond = f", beyond it {parity.outliers:,}" if parity.outliers else ""
        finding = (
            f"passed, agreement {100 * parity.agreement / parity.images:.2f} % with "
            f"{admission.trials[0].name}, {admission.stamp.output.gives} within "
            f"{parity.largest_difference:.2g} (tolerance {tolerance:.2g}{beyond})"
        )
    if admission.images == 0:
        return f"{finding}, {parity.images:,} images"
    correct, images = admission.correct[at], admission.images
    interval = interval_text(correct, images)
    return f"{finding}, accuracy {percent(correct / images)} on {images:,} images ({interval} %)"


def _is_guessing(admission: Admission) -> bool:
    low, _ = wilson(max(admission.correct), admission.images)
    return low <= 1 / admission.stamp.output.size


def _document(admission: Admission) -> dict[str, object]:
    runs = [
        {
            "runtime": trial.runtime,
            "version": trial.version,
            "largest_difference": admission.parities[at].largest_difference,
            "agreement": admission.parities[at].agreement,
            "compared": admission.parities[at].images,
            "images": admission.images,
            "correct": admission.correct[at],
        }
        for at, trial in enumerate(admission.trials)
    ]
    stamp = schema.to_document(admission.stamp)
    mistakes = [
        {
            "kind": m.kind,
            "message": m.message,
            "remedy": advice(m.remedy),
            "repaired": m.repaired,
            "certain": m.certain,
        }
        for m in admission.mistakes
    ]
    return {
        "artifact": str(admission.path),
        "runtimes": runs,
        "unconfirmed": list(admission.unconfirmed),
        "mistakes": mistakes,
        "stamp": stamp,
    }
