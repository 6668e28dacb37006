"""Components with their licences, out of the metadata of Python packages and wheels."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from hemline.errors import HemlineError
from hemline.export.pack.packed import Component
from hemline.files import sha256_of

_LICENCE_FILE = re.compile(r"(^|/)(licen[cs]e|notice|copying|third-?party)[^/]*$", re.IGNORECASE)
_LONGEST_NAME = 60  # of a licence; some packages have its whole text there


def wheel_component(wheel: Path) -> Component:
    """Return what a wheel file is; raises HemlineError when it has no metadata."""
    found = next(iter(distributions(path=[str(wheel)])), None)
    if found is None:
        raise HemlineError(f"{wheel} is damaged: remove {wheel.parent}, then try again")
    return _component(found, sha256_of(wheel))


def installed_component(package: str, version: str | None = None) -> Component:
    """Return an installed package; of another version than this one, only its name is known."""
    try:
        found = _component(distribution(package), "")
    except PackageNotFoundError:
        found = None
    if found is not None and version in (None, found.version):
        return found
    purl = f"pkg:pypi/{package}@{version}"
    return Component(name=package, version=str(version), purl=purl)


def _component(package: Distribution, sha256: str) -> Component:
    facts, name = package.metadata, package.metadata["Name"].lower().replace("_", "-")
    spdx = "License-Expression" in facts
    return Component(
        name=name,
        version=package.version,
        licence=facts["License-Expression"] if spdx else _in_words(package),
        spdx=spdx,
        purl=f"pkg:pypi/{name}@{package.version}",
        sha256=sha256,
        texts=_texts(package),
    )


def _in_words(package: Distribution) -> str:
    """Return the licence of a package from before there were SPDX expressions in metadata."""
    classifiers = package.metadata.get_all("Classifier") or []
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    texts = package.metadata.get_all("License") or [""]
    return " and ".join(named) or texts[0].partition("\n")[0][:_LONGEST_NAME]


def _texts(package: Distribution) -> dict[str, bytes]:
    files = {str(each): each for each in package.files or () if _LICENCE_FILE.search(str(each))}
    return {
        re.sub(r"^[^/]+\.dist-info/(licenses/)?", "", name): each.read_binary()
        for name, each in sorted(files.items())
    }
