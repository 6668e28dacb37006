"""A budget: remedies for an 8-bit file are tried, the cheapest first, until one fits."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from graphs import Net, run

from hemline.cli import cli
from hemline.contract.manifest import read_manifest
from hemline.errors import GateError, HemlineError
from hemline.export.budget.rungs import RUNGS, described
from hemline.export.quantization.options import PostTrainingOptions
from hemline.remedies import REMEDIES

IMAGES = 600
Export = Callable[..., Result]


def damaged(path: Path, width: float = 400) -> tuple[Path, Path]:
    """Write a classifier with a channel `width` times as wide as the others, and its images.

    The next layer takes that back. 8 bits of the whole activation leave none to the other channels.
    """
    net = Net(("N", 3, 8, 8))
    wide = np.ones((12, 1, 1), np.float32)
    wide[0] = width
    scaled = net.op("Div", "x", net.constant(np.float32(255)))
    x = net.op("Relu", net.conv(scaled, 3, 12))
    x = net.op("Relu", net.conv(x, 12, 12))
    for constant, size in (
        (net.constants[-2], wide[..., None]),
        (net.constants[-1], wide[:, 0, 0]),
    ):
        array = onnx.numpy_helper.to_array(constant)
        constant.CopyFrom(onnx.numpy_helper.from_array(array * size, constant.name))
    x = net.op("Relu", net.conv(x, 12, 12))
    constant = net.constants[-2]
    array = onnx.numpy_helper.to_array(constant) / wide[None]
    constant.CopyFrom(onnx.numpy_helper.from_array(array, constant.name))
    proto = net.model(net.head(x, 12))
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (IMAGES, 2, 2, 3))
    images = (coarse.repeat(4, axis=1).repeat(4, axis=2)).astype(np.uint8)
    logits = run(proto, images.transpose(0, 3, 1, 2).astype(np.float32))
    # as many images of each class
    centred = logits - np.median(logits, axis=0)
    bias = onnx.numpy_helper.to_array(net.constants[-1]) - np.median(logits, axis=0)
    proto.graph.initializer[-1].CopyFrom(
        onnx.numpy_helper.from_array(bias.astype(np.float32), net.constants[-1].name)
    )
    onnx.save(proto, path / "model.onnx")
    np.savez(path / "images.npz", x=images, y=centred.argmax(axis=1).astype(np.uint8))
    return path / "model.onnx", path / "images.npz"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return damaged(tmp_path_factory.mktemp("damaged"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture
def export(folder: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Export:
    """Export the damaged model within a budget; what was exported before is there."""
    monkeypatch.chdir(folder)

    def run_it(*options: str) -> Result:
        return CliRunner().invoke(cli, [*command(files), *options])

    return run_it


def command(files: tuple[Path, Path]) -> list[str]:
    model, data = map(str, files)
    return ["export", model, "--data", data, "--scheme", "int8.onnx", "--pixels", "0..255"]


def attempts(result: Result) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {line["rung"]: line for line in lines if "rung" in line}


BUNDLE = Path("artifacts") / "model"


@pytest.mark.medium
def test_remedies_are_tried_until_one_fits(export: Export) -> None:
    """Clipping the wide channel is not enough; equalization leaves nothing to clip."""
    result = export("--max-drop", "4", "--json")
    assert result.exit_code == 0, result.output
    tried = attempts(result)
    assert list(tried) == ["int8", "calibration", "correction"]
    drops = [float(str(each["drop_points"])) for each in tried.values()]
    assert drops[0] > 10
    assert drops == sorted(drops, reverse=True)
    assert drops[-1] <= 4
    assert "equalization" in str(tried["correction"]["detail"])
    chosen = json.loads(result.stdout.splitlines()[-1])
    assert (chosen["artifact"], chosen["runtime"]) == ("int8.onnx", "onnxruntime")
    assert abs(chosen["drop_points"] - drops[-1]) < 1e-6, "the file does what was simulated"
    manifest = read_manifest(BUNDLE)
    assert manifest.recommended == "int8.onnx"
    (step,) = manifest.artifact("int8.onnx").steps
    assert step.name == "correction"
    assert step.gain_points == pytest.approx(drops[0] - drops[-1])
    assert not (BUNDLE / ".work").exists()


@pytest.mark.slow
def test_a_file_that_fails_verification_does_not_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With labels by chance nothing is lost, but the file has other labels than its model."""
    monkeypatch.chdir(tmp_path)
    model, classified = damaged(tmp_path, width=5000)
    with np.load(classified) as found:
        images, count = found["x"], len(found["y"])
    labels = np.random.default_rng(0).permutation(np.arange(count) % 5).astype(np.uint8)
    np.savez(tmp_path / "chance.npz", x=images, y=labels)
    result = CliRunner().invoke(
        cli, [*command((model, tmp_path / "chance.npz")), "--max-drop", "20", "--json"]
    )
    tried = attempts(result)
    assert "failed in a supported runtime: int8.onnx" in str(tried["int8"]["reason"])
    assert len(tried) > 1, "another remedy may give a file that passes"
    assert result.exit_code == 0 or str(result.exception).startswith("nothing fits"), result.output


