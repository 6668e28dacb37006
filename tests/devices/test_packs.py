"""The self-test of a pack for a Raspberry Pi runs there: emulated, from the wheels in the pack."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from required import missing

from hemline.bench.devices.emulation.emulator import PROGRAMS, emulator
from hemline.bench.devices.emulation.guest_root import GuestRoot, guest_root
from hemline.bench.devices.emulation.raspberry_pis import RASPBERRY_PIS, RaspberryPi
from hemline.errors import HemlineError
from hemline.export.pack.packed import PackOptions
from hemline.export.pack.packing import choose, write_pack
from hemline.export.pack.table import TARGETS

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def write(bundle: Path, folder: Path, machine: str, python: str) -> Path:
    options = PackOptions(artifact="int8.tflite", machine=machine, wheels=(python,))
    write_pack(choose(bundle, TARGETS["pi"], options), folder / "pack")
    return folder / "pack"


@pytest.mark.devices
@pytest.mark.usefixtures("warm_cache")
@pytest.mark.parametrize("board", ["pi4", "pi5", "pi-32bit"])
def test_the_self_test_of_a_pack_passes_on_an_emulated_pi(
    board: str, bundle: Path, tmp_path: Path
) -> None:
    pi = RASPBERRY_PIS[board]
    try:
        emulator()
        root = guest_root(pi)
    except HemlineError as error:
        missing("pi4", str(error))
    pack = write(bundle, tmp_path, pi.machine, root.python)
    done = on_board(pi, root, pack, "selftest.py")
    assert done.returncode == 0, done.stderr
    runtime = "tflite-runtime" if board == "pi-32bit" else "litert"
    assert "all files are intact" in done.stdout
    assert f"int8.tflite in {runtime}" in done.stdout
    assert "passed, 2 of 2 labels agree" in done.stdout
    (pack / "labels.txt").write_text("")
    assert on_board(pi, root, pack, "selftest.py").returncode == 1


def on_board(
    pi: RaspberryPi, root: GuestRoot, pack: Path, script: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of a pack in the emulator, with the pack's own wheels and Debian's packages."""
    folder = pack.parent / "root"
    if not folder.exists():
        folder.mkdir()
        for shared in root.folder.iterdir():
            (folder / shared.name).symlink_to(shared)
        (folder / "pack").symlink_to(pack)
        for wheel in (pack / "wheels").glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / "packages")
    seen = Path("/") if pi.finds_root else folder
    program = Path("usr") / "bin" / root.program
    path = f"{seen / 'packages'}:{root.packages}"
    command = [
        *("env", "-i", f"PYTHONPATH={path}", "PYTHONDONTWRITEBYTECODE=1"),
        *emulator().command(PROGRAMS[pi.architecture]),
        *("-cpu", pi.processor, "-L", str(folder), "-0", str(seen / program)),
        *(str(folder / program), "-s", "-S", str(seen / "pack" / script)),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.devices
@pytest.mark.usefixtures("warm_cache")
def test_a_board_without_a_network_is_set_up_from_the_wheels_in_the_pack(
    bundle: Path, tmp_path: Path
) -> None:
    """This machine is the board; pip has no index that it could ask."""
    try:
        pack = write(bundle, tmp_path, os.uname().machine, HERE)
    except HemlineError as error:
        missing("pi4", str(error))
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    nowhere = {"PIP_INDEX_URL": "http://localhost:1/", "PIP_EXTRA_INDEX_URL": ""}
    done = subprocess.run(
        [pack / "setup.sh"],
        env={**os.environ, **nowhere, "PATH": f"{python.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "int8.tflite in litert" in done.stdout
    assert "passed, 2 of 2 labels agree" in done.stdout
