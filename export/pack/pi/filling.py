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
from hemline.export.pack.licences import installed_component, wheel_component
from hemline.export.pack.packed import Component, Contents, Packed
from hemline.folders import made
from hemline.runtime.one_file import NAME, write_runtime_file
from hemline.user_folders import cache_folder

_HERE = Path(__file__).parent
_PICTURES = "pillow>=10"  # decodes what a camera sends, and image files
_LARGEST_BYTES = 20 << 20  # of pillow's wheel
_FRAME = "640x480"


def fits(packed: Packed) -> None:
    """Raise GateError unless the artifact passed in a runtime that the board can have."""
    if not _usable(packed):
        here = ", ".join(f"{each.runtime} {each.version}" for each in packed.passed)
        raise GateError(
            f"{packed.artifact.name} passed in {here}, which {packed.options.machine} boards "
            "cannot have"
        )


def _usable(packed: Packed) -> list[Verdict]:
    # of the runtimes, only tflite-runtime is built for 32 bits
    built = PACKAGES if MACHINES[packed.options.machine] else ("tflite-runtime",)
    return [each for each in packed.passed if each.runtime in built]


def fill(folder: Path, packed: Packed) -> Contents:
    """Write the files into a folder; raises HemlineError when wheels cannot be had."""
    order = list(PACKAGES)
    best = min(_usable(packed), key=lambda v: (order.index(v.runtime), *_newest_first(v.version)))
    package, has_numpy = PACKAGES[best.runtime], MACHINES[packed.options.machine]
    needs = [f"{package.project}=={best.version}"]
    needs += [package.numpy_requirement(best.version), _PICTURES] if has_numpy else []
    (folder / "requirements.txt").write_text("".join(f"{each}\n" for each in needs))
    write_runtime_file(folder / NAME)
    shutil.copyfile(packed.path, folder / packed.artifact.name)
    shutil.copyfile(_HERE / "selftest.py", folder / "selftest.py")
    for name in ("setup.sh", "camera.sh", "hemline.service"):
        (folder / name).write_text(_filled((_HERE / name).read_text(), packed))
    needed = installed_component(package.project, best.version)
    components = _wheels(folder / "wheels", packed, best) or (replace(needed, texts={}),)
    return Contents(use=_use(packed), components=components)


def _newest_first(version: str) -> tuple[int, ...]:
    return tuple(-number for number in version_key(version))


def _filled(template: str, packed: Packed) -> str:
    gray = packed.stamp.input.channels == 1  # of planar frames, the first plane is the gray image
    facts = {
        "ARTIFACT": shlex.quote(packed.artifact.name),
        "NAME": packed.name,
        "VENV": "" if MACHINES[packed.options.machine] else "--system-site-packages",
        "CODEC": "yuv420" if gray else "mjpeg",
        "FRAMES": f"- --raw {_FRAME}:yuv420" if gray else "-",
    }
    for name, text in facts.items():
        template = template.replace(f"@{name}@", text)
    return template


def _use(packed: Packed) -> tuple[str, ...]:
    system = "python3-venv" if MACHINES[packed.options.machine] else (
        "python3-venv python3-numpy python3-pil"
    )  # fmt: skip
    network = "without a network, from wheels/" if packed.options.wheels else "from the network"
    return (
        f"On the board (Python 3.10 or newer; `sudo apt-get install {system}`):\n",
        "```sh",
        f"./setup.sh                    # makes env/ {network}, then runs selftest.py",
        "env/bin/python selftest.py    # files intact, and the same predictions as when exported?",
        f"env/bin/python {NAME} classify {shlex.quote(packed.artifact.name)} photo.jpg",
        "./camera.sh                   # one JSON line per frame of the camera",
        "```\n",
        f"At boot: `sudo cp -r . /opt/{packed.name}`, `sudo cp hemline.service "
        f"/etc/systemd/system/{packed.name}.service`, `sudo systemctl enable --now {packed.name}`; "
        f"`journalctl -u {packed.name}` shows the predictions.",
    )


def _wheels(folder: Path, packed: Packed, best: Verdict) -> tuple[Component, ...]:
    """Copy the wheels for each Python that was asked for; return what they are."""
    for python in packed.options.wheels:
        request = WheelRequest(
            runtime=best.runtime,
            version=best.version,
            python=python,
            machine=packed.options.machine,
        )
        cached, record = wheel_set(request)
        folder.mkdir(exist_ok=True)
        for path in (*record.paths(cached), *(_pictures(request) if request.has_numpy else ())):
            shutil.copyfile(path, folder / path.name)
    return tuple(map(wheel_component, sorted(folder.glob("*.whl"))))


def _pictures(request: WheelRequest) -> list[Path]:
    """Return pillow's wheel, in the cache."""

    def make(empty: Path) -> None:
        how = ["download", "-q", "--no-deps", *request.options, "--dest", str(empty), _PICTURES]
        try:
            run_pip(how)
        except NoWheelError as error:
            raise UsageError(
                f"there is no {_PICTURES} for {request}: use another Python"
            ) from error

    kind = f"{request.machine}-py{request.python}-glibc2.{request.glibc}"
    return sorted(
        made(cache_folder() / "pillow" / kind, make, needs_bytes=_LARGEST_BYTES).iterdir()
    )
