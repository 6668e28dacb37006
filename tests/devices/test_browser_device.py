"""A browser as a device: Python's bits, on older processors too; lost and hung browsers."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import find_browser
from click.testing import CliRunner
from required import missing

from hemline.bench.devices.browser.device import BrowserDevice
from hemline.bench.devices.browser.served import open_browser
from hemline.bench.devices.checking import Check, check
from hemline.cli import cli
from hemline.contract.job import Job, JobCell
from hemline.contract.manifest import Manifest
from hemline.contract.record import Accuracy, Latency, Memory, read_records
from hemline.errors import (
    DeviceError,
    EvidenceError,
    FileFormatError,
    HemlineError,
    JobError,
    UsageError,
)
from hemline.npm_packages import FILES, fetched
from hemline.progress import report_to
from hemline.runtime.process import JobProcess

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("warm_cache")]
PLAIN = JobCell()
FOREVER = JobCell(invocations=1_000_000)  # of 5 ms


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Return the path of a browser for the device, after all packages were fetched."""
    try:
        path, variables = find_browser()
        for name in FILES:
            fetched(name)
    except HemlineError as error:
        missing("browser", str(error))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield str(path)


@pytest.fixture(scope="module")
def device(address: str) -> Iterator[BrowserDevice]:
    with BrowserDevice(address) as opened:
        yield opened


def job(bundle: Path, folder: Path, cell: JobCell = PLAIN, *, timed: bool = False) -> Job:
    return Job(
        id="job",
        artifact=str(bundle / "int8.tflite"),
        runtime="litert-js",
        images=str(bundle / "evaluation" / "validation-images.npy"),
        count=4,
        cells=(cell,),
        want=("latencies", "package") if timed else ("outputs",),
        arrays=str(folder),
    )


def checks(bundle: Path, manifest: Manifest, device: BrowserDevice) -> dict[str, Check]:
    found = check(bundle, manifest, device, report=lambda _: None)
    return {each.artifact: each for each in found}


@pytest.mark.smoke
def test_files_give_pythons_bits(bundle: Path, manifest: Manifest, device: BrowserDevice) -> None:
    found = checks(bundle, manifest, device)
    assert {each.status for each in found.values()} == {"passed"}, list(map(str, found.values()))
    for name in ("int8.tflite", "int8.onnx"):
        equality = found[name].equality
        assert equality is not None
        assert equality.unequal == 0, str(found[name])
    # float sums may have another order in wasm: 1e-5 is some 20 ulps of a logit of 5; of a dynamic
    # file they decide how activations are rounded
    floats = [found[name].equality for name in ("fp32.tflite", "fp16.tflite", "fp32.onnx")]
    assert max(each.largest_difference for each in floats if each) < 1e-5
    assert "isolated" in found["int8.tflite"].delegate


@pytest.mark.parametrize("lacks", ["avx", "avx2", "fma3", "avx-vnni"])
def test_int8_files_give_the_same_bits_on_older_processors(
    bundle: Path, manifest: Manifest, address: str, lacks: str
) -> None:
    with BrowserDevice(address, options=[f"--js-flags=--no-enable-{lacks}"]) as older:
        found = check(
            bundle,
            manifest,
            older,
            only=lambda artifact, *_: artifact.name.startswith("int8."),
            report=lambda _: None,
        )
    assert [each.equality.unequal for each in found if each.equality] == [0, 0]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the flag is one of x86")
def test_a_page_without_simd_is_told_so(bundle: Path, manifest: Manifest, address: str) -> None:
    with BrowserDevice(address, options=["--js-flags=--no-enable-sse4-1"]) as older:
        found = checks(bundle, manifest, older)
    assert {each.status for each in found.values()} == {"refused"}
    assert "no WebAssembly SIMD: update this browser" in found["int8.tflite"].reason


def test_webgpu_runs_float_files(bundle: Path, manifest: Manifest, address: str) -> None:
    swiftshader = ["--use-webgpu-adapter=swiftshader"]
    with BrowserDevice(address, options=swiftshader, gpu=True) as device:
        found = checks(bundle, manifest, device)
    assert {name for name, each in found.items() if each.status == "passed"} == {
        "fp32.tflite",
        "fp16.tflite",
        "dynamic.tflite",  # in float
    }
    assert found["int8.tflite"].reason == "WebGPU runs files in float only"
    fp32 = found["fp32.tflite"]
    assert fp32.equality is not None
    assert fp32.equality.largest_difference < 1e-5  # some 20 ulps of a logit of 5
    assert fp32.software
    assert "WebGPU on google swiftshader (software)" in fp32.delegate


