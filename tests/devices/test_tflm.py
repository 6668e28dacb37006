"""The class of microcontrollers: what loads there, in how much memory, with which bits.

tflite-micro is installed into a folder of its own, so that the tests need nothing in this Python.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from required import missing

from hemline.bench.devices.checking import Check, check
from hemline.bench.devices.micro.device import TflmDevice
from hemline.bench.devices.micro.micro_session import _reason
from hemline.cli import cli
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import Manifest, read_manifest
from hemline.contract.record import Accuracy, Arena, read_records
from hemline.contract.stamp import read_stamped
from hemline.errors import BackendError, UsageError
from hemline.runtime.backends import Tensor
from hemline.runtime.pixels import PixelEncoder

ROOT = Path(__file__).resolve().parents[2]
FILE = "int8.tflite"
_SECONDS = 120.0


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tflite-micro that the extra names."""
    pin = re.search(r'^tflm = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert pin is not None
    folder = tmp_path_factory.mktemp("tflm")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), pin[1]]
    try:
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        missing("tflm", said[-1])
    return folder


@pytest.fixture(scope="session")
def checks(bundle: Path, manifest: Manifest, packages: Path) -> dict[str, Check]:
    """Return what each artifact of the small bundle does there, by scheme."""
    found = check(bundle, manifest, TflmDevice(str(packages)), report=lambda _: None)
    return {each.artifact.partition(".")[0]: each for each in found}


def arena_of(seen: Check) -> int:
    return next(r.payload.bytes for r in seen.records if isinstance(r.payload, Arena))


@pytest.mark.devices
class TestOnAMicrocontroller:
    @pytest.mark.smoke
    @pytest.mark.parametrize(("scheme", "most_steps"), [("int8", 1), ("fp32", None)])
    def test_int8_and_float_files_give_the_bits_of_the_reference_kernels(
        self, checks: dict[str, Check], scheme: str, most_steps: int | None
    ) -> None:
        """The last layer of an int8 file may round a half otherwise: seen in 1 of 1000 logits."""
        equality = checks[scheme].equality
        assert checks[scheme].status == "passed", str(checks[scheme])
        assert equality is not None
        if most_steps is None:
            assert equality.unequal == 0
            return
        assert equality.largest_steps is not None
        assert equality.largest_steps <= most_steps
        assert equality.unequal <= equality.logits / 100

    def test_an_int8_file_takes_less_memory_than_a_float_file(
        self, checks: dict[str, Check]
    ) -> None:
        # the largest activations are 4 times smaller; tables of the interpreter are not
        assert 5_000 < arena_of(checks["int8"]) < arena_of(checks["fp32"]) / 2

    @pytest.mark.parametrize(
        ("scheme", "operator"), [("fp16", "DEQUANTIZE"), ("dynamic", "CONV_2D")]
    )
    def test_a_scheme_that_is_not_for_microcontrollers_names_the_operator(
        self, checks: dict[str, Check], scheme: str, operator: str
    ) -> None:
        assert checks[scheme].status == "refused"
        assert f"cannot run this {operator} (" in checks[scheme].reason
        assert checks[scheme].reason.endswith("use int8 or fp32")
        assert checks[scheme].records == ()

    def test_a_file_with_an_embedding_loads(self, embedding_bundle: Path, packages: Path) -> None:
        manifest = read_manifest(embedding_bundle)
        found = check(embedding_bundle, manifest, TflmDevice(str(packages)), report=lambda _: None)
        seen = next(each for each in found if each.artifact == "int8.tflite")
        assert seen.status == "passed", str(seen)

    def test_bench_keeps_accuracy_and_arena_and_no_time(
        self, bundle: Path, packages: Path, tmp_path: Path
    ) -> None:
        copy = shutil.copytree(bundle, tmp_path / "bundle")
        before = read_records(copy / "records.jsonl")
        result = CliRunner().invoke(cli, ["bench", str(copy), "--device", f"tflm:{packages}"])
        assert result.exception is None, result.output
        fresh = [r for r in read_records(copy / "records.jsonl") if r not in before]
        kinds = {(r.cell.artifact, type(r.payload)) for r in fresh}
        assert kinds == {
            (name, kind) for name in ("fp32.tflite", "int8.tflite") for kind in (Accuracy, Arena)
        }
        assert {(r.cell.device, r.cell.runtime) for r in fresh} == {("tflm", "tflite-micro")}
        shown = CliRunner().invoke(cli, ["table", str(copy)])
        assert shown.exception is None
        assert "tflite-micro" not in shown.output


