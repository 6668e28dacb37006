"""Tables of calibrators and corrections, from results/quantization/."""

from __future__ import annotations

from pathlib import Path

from hemline.contract.schema import load
from hemline.export.quantization.calibrators.comparison import CalibrationComparison
from hemline.export.quantization.calibrators.table import CALIBRATORS
from hemline.files import parse_json, read_bytes
from hemline.tables import CHANGE, Table, as_markdown, change


def calibration_table(root: Path) -> str:
    """Return a row for each calibrator, with how it changes the accuracy of each model."""
    folder = root / "results" / "quantization"
    found = [
        load(CalibrationComparison, each) for each in sorted(folder.glob("calibration-*.json"))
    ]
    columns = ["calibrator"]
    for each in found:
        columns += [f">{each.model}, 64 images", ">2,048", ">same label"]
    rows = [
        [name, *(cell for each in found for cell in _trials(each, name))] for name in CALIBRATORS
    ]
    said = ", ".join(f"{each.model} {100 * (each.float_accuracy or 0):.2f} %" for each in found)
    return (
        f"{as_markdown(Table.of(columns, rows))}\n\n"
        "Change of validation accuracy in points, by so many calibration images (synthetic: "
        "128), and the share of validation images with the label of the float model on the larger "
        f"number, in %. In float: {said}.\n"
    )


def _trials(comparison: CalibrationComparison, calibrator: str) -> tuple[str, str, str]:
    trials = comparison.of(calibrator)
    last = trials[-1]
    few = [change(each.drop_points or 0) for each in trials if each.images == 64]
    return (few[0] if few else "", change(last.drop_points or 0), f"{100 * last.agreement:.2f}")


def corrections_table(root: Path) -> str:
    """Return a row for each combination of corrections and model."""
    path = root / "results" / "quantization" / "corrections.jsonl"
    rows = []
    for line in read_bytes(path).decode().splitlines():
        found = parse_json(line, where=str(path))
        done = [name for name in ("equalization", "bias_correction") if found[name]]
        rows.append(
            (
                found["model"],
                " and ".join(done).replace("_", " ") or "none",
                f"{found['decibels']:.1f}",
                change(found["drop_points"]),
                f"{100 * found['agreement']:.2f}",
            )
        )
    columns = ("model", "correction", ">signal to noise (dB)", f">{CHANGE}", ">same label (%)")
    return f"{as_markdown(Table.of(columns, rows))}\n"
