"""The runtime in one file: small, whole, made alike each time, and it does what hemline does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hemline.bench.devices.ssh import on_board
from hemline.contract.manifest import read_manifest
from hemline.contract.stamp import read_stamped
from hemline.data.datasets import Images
from hemline.errors import HemlineError
from hemline.runtime.one_file import (
    _NUMPY,
    _PYTHON,
    NAME,
    _without_prose,
    reached_modules,
    write_runtime_file,
)
from hemline.runtime.one_file import runtime_file as packed

LARGEST_BYTES = 100_000


@pytest.fixture(scope="module")
def runtime_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("one-file") / NAME
    write_runtime_file(path)
    return path


def run(runtime_file: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the file as a device does: isolated, from a folder that has nothing of Hemline."""
    done = subprocess.run(
        [sys.executable, "-I", str(runtime_file), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=runtime_file.parent,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def test_it_is_small(runtime_file: Path) -> None:
    assert runtime_file.stat().st_size <= LARGEST_BYTES


def test_the_same_sources_give_the_same_bytes(runtime_file: Path) -> None:
    packed_again = packed.__wrapped__()  # past its cache
    assert packed_again == runtime_file.read_bytes()


def test_comments_and_docstrings_are_left_out_and_lines_keep_their_numbers() -> None:
    source = b'''"""What it is for."""

X = "#"  # why

def f():
    """Return 1.

    Always.
    """
    return 1  # one
'''
    stripped = _without_prose(source, keep_first=True).decode().split("\n")
    assert stripped[0] == '"""What it is for."""'
    assert stripped[2] == 'X = "#"'
    assert stripped[5:10] == ['    "."', "", "", "", "    return 1"]
    assert _without_prose(source, keep_first=False).startswith(b'"."\n\nX')


def test_help_says_what_a_command_is_for(runtime_file: Path) -> None:
    assert "Run jobs: one JSON document" in run(runtime_file, "jobs", "--help").stdout


def test_without_numpy_it_says_so_in_one_line(runtime_file: Path) -> None:
    command = [sys.executable, "-I", "-S", str(runtime_file), "info"]  # -S: without packages
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: numpy is missing or broken here (No module named 'numpy'): pip install numpy"
    ]


def test_a_numpy_that_is_too_old_is_named_in_one_line(runtime_file: Path, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text('__version__ = "1.21.5"')
    done = subprocess.run(
        [sys.executable, "-S", str(runtime_file), "info"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.stderr == "error: numpy 1.21.5 is too old: pip install 'numpy>=1.24'\n"


def test_it_says_at_an_import_what_is_missing(runtime_file: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from hemline.runtime import Classifier"
    command = [sys.executable, "-I", "-S", "-c", code, str(runtime_file)]
    last = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()[-1]
    assert last.startswith("ImportError: numpy is missing or broken here")


def test_a_board_without_numpy_reports_its_host_facts(runtime_file: Path) -> None:
    command = [sys.executable, "-I", "-S", on_board.__file__, "facts", str(runtime_file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cores"]


def test_it_asks_for_what_the_package_asks_for() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.10"' in project
    assert '"numpy>=1.24",' in project
    assert "(3, 10)" in _PYTHON
    assert "(1, 24)" in _NUMPY


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8", "3.9"])
def test_an_old_python_is_named_in_one_line(runtime_file: Path, version: str) -> None:
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} here")
    done = subprocess.run([found[0], str(runtime_file), "info"], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"error: this is Python [\d.]+: use Python 3\.10 or newer\n", done.stderr)


def test_it_holds_every_module_that_it_reaches(runtime_file: Path) -> None:
    """Import all of them from the archive, with Hemline itself out of reach."""
    names = sorted(reached_modules())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import importlib\n"
        f"loaded = [importlib.import_module(name) for name in {names}]\n"
        "assert all(sys.argv[1] in module.__file__ for module in loaded)"
    )
    subprocess.run(
        [sys.executable, "-I", "-c", code, str(runtime_file)], check=True, cwd=runtime_file.parent
    )


def test_it_holds_no_stage_but_the_runtime(runtime_file: Path) -> None:
    with zipfile.ZipFile(runtime_file) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.startswith(("hemline/train", "hemline/bench"))]
    assert not {"hemline/cli.py", "hemline/runtime/commands.py"} & set(names)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "dist").write_text("a file")
    with pytest.raises(HemlineError, match="cannot write"):
        write_runtime_file(tmp_path / "dist" / NAME)


def test_it_classifies(runtime_file: Path, bundle: Path, images: Images, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", images.test_images[0])
    done = run(runtime_file, "classify", bundle / "int8.tflite", tmp_path / "image.npy", "--json")
    assert json.loads(done.stdout)["index"] == int(images.test_labels[0])


def test_it_looks_for_tuned_settings_beside_the_artifact(
    runtime_file: Path, bundle: Path, images: Images, tmp_path: Path
) -> None:
    np.save(tmp_path / "image.npy", images.test_images[0])
    done = run(runtime_file, "classify", bundle / "int8.tflite", tmp_path / "image.npy", "--tuned")
    assert "is opened with default settings: it was not tuned for" in done.stderr
    assert done.stdout


def test_info_tells_the_machine_and_its_runtimes(runtime_file: Path) -> None:
    told = json.loads(run(runtime_file, "info", "--json").stdout)
    assert told["versions"]["numpy"] == np.__version__
    assert told["host"]["cores"] >= 1
    assert set(told["runtimes"]) == {"litert", "tflite-runtime", "onnxruntime"}
    assert "processor" in run(runtime_file, "info").stdout


def test_info_tells_what_an_artifact_says_of_itself(runtime_file: Path, bundle: Path) -> None:
    path = bundle / "int8.onnx"
    assert "uint8 28 × 28 × 1" in run(runtime_file, "info", path).stdout
    stamp = json.loads(run(runtime_file, "info", path, "--json").stdout)
    assert stamp["payload_sha256"] == read_stamped(path).stamp.payload_sha256


def test_selftest_runs_the_stamped_images(runtime_file: Path, bundle: Path) -> None:
    done = run(runtime_file, "selftest", bundle, "--json")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["artifact"] for r in results] == [a.name for a in read_manifest(bundle).artifacts]
    assert all(r["passed"] and r["vectors"] == 2 for r in results)


def test_a_command_that_does_not_exist_gets_the_nearest_one(runtime_file: Path) -> None:
    done = run(runtime_file, "clasify", code=2)
    assert done.stderr == "error: unknown command 'clasify': did you mean 'classify'?\n"


def test_a_wrong_option_is_one_line(runtime_file: Path) -> None:
    done = run(runtime_file, "classify", "int8.tflite", "a.png", "--tap", code=2)
    assert done.stderr.startswith("error: unrecognized arguments: --tap (see ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [(), ("--help",), ("classify", "--help"), ("--version",)])
def test_help_and_version_are_told(runtime_file: Path, arguments: tuple[str, ...]) -> None:
    assert run(runtime_file, *arguments).stdout.strip()


def test_options_may_stand_anywhere(runtime_file: Path, bundle: Path, tmp_path: Path) -> None:
    for name in ("a.npy", "-b.npy"):
        np.save(tmp_path / name, np.zeros((28, 28), np.uint8))
    first = ("classify", bundle / "int8.tflite", "--json", tmp_path / "a.npy", "--top", "1")
    assert json.loads(run(runtime_file, *first).stdout)["top"]
    dashed = ("classify", "--json", bundle / "int8.tflite", "--", tmp_path / "-b.npy")
    assert json.loads(run(runtime_file, *dashed).stdout)["image"].endswith("-b.npy")
