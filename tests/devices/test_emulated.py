"""Emulated Raspberry Pis: the real ARM builds give the right bits, at a cost that can be counted.

The parts are fetched into the user's own cache, so that a second run starts with warm ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from instruction_table import counts_by_cell, instruction_table
from required import missing

from hemline.bench.devices.addresses import address_of, open_device
from hemline.bench.devices.checking import IMAGES, Check, check
from hemline.bench.devices.emulation.device import EmulatedDevice
from hemline.bench.devices.emulation.emulator import emulator
from hemline.bench.devices.emulation.instruction_count import count_instructions
from hemline.bench.devices.emulation.raspberry_pis import RASPBERRY_PIS
from hemline.bench.devices.equality import Equality, validation_images
from hemline.bench.profiling.profiling import OPERATORS
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.job import Job, JobCell
from hemline.contract.manifest import MANIFEST_NAME, Manifest, read_manifest
from hemline.contract.record import Instructions, Record, append_records, read_records
from hemline.contract.settings import Settings
from hemline.contract.stamp import read_stamped
from hemline.errors import GateError, HemlineError, UnknownNameError, UsageError
from hemline.tables import as_markdown

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "artifacts" / "hem-50k"
RESULTS = ROOT / "results" / "hem-50k" / "instructions.jsonl"
PI4 = "emulated:pi4"

# Two orders of summation of float32 differ by a few units in the last place of the largest partial
# sum: 32 (larger than any here) × 2⁻²³ is 4e-6; seen were 2.6e-6.
FLOAT_TOLERANCE = 1e-5
# tflite-runtime's own int8 kernels round halves otherwise on ARM; LiteRT and ONNX Runtime do not.
MOST_STEPS = {"litert": 0, "tflite-runtime": 1, "onnxruntime": 0}

SCHEMES = ("int8", "fp32")

on_boards = pytest.mark.parametrize("board", ["pi3", "pi4", "pi5"])


@pytest.fixture
def emulation(warm_cache: None) -> None:
    try:
        emulator()
    except HemlineError as error:
        missing("pi4", str(error))


@cache
def examined(board: str, runtime: str, bundle: Path) -> dict[str, tuple[Equality, Record]]:
    """Return what each artifact of one runtime does on a board, by scheme."""
    checks = check(
        bundle,
        read_manifest(bundle),
        EmulatedDevice(board),
        only=lambda artifact, name, _: artifact.scheme in SCHEMES and name == runtime,
        report=str,
    )
    found = {}
    for each in checks:
        assert each.status == "passed", each.reason
        assert each.equality is not None
        found[each.artifact.partition(".")[0]] = (each.equality, counts(each)[0])
    return found


def counted(result: Result) -> list[str]:
    """Return the files and runtimes that a bench says it checked and counted, sorted."""
    lines = (line for line in result.stdout.splitlines() if ": passed" in line)
    return sorted(line.partition(" on ")[0] for line in lines)


def counts(check: Check) -> list[Record]:
    return [record for record in check.records if isinstance(record.payload, Instructions)]


def per_inference(board: str, runtime: str, scheme: str, bundle: Path) -> int:
    payload = examined(board, runtime, bundle)[scheme][1].payload
    assert isinstance(payload, Instructions)
    return payload.per_inference


@pytest.mark.devices
@pytest.mark.usefixtures("emulation")
class TestOnABoard:
    @on_boards
    @pytest.mark.parametrize("runtime", MOST_STEPS)
    def test_int8_artifacts_give_the_bits_of_this_machine(
        self, board: str, runtime: str, bundle: Path
    ) -> None:
        equality, _ = examined(board, runtime, bundle)["int8"]
        assert equality.images == IMAGES
        assert equality.largest_steps is None or equality.largest_steps <= MOST_STEPS[runtime]
        if MOST_STEPS[runtime] == 0:
            assert equality.largest_difference == 0.0
            assert equality.same_labels == IMAGES

    @on_boards
    @pytest.mark.parametrize("runtime", MOST_STEPS)
    def test_float_artifacts_differ_by_rounding_only(
        self, board: str, runtime: str, bundle: Path
    ) -> None:
        equality, _ = examined(board, runtime, bundle)["fp32"]
        assert equality.largest_difference <= FLOAT_TOLERANCE
        assert equality.same_labels == IMAGES

    @on_boards
    @pytest.mark.parametrize("runtime", MOST_STEPS)
    def test_int8_and_float_have_a_count(self, board: str, runtime: str, bundle: Path) -> None:
        """No kernel does 16 multiply-accumulates in less than one instruction (int8 dot products),
        and none here needs one instruction for each.
        """
        macs = read_manifest(bundle).macs
        for scheme in SCHEMES:
            assert macs / 16 < per_inference(board, runtime, scheme, bundle) < macs

    def test_a_record_says_which_processor_and_which_emulator(self, bundle: Path) -> None:
        _, record = examined("pi4", "litert", bundle)["int8"]
        assert isinstance(record.payload, Instructions)
        assert record.payload.processor == "cortex-a72"
        assert record.cell.device == PI4
        assert record.conditions.host.machine == "aarch64"
        assert record.conditions.host.processor == "Raspberry Pi 4 Model B (emulated)"
        assert record.conditions.delegate == "XNNPACK"
        assert {"qemu", "libc6", "litert", "numpy"} <= set(record.conditions.versions)

    @pytest.mark.parametrize(("board", "has_it"), [("pi4", False), ("pi5", True)])
    def test_float_is_computed_in_16_bit_where_the_processor_can(
        self, board: str, has_it: bool, bundle: Path, tmp_path: Path
    ) -> None:
        job = Job(
            id="fp16",
            artifact=str(bundle / "fp32.tflite"),
            runtime="tflite-runtime",
            images=validation_images(bundle),
            count=4,
            arrays=str(tmp_path),
        )
        half = replace(job, id="half", cells=(JobCell(settings=Settings(fp16=True)),))
        with EmulatedDevice(board) as device:
            version = dict(device.runtimes())["tflite-runtime"]
            with device.open("tflite-runtime", version) as runner:
                plain = runner.run(job).logits()
                result = runner.run(half)
        if not has_it:
            assert result.failure is not None
            assert result.failure.message == "this processor has no float16 arithmetic"
            return
        largest = np.abs(result.logits() - plain).max()
        # 11 bits of a sum of some hundred products of this size
        assert 0 < largest < 0.01 * np.abs(plain).max()

    def test_litert_uses_the_dot_products_of_the_pi_5(self, bundle: Path) -> None:
        """One such instruction does four times the work of the widest 8-bit one before it."""
        pi4, pi5 = (per_inference(name, "litert", "int8", bundle) for name in ("pi4", "pi5"))
        assert pi5 < pi4 / 1.5

    def test_a_count_repeats_to_a_thousandth_in_another_process(
        self, bundle: Path, manifest: Manifest
    ) -> None:
        device = EmulatedDevice("pi4")
        (artifact,) = (a for a in manifest.artifacts if a.name == "int8.tflite")
        with device.open("litert", dict(device.runtimes())["litert"]) as runner:
            (record,) = count_instructions(runner, device, bundle, manifest, artifact, "litert")
        assert isinstance(record.payload, Instructions)
        first = per_inference("pi4", "litert", "int8", bundle)
        assert record.payload.per_inference == pytest.approx(first, rel=1e-3)

    def test_twice_the_images_are_nearly_twice_the_instructions(self, bundle: Path) -> None:
        device = EmulatedDevice("pi4")
        job = Job(
            id="batch",
            artifact=str(bundle / "int8.tflite"),
            runtime="litert",
            images=validation_images(bundle),
            count=8,
            cells=tuple(JobCell(batch=batch, warmup=2, invocations=3) for batch in (2, 4)),
            want=("latencies",),
        )
        with device.open("litert", dict(device.runtimes())["litert"]) as runner:
            two, four = (min(cell.latencies_ns) for cell in runner.run(job).cells)
        assert 1.8 < four / two < 2.05

    def test_a_32_bit_board_runs_tflite_runtime_and_no_other(self, bundle: Path) -> None:
        found = examined("pi-32bit", "tflite-runtime", bundle)
        assert found["int8"][0].largest_steps in (0, 1)
        assert found["fp32"][0].largest_difference <= FLOAT_TOLERANCE
        assert found["int8"][1].conditions.host.machine == "armv7l"
        device = EmulatedDevice("pi-32bit")
        assert [name for name, _ in device.runtimes()] == ["tflite-runtime"]
        with pytest.raises(HemlineError, match=r"litert has no build for 32-bit ARM: use tflite-"):
            device.open("litert", "2.3.0")

    def test_bench_writes_instructions_and_no_latency(self, bundle: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
        manifest = read_manifest(copy)
        only = tuple(a for a in manifest.artifacts if a.name == "int8.tflite")
        schema.save(copy / MANIFEST_NAME, replace(manifest, artifacts=only))
        result = CliRunner().invoke(cli, ["bench", str(copy), "--device", PI4])
        assert result.exit_code == 0, result.output
        assert "int8.tflite in litert on emulated:pi4: passed, 1000 of 1000" in result.output
        kinds = {
            record.payload.KIND
            for record in read_records(copy / "records.jsonl")
            if record.cell.device == PI4
        }
        assert kinds == {"accuracy", "instructions"}

    def test_resume_and_compare_count_only_what_is_missing(
        self, bundle: Path, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
        manifest, path = read_manifest(copy), copy / "records.jsonl"
        only = tuple(a for a in manifest.artifacts if a.name == "int8.tflite")
        schema.save(copy / MANIFEST_NAME, replace(manifest, artifacts=only))
        resume = ["bench", str(copy), "--device", PI4, "--resume"]
        first, second = (CliRunner().invoke(cli, resume) for _ in range(2))
        assert counted(first) == ["int8.tflite in litert", "int8.tflite in tflite-runtime"]
        assert counted(second) == []
        assert "nothing is missing" in second.stderr
        whole = read_records(path)
        lost = (PI4, "litert")
        path.unlink()
        append_records(path, (r for r in whole if (r.cell.device, r.cell.runtime) != lost))
        third = CliRunner().invoke(cli, resume)
        assert counted(third) == ["int8.tflite in litert"]
        assert len(read_records(path)) == len(whole)
        compare = ["compare", str(copy), "--device", PI4]
        compared = CliRunner().invoke(cli, compare)
        assert compared.exit_code == 0, compared.output
        assert "nothing is missing" in compared.stderr
        other = "0.0.1"
        path.unlink()
        append_records(
            path,
            (
                replace(r, conditions=replace(r.conditions, versions={"hemline": other}))
                if isinstance(r.payload, Instructions)
                else r
                for r in whole
            ),
        )
        assert CliRunner().invoke(cli, compare).stderr.count(": passed") == 2

    @pytest.mark.parametrize("board", ["pi3", pytest.param("pi4", marks=pytest.mark.smoke), "pi5"])
    def test_the_counts_of_the_default_model_are_those_in_results(self, board: str) -> None:
        if not (BUNDLE / "manifest.json").is_file():
            missing("pi4", "run `make export` first")
        manifest = read_manifest(BUNDLE)
        names = ("int8.tflite", "fp32.tflite", "int8.onnx", "fp32.onnx")
        checks = check(
            BUNDLE,
            manifest,
            EmulatedDevice(board),
            only=lambda artifact, *_: artifact.name in names,
            report=str,
        )
        fresh = [record for check in checks for record in counts(check)]
        assert require_unchanged(fresh, read_records(RESULTS)) == len(fresh)

    def test_without_a_network_the_reason_is_told_and_nothing_is_left(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")  # the port that discards
        with pytest.raises(HemlineError, match=r"apt-get failed \(Failed to fetch .*refused"):
            EmulatedDevice("pi4").open("litert", "2.3.0")
        assert not (tmp_path / "hemline" / "emulated").exists()


def test_an_unknown_board_gets_the_list_of_names() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown emulated Raspberry Pi 'pi-4': choose"):
        open_device("emulated:pi-4")
    with pytest.raises(UnknownNameError) as error:
        open_device("emulated:pi2")
    assert "'pi2': choose one of: emulated:pi-32bit (Raspberry Pi 2 Model B), " in str(error.value)
    with pytest.raises(UnknownNameError, match="unknown emulated Raspberry Pi 'pi2': choose"):
        address_of("emulated:pi2")  # as choose, table and the others do
    with pytest.raises(UsageError, match=r"name the board .* emulated:pi3, emulated:pi4"):
        open_device("emulated")


def test_an_emulated_board_counts_instructions_and_has_no_latencies() -> None:
    for name in RASPBERRY_PIS:
        capabilities = open_device(f"emulated:{name}").capabilities
        assert capabilities.instructions
        assert not capabilities.latencies


def test_a_machine_without_apt_is_told_what_emulation_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HemlineError, match=r"apt-get is not installed; it needs Debian or Ubuntu"):
        emulator()


def test_a_full_disk_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hemline.bench.devices.emulation.emulator._LARGEST_BYTES", 1 << 60)
    with pytest.raises(
        HemlineError, match=r"free some space, or set XDG_CACHE_HOME to another folder"
    ):
        emulator()


LARGEST_CHANGE = 0.01


def require_unchanged(fresh: Iterable[Record], committed: Iterable[Record]) -> int:
    """Return how many counts have a committed one of the same artifact, runtime and device.

    Raises GateError when one of them is off by more than 1 %.
    """
    before, now = counts_by_cell(committed), counts_by_cell(fresh)
    both = [key for key in now if key in before]
    changes = {key: now[key] / before[key] - 1 for key in both}
    off = [
        f"{artifact} in {runtime} on {device} takes {changes[artifact, runtime, device]:+.1%}"
        for artifact, runtime, device in both
        if abs(changes[artifact, runtime, device]) > LARGEST_CHANGE
    ]
    if off:
        raise GateError(
            f"instructions per inference changed by more than {LARGEST_CHANGE:.0%} against the "
            f"committed ones: {'; '.join(off)}; find out why, or commit the new ones"
        )
    return len(both)


def count_of(board: str, millions: float, template: Record) -> Record:
    return replace(
        template,
        cell=replace(template.cell, device=f"emulated:{board}"),
        payload=Instructions(per_inference=round(millions * 1e6), processor="cortex-a72"),
    )


@pytest.fixture
def committed() -> list[Record]:
    (first, *_) = read_records(RESULTS)
    return [count_of("pi4", 1.5, first), count_of("pi5", 0.6, first)]


def test_a_count_that_moved_by_more_than_one_percent_closes_the_gate(
    committed: list[Record],
) -> None:
    template = committed[0]
    assert require_unchanged([count_of("pi4", 1.5149, template)], committed) == 1
    with pytest.raises(GateError, match=r"emulated:pi4 takes \+1\.1%; find out why"):
        require_unchanged([count_of("pi4", 1.5165, template)], committed)
    assert require_unchanged([count_of("pi3", 9.0, template)], committed) == 0


def test_the_table_in_the_docs_is_that_of_results() -> None:
    page = (ROOT / "docs" / "devices.md").read_text()
    assert as_markdown(instruction_table(read_records(RESULTS))) in page


def test_the_newest_count_of_a_cell_is_compared_whatever_the_order(
    committed: list[Record],
) -> None:
    old, new = (
        replace(
            count_of("pi4", millions, committed[0]),
            conditions=replace(committed[0].conditions, date=date),
        )
        for millions, date in ((1.5, "2026-01-01T00:00:00Z"), (3.0, "2026-02-02T00:00:00Z"))
    )
    for order in ([old, new], [new, old]):
        assert require_unchanged([new], order) == 1
        assert instruction_table(order).rows[0][-1] == "3.000"


@pytest.mark.parametrize(
    ("name", "runtime"), [("int8.tflite", "litert"), ("int8.onnx", "onnxruntime")]
)
@pytest.mark.devices
@pytest.mark.usefixtures("emulation")
def test_the_instructions_of_operators_add_up_to_those_of_the_model(
    name: str, runtime: str
) -> None:
    measured = OPERATORS[name.rpartition(".")[2]]
    model = TimedModel(name=name, content=read_stamped(BUNDLE / name).model)
    device = EmulatedDevice("pi4")
    counts = []
    for _ in range(2):
        with ModelTimer(device, runtime, dict(device.runtimes())[runtime]) as timer:
            found = measured(timer, model, 0)
        counts.append([cost.instructions or 0 for cost in found.costs])
        # what an invocation costs without any operator is part of the model, and of each alone
        assert sum(counts[-1]) == pytest.approx(found.whole.ns, rel=0.1)
    # after warming up, counts differ by 1 in 3,000 at most
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
