"""Measure and choose from Python, as the commands do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.contract.budget import USUAL_DROP_POINTS
from hemline.errors import HemlineError, UsageError, remedy
from hemline.progress import REPORT, Say, say

if TYPE_CHECKING:
    from hemline.bench.choosing import Choice
    from hemline.bench.comparison import Comparison
    from hemline.bench.devices.device import Device
    from hemline.bench.measuring.fleet import DeviceResult
    from hemline.bench.measuring.plan import MeasurementPlan
    from hemline.bench.measuring.subject import Subject
    from hemline.contract.manifest import Manifest
    from hemline.environments.environment import RuntimeTarget
    from hemline.export.admission.user_samples import SampleFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What was measured on each device.

    results: of the devices: records of latency, memory and accuracy, or why a device failed.
    bundles: folders whose records.jsonl has the measurements.
    """

    results: tuple[DeviceResult, ...]
    bundles: tuple[Path, ...]

    @property
    def failures(self) -> tuple[HemlineError, ...]:
        """Return why measurements are missing; none when every device did all its work."""
        return tuple(each.error for each in self.results if each.error is not None)

    @property
    def medians_us(self) -> dict[tuple[str, str, str], float]:
        """Return (device, file, runtime) to the median latency of one image in microseconds.

        It is measured with one thread. Emulated devices have no latencies.
        """
        from hemline.bench.latency_summary import summarize
        from hemline.contract.record import Latency

        return {
            (result.device, record.cell.artifact, record.cell.runtime): summarize(
                record.payload
            ).median_us
            for result in self.results
            for record in result.records
            if isinstance(record.payload, Latency)
            and (record.cell.threads, record.cell.batch) == (1, 1)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseResult:
    """The file to ship on each device.

    choices: path, runtime, size, latency and change of accuracy, and the reasons as sentences.
    comparisons: all files that were compared, by device.
    """

    choices: tuple[Choice, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def file(self) -> Path:
        """Return the path of the file for the first device."""
        return self.choices[0].file


def bench(
    paths: Path | str | Sequence[Path | str],
    *,
    devices: str | Sequence[str] = "local",
    quick: bool = False,
    plan: MeasurementPlan | None = None,
    runtimes: Sequence[str] = (),
    sustained_seconds: float = 0.0,
    fallback: bool = False,
    resume: bool = False,
    keep_counts: bool = False,
    samples: SampleFiles | None = None,
    report: Say = say,
) -> BenchResult:
    """Measure latency and memory of exported files, in interleaved rounds.

    paths: bundles and files, which are all measured together.
    devices: names, or a text with commas between them, such as local,pi4; @fleet.toml for all
        boards of a file.
    quick: measure a few rounds only, and nothing where nothing changed.
    plan: threads, batch sizes, cores and rounds (default: one thread, one image).
    runtimes: installed, or versions that were added, such as litert==1.4.0.
    sustained_seconds: then run the fastest file for so long.
    fallback: let the processor run what a GPU cannot.
    resume: measure only what is missing.
    keep_counts: keep instruction counts of the same versions: they are the same every time.
    samples: labelled images for single files.
    report: called with each line of results.

    A device that fails is in `failures`; what the others measured is kept. Raises UsageError for a
    wrong request.
    """
    from hemline.bench.measuring.device_bench import BenchRequest
    from hemline.bench.measuring.fleet import DeviceResult, bench_fleet
    from hemline.bench.measuring.plan import FULL, QUICK
    from hemline.bench.records import is_measured, records_on

    plan = plan or (QUICK if quick else FULL)
    with benched(paths, devices, runtimes, samples, fallback=fallback) as (here, failed, subjects):
        bundles = tuple(each.bundle for each in subjects)
        once = quick and not sustained_seconds and [each.name for each in here] == ["local"]
        if once and all(is_measured(each, here[0], plan) for each in subjects):
            say("bench: nothing changed since the last one")
            known = tuple(r for bundle in bundles for r in records_on(bundle, here[0]))
            result = DeviceResult(device="local", error=None, records=known)
            return BenchResult(results=(result,), bundles=bundles)
        request = BenchRequest(
            plan=plan, resume=resume, keep_counts=keep_counts, sustained_seconds=sustained_seconds
        )
        ended = bench_fleet(here, subjects, request, progress=REPORT.get().say, report=report)
    return BenchResult(results=(*ended, *failed), bundles=bundles)


def choose(
    paths: Path | str | Sequence[Path | str],
    *,
    devices: str | Sequence[str] = "local",
    max_drop_points: float | None = USUAL_DROP_POINTS,
    max_kb: float | None = None,
    max_ms: float | None = None,
    schemes: Sequence[str] = (),
) -> ChooseResult:
    """Choose the fastest measured file within a budget, and note it in its bundle.

    paths: measured bundles and files.
    devices: whose measurements count; of several, there is a choice for each.
    max_drop_points: largest loss of validation accuracy, in percentage points.
    max_kb: largest file, in units of 1000 bytes.
    max_ms: largest median latency.
    schemes: file or scheme names to choose from, such as int8 or int8.onnx (default: all).

    Raises GateError when no file fits, UsageError when nothing was measured.
    """
    from hemline.bench.choosing import choose_each
    from hemline.bench.devices.addresses import device_names
    from hemline.bench.records import compared
    from hemline.contract.budget import Budget
    from hemline.export.schemes import find_schemes

    budget = Budget(
        max_drop_points=max_drop_points,
        max_kb=max_kb,
        max_ms=max_ms,
        artifacts=tuple(row.file_name for row in find_schemes(tuple(schemes))) if schemes else (),
    )
    with locked(paths_of(paths)):
        subjects = measured(paths_of(paths))
        comparisons = tuple(compared(subjects, device) for device in device_names(devices))
        choices = choose_each(subjects, comparisons, budget)
    return ChooseResult(choices=choices, comparisons=comparisons)


def paths_of(paths: Path | str | Sequence[Path | str]) -> tuple[Path, ...]:
    """Return one path or several as a tuple."""
    return tuple(map(Path, (paths,) if isinstance(paths, str | Path) else paths))


@contextlib.contextmanager
def benched(
    paths: Path | str | Sequence[Path | str],
    devices: str | Sequence[str],
    runtimes: Sequence[str] = (),
    samples: SampleFiles | None = None,
    *,
    fallback: bool = False,
) -> Iterator[tuple[list[Device], tuple[DeviceResult, ...], tuple[Subject, ...]]]:
    """Open devices, and bundles and files for this process alone; yield also what failed."""
    from hemline.bench.measuring.fleet import open_fleet
    from hemline.runtime.targets import find_targets

    targets = find_targets(tuple(runtimes)) if runtimes else ()
    found, failed = open_fleet(devices, fallback=fallback, targets=targets)
    with contextlib.ExitStack() as stack:
        for each in found:
            stack.callback(each.close)
        stack.enter_context(locked(paths_of(paths)))
        yield found, failed, opened(paths_of(paths), samples, targets)


@contextlib.contextmanager
def locked(paths: Sequence[Path]) -> Iterator[None]:
    """Hold the folders of bundles and files for this process alone; raises BusyError."""
    from hemline import files
    from hemline.export.admission.file_bundle import folder_of

    with contextlib.ExitStack() as stack:
        for path in paths:
            stack.enter_context(files.locked(folder_of(path)))
        yield


def opened(
    paths: Sequence[Path], samples: SampleFiles | None = None, targets: Sequence[RuntimeTarget] = ()
) -> tuple[Subject, ...]:
    """Return bundles, and those of single files brought up to date, all of the same images.

    A file is judged on `samples`; without any, on the test images of the first bundle that has
    labelled ones, else on those that it has. Raises UsageError where the images differ.
    """
    from hemline.bench.measuring.subject import Subject
    from hemline.contract.evaluation_set import has_labels
    from hemline.export.admission.file_bundle import folder_of, update_file_bundle
    from hemline.export.admission.user_samples import SampleFiles

    manifests = {path: _manifest(path) for path in paths if path.is_dir()}
    if samples is not None and len(manifests) == len(paths):
        raise UsageError(
            f"{paths[0]} is a bundle and contains its images", remedy=remedy("images of a file")
        )
    labelled = [path for path, own in manifests.items() if has_labels(own.evaluation_sha256)]
    if samples is None and labelled:
        samples = SampleFiles(data=labelled[0])
    for path in (path for path in paths if path not in manifests):
        manifest = update_file_bundle(path, samples, targets or None, say=say)
        manifests[path] = manifest
        if not has_labels(manifest.evaluation_sha256):
            images = f"the {manifest.dataset} have no labels"
            say(f"no accuracy: {images}; name labelled images with --data")
    return _of_same_images(
        [Subject(bundle=folder_of(path), manifest=manifests[path]) for path in paths]
    )


def measured(paths: Sequence[Path]) -> tuple[Subject, ...]:
    """Return bundles and those of single files as they are; raises UsageError as `opened` does."""
    from hemline.bench.measuring.subject import Subject
    from hemline.export.admission.file_bundle import folder_of

    return _of_same_images(
        [Subject(bundle=folder_of(path), manifest=_manifest(path)) for path in paths]
    )


def _of_same_images(subjects: Sequence[Subject]) -> tuple[Subject, ...]:
    from hemline.bench.same_images import require_same_images

    require_same_images(subjects)
    return tuple(subjects)


def _manifest(path: Path) -> Manifest:
    """Return the manifest of a bundle, or that of a single file which was measured before."""
    from hemline.contract.manifest import read_manifest, require_artifacts

    if not path.is_dir():
        from hemline.export.admission.file_bundle import read_file_bundle

        return read_file_bundle(path)
    manifest = read_manifest(path)
    require_artifacts(path, manifest)
    return manifest
