"""`hemline gate`."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline import files
from hemline.arguments import FILE, PATH, json_option, path_argument
from hemline.bench.api import locked, measured, opened
from hemline.bench.commands import devices_option
from hemline.console import require_package, say
from hemline.contract.record import LOCAL, read_records
from hemline.contract.schema import to_document
from hemline.errors import UsageError
from hemline.exporting import Export, export_options
from hemline.tables import as_text

if TYPE_CHECKING:
    from hemline.bench.gate.decision import Check
    from hemline.bench.gate.side import Side

select_option = click.option(
    "--select",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only these cells: int8.tflite, litert, int8.*@litert; repeatable.",
)
_LIMITS = ("max_slowdown", "max_drop", "max_kb", "max_memory_mb")


class _Limit(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; fails for NaN too, which is in every range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


@click.command()
@path_argument("candidates", "BUNDLE|FILE|RECORDS…")
@click.option(
    "--baseline",
    "baselines",
    required=True,
    multiple=True,
    type=PATH,
    help="Earlier bundle, file or records (.jsonl); one per candidate.",
)
@click.option("--max-slowdown", type=_Limit(min=1), help="Largest ratio of latencies, as in 1.10.")
@click.option("--max-drop", type=_Limit(min=0), help="Largest loss of validation accuracy, points.")
@click.option("--max-kb", type=_Limit(min=0, min_open=True), help="Largest file, kB of 1000 bytes.")
@click.option(
    "--max-memory-mb", type=_Limit(min=0, min_open=True), help="Most memory, MB of 1,000,000 bytes."
)
@select_option
@devices_option("Whose figures to check (two bundles: local)", default=None)
@click.option(
    "--reference",
    default="fp32.tflite@litert",
    show_default=True,
    help="Cell that both records have, as ARTIFACT@RUNTIME.",
)
@click.option(
    "--rounds",
    type=click.IntRange(3, 1000),
    default=24,
    show_default=True,
    help="Most rounds, each with new processes.",
)
@click.option("--junit", type=FILE, help="Write JUnit XML.")
@click.option("--markdown", type=FILE, help="Write a Markdown summary for a pull request.")
@json_option()
@export_options
def gate(
    candidates: tuple[Path, ...],
    baselines: tuple[Path, ...],
    reference: str,
    patterns: tuple[str, ...],
    devices: tuple[str, ...],
    rounds: int,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
    export: Export,
    **limits: float | None,
) -> None:
    """Check a bundle against a baseline, for CI.

    Checks latency, accuracy, size and memory against the limits that are set. Exit code 3 when a
    check fails, 4 when there is not enough evidence. Two bundles are measured now, in turn; records
    are compared as they are, and so are the instructions of an emulated device. Several bundles are
    checked one after the other, each against its own baseline.
    """
    from hemline.bench.devices.addresses import open_device
    from hemline.bench.gate.gating import GateRequest, require_passed, run_gate, summary
    from hemline.bench.gate.report import gate_junit, gate_markdown, gate_table

    if all(limit is None for limit in limits.values()):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in _LIMITS)
        raise UsageError(f"no limit to check: set one of {names}")
    pairs = _pairs(baselines, candidates)
    require_package("scipy", "intervals need scipy: pip install scipy")
    request = GateRequest(patterns=patterns, reference=_place(reference), rounds=rounds, **limits)
    checks: list[Check] = []
    for pair, device in itertools.product(pairs, devices or ("",)):
        with (
            locked([path for path in pair if path.suffix != ".jsonl"]),
            open_device(device or LOCAL) as opened_device,
        ):
            found = run_gate(_sides(*pair, device), request, opened_device, progress=say)
        name = f"{pair[1].name}: " if len(pairs) > 1 else ""
        checks += (replace(check, cell=f"{name}{check.cell}") for check in found)
    export(gate_table(checks))
    if junit is not None:
        files.write_bytes(junit, gate_junit(checks))
    if markdown is not None:
        before, after = (", ".join(map(str, paths)) for paths in (baselines, candidates))
        text = gate_markdown(checks, (before, after))
        files.write_bytes(markdown, text.encode())
    if as_json:
        click.echo("\n".join(json.dumps(to_document(check)) for check in checks))
    else:
        click.echo(f"{as_text(gate_table(checks))}\n{summary(checks)}")
    require_passed(checks)


def _pairs(baselines: Sequence[Path], candidates: Sequence[Path]) -> tuple[tuple[Path, Path], ...]:
    """Return each candidate behind its baseline."""
    if len(baselines) != len(candidates):
        raise UsageError(
            f"{len(candidates)} to check, but baselines: {len(baselines)}; name one for each"
        )
    for baseline, candidate in zip(baselines, candidates, strict=True):
        if baseline.resolve() == candidate.resolve():
            raise UsageError(f"{baseline} is compared with itself: name another baseline")
    return tuple(zip(baselines, candidates, strict=True))


def _place(reference: str) -> tuple[str, str]:
    artifact, _, runtime = reference.partition("@")
    if not (artifact and runtime):
        raise UsageError(f"{reference!r} is not a cell: write it as ARTIFACT@RUNTIME")
    return artifact, runtime


def _sides(baseline: Path, candidate: Path, device: str) -> tuple[Side, Side]:
    """Read both; single files are brought up to date where both are to be measured.

    `device`: whose figures count; empty for all latencies.
    """
    from hemline.bench.gate.side import Side, figures_of
    from hemline.bench.records import current_records

    paths = (baseline, candidate)
    bundles = [path for path in paths if path.suffix != ".jsonl"]
    found = opened(bundles) if len(bundles) > 1 else measured(bundles) if bundles else ()
    subjects = dict(zip(bundles, found, strict=True))
    before, after = (
        Side(
            name=str(path),
            records=figures_of(
                current_records(subjects[path]) if path in subjects else read_records(path), device
            ),
            subject=subjects.get(path),
        )
        for path in paths
    )
    return before, after