def test_a_program_in_place_of_a_gpu_is_not_timed(
    bundle: Path, address: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    before = read_records(copy / "records.jsonl")
    words = ["bench", str(copy), "--device", f"browser:{address}:gpu", "--quick"]
    result = CliRunner().invoke(cli, words)
    assert result.exception is None, result.output
    fresh = [r for r in read_records(copy / "records.jsonl") if r not in before]
    assert {type(r.payload) for r in fresh} == {Accuracy}


def test_the_values_are_those_of_python(
    bundle: Path, device: BrowserDevice, tmp_path: Path
) -> None:

    asked = job(bundle, tmp_path)
    with device.open("litert-js", "2.5.3") as runner:
        there = runner.run(asked).logits()
    with JobProcess() as process:
        here = process.run(replace(asked, id="here", runtime="litert")).logits()
    np.testing.assert_array_equal(there, here)
    assert there.dtype == np.float32


def test_bench_and_verify_keep_what_they_keep_of_other_devices(
    bundle: Path, address: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    before = read_records(copy / "records.jsonl")
    name = f"browser:{address}"
    result = CliRunner().invoke(cli, ["bench", str(copy), "--device", name, "--quick"])
    assert result.exception is None, result.output
    assert "litert-js 2.5.3" in result.stdout
    fresh = [r for r in read_records(copy / "records.jsonl") if r not in before]
    assert {type(r.payload) for r in fresh} == {Accuracy, Latency, Memory}
    shares = [
        f.busy_share for r in fresh if isinstance(r.payload, Latency) for f in r.payload.facts
    ]
    assert None not in shares  # what other processes used is known
    assert {r.cell.device for r in fresh} == {name}
    times = [r.payload for r in fresh if isinstance(r.payload, Latency)]
    assert all(ns > 0 for payload in times for turn in payload.rounds_ns for ns in turn)
    memory = next(r.payload for r in fresh if isinstance(r.payload, Memory))
    assert memory.package_bytes > 9_000_000  # what a page transfers of the runtime
    assert memory.load_ns > 0
    (header, *_) = result.stdout.partition("artifact ")[2].splitlines()
    assert header.split()[-2:] == ["load", "transferred"]
    result = CliRunner().invoke(cli, ["bench", str(copy), "--device", name, "--quick", "--resume"])
    assert "nothing is missing" in result.output
    limits = ["--max-slowdown", "9", "--rounds", "4", "--select", "int8.tflite"]
    gate = ["gate", str(copy), "--baseline", str(bundle), "--device", name, *limits]
    result = CliRunner().invoke(cli, gate)
    # passed, or too few rounds were undisturbed: how busy this machine is decides that
    assert result.exception is None or isinstance(result.exception, EvidenceError), result.output
    assert "int8.tflite · litert-js" in result.stdout
    assert "no measurement" not in result.stdout
    result = CliRunner().invoke(cli, ["verify", str(copy), "--device", name, "--json"])
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert {each["status"] for each in documents} == {"passed"}


def test_threads_are_refused_in_a_line(bundle: Path, device: BrowserDevice, tmp_path: Path) -> None:
    with device.open("litert-js", "2.5.3") as runner:
        failure = runner.run(job(bundle, tmp_path, JobCell(threads=2))).failure
    assert failure is not None
    assert failure.message == "litert-js runs one thread and one image"


def test_an_altered_file_is_refused_before_the_browser_has_it(
    bundle: Path, device: BrowserDevice, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    content = bytearray((copy / "int8.tflite").read_bytes())
    content[1000] ^= 1
    (copy / "int8.tflite").write_bytes(content)
    refused = pytest.raises(FileFormatError, match="was modified")
    with device.open("litert-js", "2.5.3") as runner, refused:
        runner.run(job(copy, tmp_path))


def test_a_browser_that_dies_in_a_cell_costs_this_cell_only(
    bundle: Path, address: str, tmp_path: Path
) -> None:
    with BrowserDevice(address) as device:
        lost = pytest.raises(JobError, match=r"litert-js: the browser ended \(signal 9\)")
        with device.open("litert-js", "2.5.3") as runner, lost:
            threading.Timer(1.0, runner._page.child.kill).start()
            runner.run(job(bundle, tmp_path, FOREVER, timed=True))
        with device.open("litert-js", "2.5.3") as runner:
            assert runner.run(job(bundle, tmp_path)).failure is None


def test_a_cell_that_hangs_is_ended_and_the_next_one_runs(
    bundle: Path, device: BrowserDevice, tmp_path: Path
) -> None:
    hangs = pytest.raises(JobError, match="no result in 2 s")
    with device.open("litert-js", "2.5.3") as runner, hangs:
        runner.run(job(bundle, tmp_path, FOREVER, timed=True), timeout_seconds=2.0)
    with device.open("litert-js", "2.5.3") as runner:
        assert runner.run(job(bundle, tmp_path)).failure is None


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[Callable[[str], None]]:
    """Yield what opens an address in Firefox."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        missing("firefox", "it is not installed (Debian: apt-get install firefox-esr)")
    started: list[subprocess.Popen[bytes]] = []
    command = [program, "--headless", "--no-remote", "--profile", str(folder)]

    def open_page(address: str) -> None:
        quiet = subprocess.DEVNULL
        started.append(subprocess.Popen([*command, address], stdout=quiet, stderr=quiet))

    try:
        yield open_page
    finally:
        for each in started:
            each.terminate()
            each.wait()


@contextlib.contextmanager
def chromium_pages(program: str, count: int = 1) -> Iterator[Callable[[str], None]]:
    """Yield what opens an address in Chromium, in so many tabs, one after the other."""
    from playwright.sync_api import sync_playwright

    wanted: queue.Queue[str] = queue.Queue()

    def browse() -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            while address := wanted.get():
                page = browser.new_page()
                page.goto(address)
                for _ in range(count - 1):
                    page.wait_for_timeout(3000)
                    page.reload()
            browser.close()

    thread = threading.Thread(target=browse)
    thread.start()
    try:
        yield wanted.put
    finally:
        wanted.put("")
        thread.join()


@contextlib.contextmanager
def served(open_page: Callable[[str], None]) -> Iterator[tuple[BrowserDevice, list[str]]]:
    """Yield the device of whoever opens the page, and what the user reads."""
    lines: list[str] = []

    def read(line: str) -> None:
        lines.append(line)
        if found := re.search(r"http://localhost:[0-9]+/[a-z0-9]+/", line):
            open_page(found[0])

    with report_to(read), open_browser("serve") as device:
        yield device, lines


def test_firefox_that_opens_the_page_gives_pythons_bits(
    bundle: Path, manifest: Manifest, address: str, tmp_path: Path
) -> None:
    del address
    with firefox(tmp_path) as open_page, served(open_page) as (device, lines):
        found = checks(bundle, manifest, device)
        host = device.host()
    assert {each.status for each in found.values()} == {"passed"}, list(map(str, found.values()))
    for name in ("int8.tflite", "int8.onnx"):
        equality = found[name].equality
        assert equality is not None
        assert equality.unequal == 0, str(found[name])
    assert "isolated" in found["int8.tflite"].delegate
    assert host is not None
    assert (host.machine, host.system.split()[0]) == ("browser", "Firefox")
    assert [line.partition(" ")[0] for line in lines[:2]] == ["open", "browser:serve:"]


def test_several_files_are_timed_in_one_page(bundle: Path, address: str, tmp_path: Path) -> None:
    cell = JobCell(invocations=3)
    asked = job(bundle, tmp_path, cell, timed=True)
    other = replace(asked, artifact=str(bundle / "fp32.tflite"))
    with (
        chromium_pages(address) as open_page,
        served(open_page) as (device, _),
        device.open("litert-js", "2.5.3") as first,
        device.open("litert-js", "2.5.3") as second,
    ):
        results = [first.run(asked), second.run(other), first.run(asked)]
    assert [len(each.cells[0].latencies_ns) for each in results] == [3, 3, 3]
    assert {each.activity for each in results} == {None}  # of a machine that may be another
    assert [each.cells[0].load_ns > 0 for each in results] == [True, True, False]
    assert {each.host.system.split()[0] for each in results} == {"HeadlessChrome"}


def test_a_page_that_is_loaded_anew_repeats_its_job(
    bundle: Path, address: str, tmp_path: Path
) -> None:
    long = JobCell(invocations=1000)  # 5 s: the page is loaded anew after 3 s
    with (
        chromium_pages(address, count=2) as open_page,
        served(open_page) as (device, _),
        device.open("litert-js", "2.5.3") as runner,
    ):
        result = runner.run(job(bundle, tmp_path, long, timed=True), timeout_seconds=300.0)
    assert len(result.cells[0].latencies_ns) == 1000


def test_a_page_that_was_closed_is_a_lost_device(
    bundle: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("_SILENT_SECONDS", 2.0), ("_LOST_SECONDS", 4.0)):
        monkeypatch.setattr(f"hemline.bench.devices.browser.served.{name}", seconds)
    lost = pytest.raises(DeviceError, match="litert-js: the page was closed, or its device slept")
    with (
        chromium_pages(address) as open_page,
        served(open_page) as (device, lines),
        device.open("litert-js", "2.5.3") as runner,
        lost,
    ):
        # a page asks every 10 s: more seldom than this test can wait
        runner.run(job(bundle, tmp_path, FOREVER, timed=True))
    assert lines[-1] == "the browser is silent: bring its page to the front, or open it again"


def test_waiting_for_a_browser_can_be_interrupted(address: str) -> None:
    del address
    with (
        open_browser("serve") as device,
        report_to(lambda _: threading.Timer(0.1, device.interrupt).start()),
        pytest.raises(DeviceError, match="no browser opened"),
    ):
        device.open("litert-js", "2.5.3")


def test_the_page_is_for_those_who_know_its_secret(device: BrowserDevice) -> None:
    with device.open("litert-js", "2.5.3") as runner:
        server = runner._page.server
        root = f"http://127.0.0.1:{server.server_port}"
        for path in ("/", "/worker.js", f"{server.path}../pyproject.toml"):
            with pytest.raises(urllib.error.HTTPError) as found:
                urllib.request.urlopen(root + path, timeout=5)  # noqa: S310 — http
            found.value.close()
            assert found.value.code == 404


def test_a_browser_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a program: name Chromium"):
        BrowserDevice(str(tmp_path / "chrome"))
    with pytest.raises(DeviceError, match="/bin/false does not start"):
        BrowserDevice("/bin/false")
