"""Try a wheel as a device gets it: alone with the runtime extras, in an empty environment.

Usage: try_wheel.py WHEEL CONSTRAINTS BUNDLE
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import MANIFEST_NAME, Manifest
from hemline.contract.schema import load

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "try"
STAGES = ("train", "export", "runtime", "bench")
IMPORTS = """
import importlib.util, sys, hemline.runtime
foreign = [name for name in ("tensorflow", "keras", "onnx") if importlib.util.find_spec(name)]
assert not foreign, f"{foreign} came with the runtime extras"
assert sys.prefix in hemline.runtime.__file__, hemline.runtime.__file__
"""


def main(wheel: Path, constraints: Path, bundle: Path) -> None:
    """Install, ask for help, import, classify; the environment is gone afterwards."""
    require_every_file(wheel)
    shutil.rmtree(PLACE, ignore_errors=True)
    try:
        venv.create(PLACE, with_pip=True)
        run("python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install",
            "--constraint", str(constraints), f"{wheel}[litert,image]")  # fmt: skip
        run("python", "-c", IMPORTS)
        require("Export:" in run("hemline", "--help"), "hemline --help lists no commands")
        classify(bundle)
        told = run("hemline", "data", "show", ends_with=1)
        require(told.startswith("error: pictures need matplotlib"), f"a missing package: {told}")
        size = size_bytes(PLACE) - size_bytes(*PLACE.glob("lib/python*/site-packages/pip"))
        print(f"{wheel.name}: {wheel.stat().st_size / 1000:.0f} kB, works in an environment of "
              f"{size / 1e6:.0f} MB without TensorFlow")  # fmt: skip
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


def classify(bundle: Path) -> None:
    """Let the installed command answer the test image that the Keras model is surest of."""
    manifest = load(Manifest, bundle / MANIFEST_NAME)
    split = load_split(bundle, "test", manifest.evaluation_sha256)
    ordered = np.sort(split.logits, axis=1)
    surest = int((ordered[:, -1] - ordered[:, -2]).argmax())
    image = PLACE / "image.png"
    Image.fromarray(split.images[surest].squeeze()).save(image)
    answer = json.loads(
        run("hemline", "classify", str(bundle / "int8.tflite"), str(image), "--json")
    )
    expected = manifest.labels[split.logits[surest].argmax()]
    require(answer["label"] == expected, f"{image} is {expected}, the answer was {answer}")


def require_every_file(wheel: Path) -> None:
    """Require each file of the product's folders in the wheel, and nothing of another build."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "hemline", *STAGES]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = {
        name if name.startswith("hemline/") else f"hemline/{name}"
        for name in names.splitlines()
        if (ROOT / name).is_file()
    }
    require(packed == wanted, f"{wheel} and the folders differ in {sorted(packed ^ wanted)}")


def run(program: str, *arguments: str, ends_with: int = 0) -> str:
    """Run a program of the empty environment outside the checkout; return what it says."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(PLACE / "bin" / program), *arguments]
    done = subprocess.run(command, cwd=PLACE, env=kept, capture_output=True, text=True)
    said = f"{done.stdout}{done.stderr}"
    require(done.returncode == ends_with, f"{' '.join(command)} gave {done.returncode}: {said}")
    return done.stderr if ends_with else done.stdout


def require(holds: bool, otherwise: str) -> None:
    """End with a message unless it holds."""
    if not holds:
        sys.exit(f"error: {otherwise}")


def size_bytes(*folders: Path) -> int:
    """Return the size of all files in folders; links are not followed."""
    return sum(
        path.stat().st_size
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:]))
