"""SwiftShader, a program that speaks Vulkan in place of a GPU, out of a Debian package, cached.

It shows whether an artifact passes on the way through a GPU's interfaces; its wall times say
nothing of any GPU.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hemline.debian_packages import unpack_packages
from hemline.errors import DataError, HemlineError
from hemline.folders import TemporaryFolder, made
from hemline.user_folders import cache_folder

# Of all Debian packages with a software Vulkan the one to download least: Mesa's needs LLVM.
_PACKAGE = "chromium-common"
_DESCRIPTION = "vk_swiftshader_icd.json"
_FILES = ("libvulkan.so.1", "libvk_swiftshader.so", _DESCRIPTION)
_NEEDS_BYTES = 110 << 20  # 32 MB packed and 68 MB unpacked, of which 6 MB are kept
_VERSION = "1"  # of what is kept


def software_gpu() -> tuple[str, ...]:
    """Return the variables of an environment with SwiftShader as its only GPU, as NAME=value.

    On first use 32 MB are downloaded. Raises HemlineError with what to do when it cannot be had.
    """
    path = cache_folder() / "gpu" / f"swiftshader-{_VERSION}"
    folder = made(path, _make, needs_bytes=_NEEDS_BYTES, what="SwiftShader (32 MB)")
    description = folder / _DESCRIPTION
    # the second name is that of older Vulkan libraries
    drivers = (f"{name}={description}" for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"))
    return (f"LD_LIBRARY_PATH={folder}", *drivers)


def _make(folder: Path) -> None:
    with TemporaryFolder() as name:
        try:
            unpack_packages([_PACKAGE], Path(name), dependencies=False)
        except DataError as error:
            raise HemlineError(
                f"the software GPU needs Debian's package {_PACKAGE}, which failed: {error}; it "
                "needs Debian with reachable package sources, and no root rights"
            ) from error
        for file in _FILES:
            found = next(Path(name).rglob(file), None)
            if found is None:
                raise HemlineError(
                    f"Debian's package {_PACKAGE} has no {file} here: use the device gpu with a "
                    "Vulkan driver of your own"
                )
            shutil.copyfile(found, folder / file)
