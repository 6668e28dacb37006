"""npm packages that run models in browsers: fetched once with npm, checked against npm.lock."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from functools import partial
from pathlib import Path

from hemline.errors import DataError
from hemline.files import read_bytes
from hemline.folders import TemporaryFolder, made
from hemline.programs import ProgramError, output_of
from hemline.user_folders import cache_folder

# name: the files that a page needs
FILES: dict[str, tuple[str, ...]] = {
    "@litertjs/core": (
        "wasm/litert_wasm_internal.js",
        "wasm/litert_wasm_internal.wasm",
        "wasm/litert_wasm_compat_internal.js",  # for browsers without relaxed SIMD
        "wasm/litert_wasm_compat_internal.wasm",
    ),
    "onnxruntime-web": (
        "dist/ort.wasm.min.mjs",
        "dist/ort-wasm-simd-threaded.mjs",
        "dist/ort-wasm-simd-threaded.wasm",
    ),
}
# the glue of Emscripten is a script; with this line it can be imported as a module
_AS_MODULE = b"\nexport default ModuleFactory;\n"
_FORM = "1"  # of what is kept
_NEEDS_BYTES = 100 << 20  # the larger archive and what is kept of it
_SECONDS = 300.0
_LOCK = Path(__file__).with_name("npm.lock")
_DETAILS = ("code", "errno", "syscall")


def locked() -> dict[str, tuple[str, str]]:
    """Return (version, sha512 as npm writes it) of each package, by name."""
    lines = (line.split() for line in _LOCK.read_text().splitlines())
    return {name: (version, digest) for name, version, digest in lines}


def fetched(name: str) -> Path:
    """Return the cached folder with the files of a package that a page needs, without subfolders.

    Scripts of Emscripten are there as modules (.mjs). On first use the package is downloaded.
    Raises DataError when npm is missing or fails, or gives other bytes than those in the lock.
    """
    version, digest = locked()[name]
    folder = cache_folder() / "npm" / f"{name.replace('/', '-').lstrip('@')}-{version}-{_FORM}"
    return made(folder, partial(_fetch, name, version, digest), needs_bytes=_NEEDS_BYTES)


def _fetch(name: str, version: str, digest: str, folder: Path) -> None:
    with TemporaryFolder() as archives:
        archive = _download(f"{name}@{version}", Path(archives))
        content = hashlib.sha512(read_bytes(archive)).digest()
        if digest != f"sha512-{base64.b64encode(content).decode()}":
            raise DataError(
                f"npm gave other bytes for {name} {version} than are locked: "
                "check which registry npm uses (npm config get registry)"
            )
        with tarfile.open(archive) as members:
            for path in FILES[name]:
                member = members.extractfile(f"package/{path}")
                kept = member.read() if member else b""
                target = folder / Path(path).name
                if target.suffix == ".js":
                    target, kept = target.with_suffix(".mjs"), kept + _AS_MODULE
                target.write_bytes(kept)


def _download(package: str, folder: Path) -> Path:
    # in a folder of its own: npm reads the package.json and .npmrc of the current one
    command = ["npm", "pack", package, "--ignore-scripts", "--logs-max=0"]
    patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
    try:
        output_of([*command, *patience], seconds=_SECONDS, folder=folder)
        return next(folder.glob("*.tgz"))
    except (ProgramError, StopIteration) as error:
        lines = [line.removeprefix("npm error").strip() for line in getattr(error, "stderr", ())]
        causes = (each for each in lines if each and each.split()[0] not in _DETAILS)
        reason = next(causes, str(error) or "npm made no archive")  # it ends with advice
        raise DataError(
            f"the npm package {package} cannot be fetched: {reason}; it needs npm (Debian: "
            "apt-get install npm) and, the first time, a network"
        ) from error
