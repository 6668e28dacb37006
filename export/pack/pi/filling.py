"""The pack of a Raspberry Pi or another Linux board: runtime, set-up, self-test, camera, unit."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

from hemline.contract.manifest import Verdict
from hemline.contract.specs import version_key
from hemline.environments.pip import NoWheelError, run_pip
from hemline.environments.wheels import MACHINES, PACKAGES, WheelRequest, wheel_set
from hemline.errors import GateError, UsageError
from hemline.export.pack.bill_of_materials import installed_component, wheel_component
from hemline.export.pack.packed import Component, Contents, Packed, filled_file, write_filled
from hemline.folders import made
from hemline.runtime.one_file import NAME, write_runtime_file
from hemline.user_folders import cache_folder

_HERE = Path(__file__).parent
_PICTURES = "pillow>=10"  # decodes what a camera sends, and image files
_LARGEST_BYTES = 20 << 20  # of pillow's wheel


def board_runtime(packed: Packed) -> Verdict:
    """Return the verdict of the runtime for the board; raises GateError when it can have none."""
    machine = packed.options.machine
    # of the runtimes, only tflite-runtime is built for 32 bits
    built = list(PACKAGES) if MACHINES[machine] else ["tflite-runtime"]
    usable = [each for each in packed.passed if each.runtime in built]
    if not usable:
        here = ", ".join(f"{each.runtime} {each.version}" for each in packed.passed)
        raise GateError(
            f"{packed.artifact.name} passed in {here}, which {machine} boards cannot have"
        )
    return max(usable, key=lambda v: (-built.index(v.runtime), version_key(v.version)))


def fill(folder: Path, packed: Packed) -> Contents:
    """Write the files into a folder; raises HemlineError when wheels cannot be had."""
    best = board_runtime(packed)
    package, has_numpy = PACKAGES[best.runtime], MACHINES[packed.options.machine]
    needs = [f"{package.project}=={best.version}"]
    needs += [package.numpy_requirement(best.version), _PICTURES] if has_numpy else []
    (folder / "requirements.txt").write_text("\n".join((*needs, "")))
    write_runtime_file(folder / NAME)
    shutil.copyfile(packed.path, folder / packed.artifact.name)
    gray = packed.stamp.input.channels == 1  # of planar frames, the first plane is the gray image
    facts = {
        "ARTIFACT": shlex.quote(packed.artifact.name),
        "NAME": packed.name,
        "PYTHONS": package.pythons_of(best.version),
        "VENV": "" if has_numpy else "--system-site-packages",
        "CODEC": "yuv420" if gray else "mjpeg",
        "FRAMES": "- --raw 640x480:yuv420" if gray else "-",
        "PACKAGES": "python3-venv" if has_numpy else "python3-venv python3-numpy python3-pil",
    }
    write_filled(folder, _HERE, ("selftest.py", "setup.sh", "camera.sh", "hemline.service"), facts)
    needed = replace(installed_component(package.project, best.version), texts={})
    return Contents(
        runtime=best,
        use=filled_file(_HERE / "use.md", facts),
        components=_wheels(folder / "wheels", packed, best) or (needed,),
    )


def _wheels(folder: Path, packed: Packed, best: Verdict) -> tuple[Component, ...]:
    """Copy the wheels for each Python that was asked for; return what they are."""
    for python in packed.options.wheels:
        machine, version = packed.options.machine, best.version
        request = WheelRequest(
            runtime=best.runtime, version=version, python=python, machine=machine
        )
        try:
            cached, record = wheel_set(request)
        except UsageError as error:  # its remedy is for those who add a runtime
            raise UsageError(str(error)) from error
        folder.mkdir(exist_ok=True)
        for path in (*record.paths(cached), *(_pictures(request) if request.has_numpy else ())):
            shutil.copyfile(path, folder / path.name)
    return tuple(map(wheel_component, sorted(folder.glob("*.whl"))))


def _pictures(request: WheelRequest) -> list[Path]:
    """Return pillow's wheel, in the cache."""

    def make(empty: Path) -> None:
        try:
            run_pip(["download", "--no-deps", *request.options, "--dest", str(empty), _PICTURES])
        except NoWheelError as error:
            raise UsageError(
                f"there is no {_PICTURES} for {request}: use another Python"
            ) from error

    folder = cache_folder() / "pillow" / f"{request.machine}-py{request.python}"
    return sorted(made(folder, make, needs_bytes=_LARGEST_BYTES, what=_PICTURES).iterdir())
