"""A name that does not exist ends with exit code 2, one line and the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "unknown command 'trian': did you mean 'train'"),
        ("push x", "unknown command 'push': did you mean 'device push'"),
        ("rollback", "unknown command 'rollback': did you mean 'device rollback'"),
        ("train hem-5ok", "unknown model 'hem-5ok': did you mean 'hem-50k'"),
        ("train --recipe fats", "unknown recipe 'fats': did you mean 'fast'"),
        pytest.param(
            "train --precision flaot32",
            "unknown precision 'flaot32': did you mean 'float32'",
            marks=pytest.mark.slow,
        ),
        pytest.param("train --epochs 0", "epochs must be at least 1", marks=pytest.mark.slow),
        pytest.param("train --epochs many", "Invalid value for '--epochs'", marks=pytest.mark.slow),
        pytest.param(
            "export --model hem-5ok",
            "unknown model 'hem-5ok': did you mean 'hem-50k'",
            marks=pytest.mark.slow,
        ),
        ("export --scheme int-8", "unknown scheme 'int-8': did you mean 'int8"),
        pytest.param(
            "export --calibration 0",
            "--calibration-images must be at least 1",
            marks=pytest.mark.slow,
        ),
        pytest.param("export --data nowhere", "'nowhere' does not exist", marks=pytest.mark.slow),
        (
            "data fetch fashon-mnist",
            "unknown data set 'fashon-mnist': did you mean 'fashion-mnist'",
        ),
        pytest.param(
            "data check minst",
            "unknown data set 'minst': did you mean 'mnist'",
            marks=pytest.mark.slow,
        ),
        ("bench {bundle} --device lokal", "unknown device 'lokal': did you mean 'local'"),
        pytest.param(
            "bench {bundle} --threads 1,x", "'1,x' is not a list of numbers", marks=pytest.mark.slow
        ),
        ("bench nowhere", "'nowhere' does not exist"),
        (
            "classify {bundle}/int8.tflite a.png --runtime lite-rt",
            "unknown runtime 'lite-rt': did you mean 'litert'",
        ),
        pytest.param(
            "choose {bundle} --max-kb many", "Invalid value for '--max-kb'", marks=pytest.mark.slow
        ),
    ],
)
def test_a_wrong_request_ends_with_one_line(hemline, bundle: Path, line: str, message: str) -> None:
    ended = hemline.run(*line.format(bundle=bundle).split())
    assert message in ended.error
    assert (ended.code, ended.output) == (2, "")


def test_a_runtime_of_another_format_is_told(hemline, bundle: Path) -> None:
    ended = hemline.run("classify", bundle / "int8.onnx", "a.png", "--runtime", "litert")
    assert "int8.onnx is a .onnx file: litert cannot open it" in ended.error
    assert ended.code == 1


@pytest.mark.slow
def test_a_budget_that_nothing_fits_ends_with_exit_code_3(hemline, copy: Path) -> None:
    assert hemline.run("bench", copy, "--quick").code == 0
    ended = hemline.run("choose", copy, "--max-kb", "0.1")
    first, *reasons = ended.errors
    assert first == "error: no artifact fits the budget:"
    assert reasons
    assert all(re.fullmatch(r"  \S+ in \S+ has \d+ kB \(budget 0\.1\)", each) for each in reasons)
    assert ended.code == 3