@pytest.mark.devices
def test_a_pack_in_c_gives_its_bytes_and_states_its_arena(
    bundle: Path, packages: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bakenn")
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    run = CliRunner().invoke
    assert run(cli, ["bench", str(copy), "--device", f"tflm:{packages}"]).exit_code == 0
    pack = tmp_path / "pack"
    packed = run(cli, ["pack", str(copy), "--for", "c", "--output", str(pack)])
    if shutil.which("make") is None or shutil.which("cc") is None:
        missing("cross", "make or a C compiler")
    assert packed.exception is None, packed.output
    arenas = [r.payload for r in read_records(copy / "records.jsonl") if r.cell.artifact == FILE]
    arena = next(each.bytes for each in arenas if isinstance(each, Arena))
    assert f"the tensor arena of {arena:,} bytes as tflite-micro took it" in (
        (pack / "README.md").read_text()
    )
    assert f"kModelArenaBytes = {arena};" in (pack / "tflite-micro" / "model_data.h").read_text()
    split = load_split(copy, "test", read_manifest(copy).evaluation_sha256)
    subprocess.run(["make", "--silent", "build/stream"], cwd=pack, check=True)
    pixels = split.images.tobytes()
    done = subprocess.run(
        [pack / "build" / "stream"], input=pixels, capture_output=True, check=True
    )
    stored = PixelEncoder(read_stamped(copy / FILE).stamp.input).encode(split.images)
    assert done.stdout == in_tflite_micro(packages, copy / FILE, stored)


def in_tflite_micro(packages: Path, artifact: Path, images: Tensor) -> bytes:
    """Return the bytes of all outputs, from a process that has tflite-micro."""
    code = f"""
import sys
sys.path.append({str(packages)!r})
from tflite_micro.python.tflite_micro import runtime
model = runtime.Interpreter.from_bytes(open({str(artifact)!r}, "rb").read(), arena_size=1 << 20)
import numpy as np
for image in np.frombuffer(sys.stdin.buffer.read(), np.int8).reshape(-1, *{images[:1].shape!r}):
    model.set_input(image, 0)
    model.invoke()
    sys.stdout.buffer.write(model.get_output(0).tobytes())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=images.tobytes(), capture_output=True, check=True)
    return done.stdout


def test_without_tflite_micro_its_package_is_named() -> None:
    if importlib.util.find_spec("tflite_micro") is not None:
        pytest.skip("tflite-micro is installed here")
    with pytest.raises(
        BackendError, match=r"tflite-micro cannot be used .*pip install tflite-micro=="
    ):
        TflmDevice("").runtimes()


def test_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="tflm:/nowhere is not a folder"):
        TflmDevice("/nowhere")


# What tflite-micro printed of 23 October 2026.
@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        (
            "Didn't find op for builtin opcode 'TOPK_V2'\n"
            "Failed to get registration from op code TOPK_V2",
            "tflite-micro has no kernel for TOPK_V2",
        ),
        (
            "tensorflow/lite/micro/kernels/conv_common.cc Hybrid models are not supported on TFLite"
            " Micro.\nNode CONV_2D (number 2) failed to prepare with status 1",
            "tflite-micro cannot run this CONV_2D (Hybrid models are not supported on TFLite "
            "Micro): use int8 or fp32",
        ),
        ("", "tflite-micro rejects the model: TFLM failed to allocate tensors"),
    ],
)
def test_the_operator_that_has_no_kernel_is_named(notes: str, reason: str) -> None:
    assert _reason(notes.splitlines(), "TFLM failed to allocate tensors") == reason
