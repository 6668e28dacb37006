"""Environments and wheel sets: made whole or not at all, and tried before they are kept."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from package_index import BROKEN, CRASHING, add_runtime, add_wheel, make_index, use_index

from hemline import folders
from hemline.cli import cli
from hemline.contract import schema
from hemline.environments.environment import (
    RECORD_NAME,
    RUNTIME_NAME,
    Environment,
    Requirement,
    add_environment,
    environments,
    environments_folder,
    fault,
    find_interpreter,
    target_of,
)
from hemline.environments.probe_artifact import probe_artifact
from hemline.environments.wheels import MACHINES, PACKAGES, WheelRequest, wheel_set, wheel_sets
from hemline.errors import (
    BackendError,
    BusyError,
    FetchError,
    HemlineError,
    UnknownNameError,
    UsageError,
)
from hemline.files import locked
from hemline.progress import report_to
from hemline.remedies import described
from hemline.runtime.backends import BACKENDS
from hemline.runtime.discovery import installed_names
from hemline.runtime.one_file import runtime_file
from hemline.runtime.targets import find_targets, installed_targets
from hemline.user_folders import cache_folder

HERE = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index of litert 7.0.0 and 7.1.0, and a cache that has 7.0.0."""
    folder = tmp_path_factory.mktemp("stock")
    index = make_index(folder / "index")
    add_runtime(index, "7.0.0")
    add_runtime(index, "7.1.0")
    with pytest.MonkeyPatch.context() as patch:
        use_index(index, patch)
        add_environment(
            Requirement.parse("litert==7.0.0"),
            find_interpreter(None),
            runtime_file(),
            folder / "cache",
        )
    return folder


