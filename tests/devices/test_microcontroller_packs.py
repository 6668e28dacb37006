"""The C of a pack runs on an emulated Cortex-M4."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from required import missing

from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import read_manifest
from hemline.export.pack.packed import PackOptions
from hemline.export.pack.packing import choose, write_pack
from hemline.export.pack.table import TARGETS

pytest.importorskip("bakenn")
TOOLS = ("make", "cc", "arm-none-eabi-gcc", "qemu-system-arm")
EMULATOR = ("qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none")
IMAGES = 1000


@pytest.fixture(scope="module")
def tools() -> None:
    for name in TOOLS:
        if shutil.which(name) is None:
            missing("cross", f"{name} is not installed")


@pytest.fixture(scope="module")
def pack(bundle: Path, tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packs") / "c"
    write_pack(choose(bundle, TARGETS["c"], PackOptions()), path)
    return path


def made(pack: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", *targets]
    return subprocess.run(command, cwd=pack, capture_output=True, text=True, timeout=300)


def streamed(command: list[str], images: npt.NDArray[np.uint8]) -> bytes:
    done = subprocess.run(command, input=images.tobytes(), capture_output=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.cross
@pytest.mark.smoke
def test_the_self_test_of_a_pack_passes_on_an_emulated_cortex_m4(pack: Path) -> None:
    done = made(pack, "qemu")
    assert done.returncode == 0, done.stderr
    assert "images give the bytes of the pack" in done.stdout
    assert "arm-none-eabi" not in (pack / "README.md").read_text().split("Cortex-M4 needs")[1]


@pytest.mark.cross
def test_a_failed_self_test_ends_the_emulation_with_a_failure(pack: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pack, tmp_path / "pack", ignore=shutil.ignore_patterns("build"))
    text = (copy / "model" / "classifier.c").read_text()
    (copy / "model" / "classifier.c").write_text(text.replace("-128, -127,", "-128, -28,", 1))
    done = made(copy, "qemu")
    assert done.returncode != 0
    assert "failed: " in done.stdout


@pytest.mark.cross
@pytest.mark.slow
def test_a_thousand_images_give_the_bytes_of_this_computer(pack: Path, bundle: Path) -> None:
    done = made(pack, "build/stream", "build/stream.elf")
    assert done.returncode == 0, done.stderr
    split = load_split(bundle, "test", read_manifest(bundle).evaluation_sha256)
    images = np.resize(split.images, (IMAGES, *split.images.shape[1:]))
    images[len(split.images) :] ^= 85  # there are fewer: the others are variations
    options = ["-semihosting-config", "enable=on,target=native", "-serial", "none"]
    program = [*EMULATOR, *options, "-kernel", str(pack / "build" / "stream.elf")]
    assert streamed(program, images) == streamed([str(pack / "build" / "stream")], images)
