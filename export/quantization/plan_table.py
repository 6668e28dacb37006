"""Quantization plans of a bundle, and their tables."""

from __future__ import annotations

from pathlib import Path

from hemline.contract import schema
from hemline.contract.manifest import plan_path, read_manifest
from hemline.errors import FileFormatError, HemlineError, remedy
from hemline.export.quantization.calibrators.table import CALIBRATORS
from hemline.export.quantization.plan import QuantizationPlan
from hemline.files import sha256_of
from hemline.tables import Table, signed


def read_plans(path: Path) -> dict[str, QuantizationPlan]:
    """Return the plans in a bundle, or that of one artifact in it, by the artifact's name.

    Raises HemlineError where there are none, FileFormatError for a plan that was altered.
    """
    bundle, only = (path, None) if path.is_dir() else (path.parent, path.name)
    artifacts = read_manifest(bundle).artifacts
    wanted = [each for each in artifacts if only in (None, each.name) and each.plan_sha256]
    if not wanted:
        raise HemlineError(
            f"{path} has no quantization plan: its files are in float, or an earlier Hemline made "
            "them",
            remedy=remedy("export again"),
        )
    plans = {}
    for artifact in wanted:
        file = bundle / plan_path(artifact.name)
        if sha256_of(file) != artifact.plan_sha256:
            raise FileFormatError(
                f"{file} is not the plan that {artifact.name} was made by",
                remedy=remedy("export again"),
            )
        plans[artifact.name] = schema.load(QuantizationPlan, file)
    return plans


def origin_line(name: str, plan: QuantizationPlan) -> str:
    """Return one line on where the ranges of an artifact come from."""
    origin = plan.origin
    known = CALIBRATORS.get(origin.calibrator)
    synthetic = known is not None and known.synthetic
    kind = "images made without data" if synthetic else "training images"
    return (
        f"{name}: calibrator {origin.calibrator} on {origin.images:,} {kind} "
        f"(SHA-256 {origin.images_sha256[:12]}…)"
    )


def step_lines(path: Path, name: str) -> list[str]:
    """Return a line for each step that an artifact was made by, with its gain on validation."""
    bundle = path if path.is_dir() else path.parent
    return [
        f"{step.name}: {step.detail}"
        + ("" if step.gain_points is None else f" ({signed(step.gain_points)} points)")
        for step in read_manifest(bundle).artifact(name).steps
    ]


def plan_tables(plan: QuantizationPlan) -> list[Table]:
    """Return the table of layers and that of activations; with reasons where some are in float."""
    weights = [(g.layer, _bits(g.bits), g.scope, g.reason) for g in plan.weights]
    ranges = [(a.tensor, f"{a.low:.4g}", f"{a.high:.4g}", _bits(a.bits)) for a in plan.activations]
    plain = 3 if plan.is_plain else 4  # columns
    return [
        Table.of(
            ("layer", ">weight bits", "scale per", "why")[:plain], [w[:plain] for w in weights]
        ),
        Table.of(("activation", ">low", ">high", ">bits")[:plain], [r[:plain] for r in ranges]),
    ]


def _bits(bits: int) -> str:
    return "float" if bits == 32 else str(bits)
