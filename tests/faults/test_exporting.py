"""A real `hemline export` or `hemline bench` that is killed leaves whole files and can go on."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from patience import HANG_SECONDS, eventually

from hemline.contract.manifest import MANIFEST_NAME, Manifest, read_manifest
from hemline.contract.record import Latency, read_records
from hemline.contract.stamp import read_stamped
from hemline.errors import FileFormatError
from hemline.files import sha256_of

pytestmark = pytest.mark.slow

KILLS = 20
SEED = 7


def require_whole(bundle: Path, before: dict[str, bytes]) -> None:
    """Fail unless every file is as it was or complete, and the documents can be read."""
    for path in (p for p in bundle.rglob("*") if p.is_file() and ".hemline-partial-" not in p.name):
        if path.read_bytes() == before.get(path.name):
            continue
        if path.suffix in (".tflite", ".onnx"):
            read_stamped(path)
        elif path.suffix == ".npy":
            np.load(path)
        elif path.name == MANIFEST_NAME:
            require_known(bundle, read_manifest(bundle))
        elif path.name == "records.jsonl":
            assert read_records(path)
        elif path.suffix == ".json":  # plans, and the conditions of the evaluation
            json.loads(path.read_text())
        else:
            assert path.name == ".lock"


def require_known(bundle: Path, manifest: Manifest) -> None:
    """Fail unless a manifest that was just written names the files as they are."""
    for artifact in manifest.artifacts:
        assert sha256_of(bundle / artifact.name) == artifact.sha256
    for name, digest in manifest.evaluation_sha256.items():
        assert sha256_of(bundle / name) == digest


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read standard error until a line holds `text`."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said")


def export(checkpoint: Path, data_folder: Path, calibration: int) -> list[str]:
    return [
        *("export", "--checkpoint", str(checkpoint), "--output", "made"),
        *("--data", str(data_folder), "--calibration", str(calibration)),
    ]


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_export_leaves_whole_files_and_the_next_one_completes(
    hemline, checkpoint: Path, bundle: Path, data_folder: Path, number: int
) -> None:
    """Killed at a random moment of the part that writes; every fourth one starts from nothing."""
    chance = random.Random(SEED * 1000 + number)
    fresh = number % 4 == 0
    if not fresh:
        shutil.copytree(bundle, hemline.folder / "made")
    before = contents(hemline.folder / "made")
    process = hemline.start(*export(checkpoint, data_folder, 60))
    wait_for(process, "logits of the source model" if fresh else "export int8.tflite")
    time.sleep(chance.uniform(0, 4.0 if fresh else 2.0))
    process.kill()
    process.communicate()
    hemline.require_nothing_left()
    require_whole(hemline.folder / "made", before)
    again = hemline.run(*export(checkpoint, data_folder, 60))
    assert again.code == 0, again.errors
    require_known(hemline.folder / "made", read_manifest(hemline.folder / "made"))
    assert not list((hemline.folder / "made").rglob(".*partial*"))


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_bench_leaves_whole_files_and_the_next_one_completes(
    hemline, bundle: Path, number: int
) -> None:
    """Killed at a random moment, half of the times near the end, where the records are written."""
    chance = random.Random(SEED * 2000 + number)
    made = Path(shutil.copytree(bundle, hemline.folder / "made"))
    before = contents(made)
    process = hemline.start("bench", "--quick", made)
    if number % 2:
        wait_for(process, "bench ")
        time.sleep(chance.uniform(0.6, 1.6))
    else:
        time.sleep(chance.uniform(0, 1.6))
    process.kill()
    process.communicate()
    hemline.require_nothing_left()
    require_whole(made, before)
    again = hemline.run("bench", "--quick", made)
    assert again.code == 0, again.errors
    measured = [r for r in read_records(made / "records.jsonl") if isinstance(r.payload, Latency)]
    # those of the killed one stay, if it came so far
    cells = {record.cell for record in measured}
    assert len(cells) == sum(len(a.verdicts) for a in read_manifest(made).artifacts)


def test_a_file_that_is_killed_while_it_is_written_is_as_it_was(hemline) -> None:
    """Killed ten times while one file is written again and again: the smallest window there is."""
    path = hemline.folder / "made" / "file"
    code = (
        "import itertools, pathlib; from hemline.files import locked, write_bytes\n"
        f"path = pathlib.Path({str(path)!r})\n"
        "with locked(path.parent):\n"
        "    for n in itertools.count(): write_bytes(path, bytes([n % 256]) * 3_000_000)"
    )
    chance = random.Random(SEED)
    python = (sys.executable, "-c", code)
    for _ in range(10):
        process = hemline.start(command=python)
        assert eventually(path.exists)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.communicate()
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
    assert len(list(path.parent.iterdir())) <= 3, "the lock, the file and one half-written at most"


def test_ctrl_c_ends_an_export_at_once(hemline, checkpoint: Path, data_folder: Path) -> None:
    process = hemline.start(*export(checkpoint, data_folder, 60))
    wait_for(process, "export fp32.onnx")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("interrupted: no file is half-written")
    hemline.require_nothing_left()
    require_whole(hemline.folder / "made", {})
    assert hemline.run(*export(checkpoint, data_folder, 60)).code == 0


@pytest.mark.parametrize("other", ["export", "verify", "bench", "choose"])
def test_two_commands_in_one_bundle_do_not_mix(
    hemline, checkpoint: Path, bundle: Path, data_folder: Path, other: str
) -> None:
    made = Path(shutil.copytree(bundle, hemline.folder / "made"))
    first = hemline.start(*export(checkpoint, data_folder, 60))
    wait_for(first, "export int8.tflite")
    first.send_signal(signal.SIGSTOP)  # so that it is there for as long as the other one needs
    line = export(checkpoint, data_folder, 70) if other == "export" else [other, str(made)]
    second = hemline.run("-q", *line)
    first.send_signal(signal.SIGCONT)
    assert "another hemline command is using" in second.error
    assert second.code == 1
    _, errors = first.communicate(timeout=HANG_SECONDS)
    assert first.returncode == 0, errors
    require_known(made, read_manifest(made))
    assert hemline.run("verify", made).code == 0


def test_a_killed_export_is_not_measured_under_its_old_name(
    hemline, checkpoint: Path, bundle: Path, data_folder: Path
) -> None:
    """Killed when a new file is there that the manifest does not know yet."""
    made = Path(shutil.copytree(bundle, hemline.folder / "made"))
    process = hemline.start(*export(checkpoint, data_folder, 60))
    wait_for(process, "export int8.onnx")  # said after int8.tflite was written
    process.kill()
    process.communicate()
    assert hemline.run("-q", "bench", "--quick", made).code == 0
    shown = hemline.run("-q", "table", made).output
    assert "fp32.tflite" in shown
    assert "int8.tflite" not in shown, "what was being made anew is not in the bundle until it is"
    assert hemline.run(*export(checkpoint, data_folder, 60)).code == 0
    assert "int8.tflite" in hemline.run("-q", "table", made).output


@pytest.mark.parametrize("kilobytes", [100, 400, 600])
def test_a_full_disk_ends_an_export_with_one_line(
    hemline, checkpoint: Path, data_folder: Path, small_disk: Callable[[int], Path], kilobytes: int
) -> None:
    disk = small_disk(kilobytes)  # a bundle has about 1,000 kB
    line = export(checkpoint, data_folder, 60)
    line[line.index("made")] = str(disk)
    ended = hemline.run("-q", *line)
    assert "no space left on device" in ended.error
    assert ended.code == 1
    require_whole(disk, {})
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert hemline.run(*line).code == 0


def test_a_full_disk_ends_a_bench_with_one_line(
    hemline, bundle: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(3000)
    made = Path(shutil.copytree(bundle, disk / "made"))
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={disk / 'filler'}"], capture_output=True, check=False
    )
    before = contents(made)
    ended = hemline.run("-q", "bench", "--quick", made)
    assert "cannot write" in ended.error
    assert "no space left on device" in ended.error
    assert contents(made) == {**before, ".lock": b""}
    (disk / "filler").unlink()
    assert hemline.run("bench", "--quick", made).code == 0


def test_a_killed_artifact_is_never_taken_for_a_whole_one(bundle: Path, tmp_path: Path) -> None:
    """What a kill without atomic writes would leave: each length of a file is refused."""
    for name in ("int8.tflite", "int8.onnx"):
        content = (bundle / name).read_bytes()
        chance = random.Random(SEED)
        for length in (0, 1, 8, len(content) - 1, *chance.sample(range(len(content)), 40)):
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(FileFormatError, match=name):
                read_stamped(tmp_path / name)