@pytest.fixture
def index(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an index with litert 7.0.0 and 7.1.0, which is all that pip knows."""
    folder = Path(shutil.copytree(stock / "index", tmp_path / "index"))
    use_index(folder, monkeypatch)
    return folder


@pytest.fixture
def added(stock: Path, index: Path) -> Path:
    """Return the folder of litert 7.0.0 in this test's own cache."""
    shutil.copytree(stock / "cache", cache_folder(), symlinks=True)
    return environments_folder() / f"litert-7.0.0-py{HERE}"


def add(text: str) -> tuple[Path, Environment, bool]:
    return add_environment(Requirement.parse(text), find_interpreter(None), runtime_file())


def call(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def unfinished() -> list[Path]:
    return [path for path in environments_folder().glob(".*") if path.name != ".lock"]


def test_every_backend_has_a_package_of_the_same_format() -> None:
    assert {name: row.format for name, row in PACKAGES.items()} == {
        name: row.format for name, row in BACKENDS.items() if not row.development_only
    }


@pytest.mark.parametrize("name", installed_names())
def test_the_probe_is_right_in_every_runtime(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"probe.{BACKENDS[name].format}"
    path.write_bytes(probe_artifact(BACKENDS[name].format, name))
    # in a process of its own: tflite-runtime shares none with TensorFlow
    command = [sys.executable, "-m", "hemline.runtime", "selftest", str(path)]
    done = subprocess.run(
        [*command, "--json", "--runtime", name], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert (told["passed"], told["vectors"], told["runtime"]) == (True, 1, name)


@pytest.mark.parametrize(
    ("runtime", "version", "requirement"),
    [
        ("tflite-runtime", "2.14.0", "numpy>=1.24,<2"),
        ("litert", "1.0.1", "numpy>=1.24,<2"),
        ("litert", "1.1.1", "numpy>=1.24"),
        ("onnxruntime", "1.18.1", "numpy>=1.24,<2"),
        ("onnxruntime", "1.19.0", "numpy>=1.24"),
    ],
)
def test_each_version_gets_a_numpy_that_it_works_with(
    runtime: str, version: str, requirement: str
) -> None:
    assert PACKAGES[runtime].numpy_requirement(version) == requirement


def test_an_environment_is_made_tried_and_used(added: Path) -> None:
    folder, record, new = add("litert==7.0.0")
    assert (folder, new) == (added, False)
    assert (record.runtime, record.version, record.numpy_version) == (
        "litert",
        "7.0.0",
        np.__version__,
    )
    assert [wheel.version for wheel in record.wheels] == ["7.0.0", np.__version__]
    assert not unfinished()
    (target,) = find_targets(["litert==7.0.0"])
    assert (target.version, target.python) == ("7.0.0", HERE)
    assert target.command == (
        str(folder / "bin" / "python"),
        "-I",
        str(folder / RUNTIME_NAME),
        "jobs",
    )
    code = "import ai_edge_litert, sys; print(ai_edge_litert.__version__, 'pip' in sys.modules)"
    said = subprocess.run(
        [target.command[0], "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["7.0.0", "False"]


@pytest.mark.slow
def test_without_a_version_it_is_the_newest_that_was_released(index: Path) -> None:
    add_runtime(index, "8.0.0rc1")
    assert add("litert")[1].version == "7.1.0"


@pytest.mark.medium
def test_a_runtime_that_answers_wrong_is_not_kept(index: Path) -> None:
    add_runtime(index, "7.2.0", code=BROKEN)
    with pytest.raises(BackendError, match=r"litert 7.2.0 does not work with .*self-test failed"):
        add("litert==7.2.0")
    assert not environments()[0]
    assert not unfinished()


@pytest.mark.slow
def test_a_runtime_that_crashes_is_not_kept(index: Path) -> None:
    add_runtime(index, "7.2.0", code=CRASHING)
    with pytest.raises(BackendError, match=r"litert 7.2.0 does not work with .*signal 11"):
        add("litert==7.2.0")
    assert not environments()[0]


def test_the_job_runner_is_brought_up_to_date(added: Path) -> None:
    folder, record, _ = add("litert==7.0.0")
    (folder / RUNTIME_NAME).write_bytes(b"an older one")
    target_of(folder, record, runtime_file())
    assert (folder / RUNTIME_NAME).read_bytes() == runtime_file()


@pytest.mark.slow
def test_an_environment_whose_python_is_gone_is_told_and_made_again(added: Path) -> None:
    (added / "bin" / "python").unlink()
    (added / "bin" / "python").symlink_to("/nowhere/python3")
    assert "used to create it, no longer exists" in str(fault(added))
    with pytest.raises(BackendError, match="broken .* no longer exists") as caught:
        find_targets(["litert==7.0.0"])
    assert "run `hemline runtimes add litert==7.0.0 --python" in described(caught.value)
    assert "broken: " in call("runtimes", "list")
    assert add("litert==7.0.0")[2]
    assert find_targets(["litert==7.0.0"])


@pytest.mark.slow
def test_a_record_that_cannot_be_read_is_told_and_made_again(added: Path) -> None:
    (added / RECORD_NAME).write_text("{")
    result = CliRunner().invoke(cli, ["runtimes", "list"], catch_exceptions=False)
    assert f"{added} has no readable record" in result.output
    assert add("litert==7.0.0")[2]


@pytest.mark.medium
def test_a_version_that_does_not_exist_gets_the_nearest_and_the_newest(index: Path) -> None:
    with pytest.raises(UsageError, match=r"no litert 7.0.5 .* nearest one is 7.0.0, the newest 7"):
        add("litert==7.0.5")


@pytest.mark.slow
def test_a_version_for_another_python_names_that_python(index: Path) -> None:
    add_runtime(index, "6.0.0", tag="cp310-none-any")
    request = WheelRequest(runtime="litert", version="6.0.0", python="3.12", machine="aarch64")
    with pytest.raises(UsageError, match=r"litert 6.0.0 has no wheel .*for Python 3.10") as caught:
        wheel_set(request)
    assert described(caught.value).endswith("; choose --python 3.10")


@pytest.mark.slow
def test_a_runtime_that_is_not_built_for_a_machine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_index(tmp_path / "index")
    use_index(folder, monkeypatch)
    add_runtime(folder, "7.0.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    request = WheelRequest(runtime="litert", version="7.0.0", python="3.11", machine="armv7l")
    with pytest.raises(UsageError, match="litert has no build for that"):
        wheel_set(request)


def test_an_index_that_does_not_answer_is_told_with_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(FetchError, match=r"cannot be reached \(.*refused.*; waited up to \d+ s\)"):
        add("litert==7.0.0")
    assert not unfinished()


def test_a_missing_pip_is_told(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(HemlineError, match="has no pip: run .* -m ensurepip"):
        add("litert==7.0.0")


def test_too_little_room_is_told_before_anything_is_fetched(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(HemlineError, match="has only 1 MB free, and this needs"):
        add("litert==7.0.0")
    assert not environments()[0]


@pytest.mark.medium
def test_a_disk_that_fills_up_leaves_nothing(index: Path) -> None:
    """No file may be larger than 20 kB: the job runner does not fit."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from hemline.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "sys.argv = ['hemline', 'runtimes', 'add', 'litert==7.0.0']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "file too large" in done.stderr.lower()
    assert not environments()[0]
    assert not unfinished()


@pytest.mark.medium
def test_one_killed_in_the_middle_leaves_no_half_environment(index: Path) -> None:
    command = [sys.executable, "-c", "from hemline.cli import main; main()"]
    child = subprocess.Popen([*command, "runtimes", "add", "litert==7.0.0"], start_new_session=True)
    deadline = time.monotonic() + 30
    while not unfinished() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(child.pid, signal.SIGKILL)  # it and the Python that it just started
    child.wait()
    # a fork that was about to start that Python has the lock until it has ended too
    with locked(environments_folder(), wait_seconds=10):
        assert unfinished()
    assert not environments()[0]
    with pytest.raises(UsageError, match="no environment was added"):
        find_targets(["litert==7.0.0"])
    assert add("litert==7.0.0")[2]
    assert not unfinished()


def test_a_folder_that_another_command_holds_is_told(index: Path) -> None:
    with locked(environments_folder()), pytest.raises(BusyError, match="is using"):
        add("litert==7.0.0")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("litrt==1.4.0", "unknown runtime 'litrt': did you mean 'litert'?"),
        ("litert==2.1.0rc1", "does not name a released version"),
        ("litert==", "does not name a released version"),
        ("litert==1.4.0@py3", "does not name a Python version"),
        ("litert>=1.0", "is not a runtime: write it as litert==1.4.0"),
        ("../litert==1.0", "is not a runtime"),
        ("", "is not a runtime"),
    ],
)
def test_odd_names_are_refused_in_one_line(text: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        Requirement.parse(text)
    assert error in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_name_says_runtime_version_and_python() -> None:
    parsed = Requirement.parse("tflite-runtime==2.14.0@3.10")
    assert parsed == Requirement(runtime="tflite-runtime", version="2.14.0", python="3.10")
    assert Requirement.parse("litert") == Requirement(runtime="litert", version=None, python=None)


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("3.99", None, "there is no Python '3.99' here"),
        ("/nowhere/python3", None, "there is no Python '/nowhere/python3' here"),
        ("false", None, "is not a Python with the module venv"),
        (None, '["cpython", [3, 8, 18], "p"]', "is cpython 3.8.18: Hemline needs"),
        (None, '["pypy", [3, 11, 1], "p"]', "is pypy 3.11.1: Hemline needs CPython"),
    ],
)
def test_a_python_that_cannot_be_used_is_told(
    name: str | None, version: str | None, error: str, tmp_path: Path
) -> None:
    if name is None:
        path = tmp_path / "python3"
        path.write_text(f"#!/bin/sh\necho '{version}'\n")
        path.chmod(0o755)
        name = str(path)
    with pytest.raises(UsageError, match=error):
        find_interpreter(name)


def test_a_python_of_pyenv_is_found_behind_an_inactive_shim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim, whole = tmp_path / "shims" / "python3.99", tmp_path / "versions/3.99.1/bin/python3.99"
    answer = f'["cpython", [3, 99, 1], "{whole}"]'
    for path, line in ((shim, "echo inactive >&2; exit 127"), (whole, f"echo '{answer}'")):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    assert (find_interpreter("3.99").path, find_interpreter("3.99").version) == (
        str(whole),
        "3.99.1",
    )


def test_a_python_is_found_by_its_path() -> None:
    assert find_interpreter(sys.executable) == find_interpreter(None)


def test_the_commands_add_list_and_remove(added: Path) -> None:
    first, second = call("runtimes", "add", "litert==7.0.0", "litert==7.1.0").splitlines()
    assert first.startswith(f"litert==7.0.0@{HERE}: exists already (numpy ")
    assert second.startswith(f"litert==7.1.0@{HERE}: works (numpy ")
    lines = call("runtimes", "list").splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["litert", "7.0.0"], ["litert", "7.1.0"]]
    assert all(line.endswith(" works") for line in lines[2:])
    documents = [json.loads(line) for line in call("runtimes", "list", "--json").splitlines()]
    assert [document["version"] for document in documents] == ["7.0.0", "7.1.0"]
    assert all(document["fault"] is None for document in documents)
    with pytest.raises(UnknownNameError, match=rf"did you mean 'litert==7.[01].0@{HERE}'"):
        call("runtimes", "remove", "litert==7.0.1")
    with pytest.raises(UsageError, match="which version of litert"):
        call("runtimes", "remove", "litert")
    call("runtimes", "remove", "litert==7.0.0", f"litert==7.1.0@{HERE}")
    assert not environments()[0]
    assert call("runtimes", "list") == ""


def test_all_means_the_installed_ones_and_those_added(added: Path) -> None:
    assert find_targets([]) == find_targets(["installed"]) == installed_targets()
    assert [t.name for t in find_targets(["all", "litert==7.0.0"])] == [
        *(t.name for t in installed_targets()),
        f"litert==7.0.0@{HERE}",
    ]
    (litert,) = find_targets(["litert"])
    assert litert in installed_targets()
    assert find_targets([f"litert=={litert.version}"]) == (litert,)


def test_wheels_for_a_device_are_kept_with_their_hashes(index: Path) -> None:
    request = WheelRequest(runtime="litert", version="7.0.0", python="3.11", machine="aarch64")
    folder, record = wheel_set(request)
    assert [path.name for path in record.paths(folder)] == [w.name for w in record.wheels]
    assert record.numpy_version == np.__version__
    assert wheel_set(request) == (folder, record)
    assert wheel_sets()[0] == [(folder, record)]
    damaged = record.paths(folder)[0]
    damaged.write_bytes(b"cut short")
    _, again = wheel_set(request)
    assert again.wheels == record.wheels
    assert damaged.stat().st_size == record.wheels[0].size_bytes


@pytest.mark.slow
def test_a_wheel_set_that_cannot_be_read_hides_no_other(index: Path) -> None:
    request = WheelRequest(runtime="litert", version="7.0.0", python="3.11", machine="aarch64")
    damaged, _ = wheel_set(request)
    other, _ = wheel_set(dataclasses.replace(request, version="7.1.0"))
    (damaged / "wheels.json").write_text("{")
    result = CliRunner().invoke(cli, ["runtimes", "list"], catch_exceptions=False)
    assert f"{damaged} has no readable record" in result.stderr
    assert "7.1.0" in result.stdout
    assert [folder for folder, _ in wheel_sets()[0]] == [other]
    assert wheel_set(request)[1].version == "7.0.0"


def test_where_numpy_has_no_wheel_it_is_the_devices_own(index: Path) -> None:
    assert not MACHINES["armv7l"]
    request = WheelRequest(runtime="litert", version="7.0.0", python="3.11", machine="armv7l")
    _, record = wheel_set(request)
    assert record.numpy_version is None
    assert len(record.wheels) == 1
    words = ("litert==7.0.0", "--platform", "armv7l", "--python", "3.11")
    assert "numpy must be the device's own" in call("runtimes", "add", *words)
    assert "the device's" in call("runtimes", "list")
    call("runtimes", "remove", "litert==7.0.0", "--platform", "armv7l")
    assert not wheel_sets()[0]


@pytest.mark.slow
def test_a_device_gets_no_wheel_for_a_newer_c_library(index: Path) -> None:
    for minor in (31, 35):
        tag = f"cp311-cp311-manylinux_2_{minor}_aarch64"
        add_wheel(index, "tflite_runtime", f"2.{minor}.0", tag, {"tflite_runtime/__init__.py": ""})
    request = WheelRequest(
        runtime="tflite-runtime", version="2.35.0", python="3.11", machine="aarch64", glibc=31
    )
    with pytest.raises(UsageError, match="the nearest one is 2.31.0"):
        wheel_set(request)
    assert wheel_set(dataclasses.replace(request, glibc=36))[1].version == "2.35.0"


def test_an_unknown_machine_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'aarch64'"):
        WheelRequest(runtime="litert", version="1.4.0", python="3.11", machine="arch64")


def test_a_record_survives_the_disk(added: Path, tmp_path: Path) -> None:
    _, record, _ = add("litert==7.0.0")
    schema.save(tmp_path / "record.json", record)
    assert schema.load(Environment, tmp_path / "record.json") == record


def test_each_version_names_the_pythons_that_it_is_built_for() -> None:
    assert PACKAGES["tflite-runtime"].pythons_of("2.14.0") == "3.10 or 3.11"
    assert PACKAGES["onnxruntime"].pythons_of("1.23.2") == "3.10 or newer"
    assert PACKAGES["onnxruntime"].pythons_of("1.32.0") == "3.11 or newer"
    assert PACKAGES["litert"].pythons_of("2.3.0") == "3.10 or newer"


def test_threads_that_want_one_folder_wait_and_get_the_same(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(empty: Path) -> None:
        time.sleep(0.05)
        made.append(empty)

    with ThreadPoolExecutor(4) as pool:
        wanted = [
            pool.submit(folders.made, tmp_path / name, make, needs_bytes=1) for name in "aabb"
        ]
        assert [each.result().name for each in wanted] == ["a", "a", "b", "b"]
        assert len(made) == 2
        removed = [pool.submit(folders.remove, tmp_path / "a") for _ in range(2)]
        assert [each.result() for each in removed] == [None, None]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "b"]


def test_a_download_is_reported_once_and_before_it_starts(tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        with report_to(lines.append):
            folders.made(
                tmp_path / "qemu",
                lambda _: lines.append("made"),
                needs_bytes=1,
                what="qemu (22 MB)",
            )
    assert lines == [f"downloading qemu (22 MB): once, into {tmp_path}", "made"]


def test_what_a_killed_process_left_is_removed_with_the_next_folder(tmp_path: Path) -> None:
    left = tmp_path / ".a.unfinished-x"
    (left / "whole").mkdir(parents=True)
    folders.made(tmp_path / "b", lambda empty: (empty / "file").touch(), needs_bytes=1)  # type: ignore[arg-type,return-value]
    assert not left.exists()
    assert (tmp_path / "b" / "file").exists()
    folders.remove(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert os.access(tmp_path, os.W_OK)