@pytest.mark.medium
def test_another_run_tries_nothing_again(export: Export) -> None:
    export("--max-drop", "4")
    before = (BUNDLE / "int8.onnx").stat().st_mtime_ns
    result = export("--max-drop", "4")
    assert result.exit_code == 0, result.output
    assert "try " not in result.output
    assert "export int8" not in result.output
    assert (BUNDLE / "int8.onnx").stat().st_mtime_ns == before
    assert (
        "int8.onnx in onnxruntime fits a budget of a loss of 4 points of accuracy: "
        in result.stdout
    )


@pytest.mark.medium
def test_no_remedy_is_tried_for_a_file_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mild = damaged(tmp_path, width=4)  # its int8 file passes verification
    result = CliRunner().invoke(cli, [*command(mild), "--max-kb", "1"])
    assert isinstance(result.exception, GateError)
    assert str(result.exception).startswith("nothing fits a budget of 1 kB; the nearest, int8.onnx")
    assert str(result.exception).endswith("has 9 kB (budget 1)")
    assert result.exception.remedy is not None  # size is the matter, not accuracy
    assert REMEDIES[result.exception.remedy.name].startswith("4-bit weights make smaller files")
    assert "try int8" in result.output
    assert "try calibration" not in result.output
    assert read_manifest(BUNDLE).recommended is None


def test_a_budget_of_time_is_of_a_device(export: Export) -> None:
    for device in ("emulated:pi4", "tflm"):
        result = export("--max-ms", "2", "--device", device)
        assert isinstance(result.exception, HemlineError)
    alone = export("--device", "local")
    assert "go with --max-drop" in str(alone.exception)
    assert "must be 0 or more" in str(export("--max-drop", "-1").exception)


def test_a_budget_needs_images(
    folder: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(
        cli, ["export", str(files[0]), "--pixels", "0..255", "--labels", "a,b,c,d,e",
              "--scheme", "fp32.onnx", "--max-drop", "1", "-o", str(folder / "none")]
    )  # fmt: skip
    assert "a budget needs your images" in str(result.exception)


def test_rungs_are_of_schemes_that_there_are() -> None:
    assert RUNGS[0].scheme == "int8"
    assert all(row.planner for rung in RUNGS for row in rung.rows(("tflite", "onnx")))
    usual = PostTrainingOptions()
    best = dataclasses.replace(usual, calibrator="mse", bias_correction=True)
    assert described(usual, None) == "calibrator min-max"
    assert described(best, usual) == "calibrator mse, bias correction"
    assert described(best, best) == "unchanged"
    for rung in RUNGS:
        variants = rung.variants(best, usual)
        assert len(variants) == len(set(variants))


@pytest.mark.slow
def test_a_killed_export_leaves_the_bundle_and_goes_on(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    python = [str(Path(sys.executable).with_name("hemline"))]
    plain = subprocess.run([*python, *command(files)], cwd=tmp_path, capture_output=True)
    assert plain.returncode == 0, plain.stderr
    bundle = tmp_path / BUNDLE
    before = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    within = [*python, *command(files), "--max-drop", "4"]
    child = subprocess.Popen(within, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("try correction"):
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    child.stderr.close()
    after = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    assert after.keys() - before.keys() == {"budget.json"}
    assert {name: after[name] for name in before} == before
    again = subprocess.run(within, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "try calibration" not in again.stderr
    assert "try correction" in again.stderr
