"""What is in a pack, as a CycloneDX 1.6 document; equal packs have equal documents.

Source: Ecma International, ECMA-424, CycloneDX bill of materials specification, 2024.
"""

from __future__ import annotations

import re
import uuid
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from hemline.data.datasets import Dataset
from hemline.export.pack.packed import Component, Packed
from hemline.files import fingerprint, sha256_of
from hemline.npm_packages import locked
from hemline.statistics import wilson
from hemline.version import VERSION

_LICENCE_FILE = re.compile(r"(^|/)(licen[cs]e|notice|copying|third-?party)[^/]*$", re.IGNORECASE)
_METADATA_FOLDER = re.compile(r"^[^/]+\.dist-info/(licenses/)?")
# of packages from before there were SPDX expressions in metadata
_SPDX = {"Apache Software License": "Apache-2.0", "MIT License": "MIT"}


def bill_of_materials(packed: Packed, components: tuple[Component, ...]) -> dict[str, Any]:
    """Return the document of a pack: the model with its accuracy, and the software."""
    name, listed = packed.name, [_model(packed), *map(_software, components)]
    hemline = {"type": "application", "name": "hemline", "version": VERSION}
    document = {
        "metadata": {
            "timestamp": packed.manifest.created,
            "tools": {"components": [hemline]},
            "component": {"type": "application", "bom-ref": name, "name": name},
        },
        "components": listed,
        "dependencies": [{"ref": name, "dependsOn": [each["bom-ref"] for each in listed]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, fingerprint(document)).urn
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": serial, "version": 1}
    return {**head, **document}


def _model(packed: Packed) -> dict[str, Any]:
    artifact = packed.artifact
    tested = [(v, score) for v in packed.passed if (score := v.score("test")) is not None]
    accuracies = [
        {
            "type": "accuracy",
            "value": f"{score.accuracy:.4f}",
            "slice": f"{score.images} test images in {verdict.runtime} {verdict.version}",
            "confidenceInterval": {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"},
        }
        for verdict, score in tested
        for low, high in [wilson(score.correct, score.images)]
    ]
    parameters = {
        "task": "image classification",
        "modelArchitecture": packed.stamp.model,
        "datasets": [{"type": "dataset", "name": packed.manifest.dataset}],
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": artifact.name,
        "name": artifact.name,
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "modelCard": {
            "modelParameters": parameters,
            "quantitativeAnalysis": {"performanceMetrics": accuracies},
        },
    }


def _software(component: Component) -> dict[str, Any]:
    known = {
        "version": component.version,
        "hashes": component.sha256 and [{"alg": "SHA-256", "content": component.sha256}],
        "licenses": component.licence and [{"expression": component.licence}],
        "purl": component.purl,
    }
    return {
        "type": component.kind,
        # one version may come in several files, for several Pythons
        "bom-ref": f"{component.name}@{component.version}/{component.sha256[:12]}".rstrip("/@"),
        "name": component.name,
        **{key: value for key, value in known.items() if value},
    }


def wheel_component(wheel: Path) -> Component:
    """Return what a wheel file is."""
    return _component(next(iter(distributions(path=[str(wheel)]))), sha256_of(wheel))


def installed_component(package: str, version: str) -> Component:
    """Return a version of a package, with its licence where just that is installed here."""
    for found in distributions(name=package):
        if found.version == version:
            return _component(found, "")
    return Component(name=package, version=version, purl=f"pkg:pypi/{package}@{version}")


def npm_component(name: str, licence: str, wheel: str) -> Component:
    """Return a locked npm package; `wheel` is a Python package with the licence's text."""
    version, purl_name = locked()[name][0], name.replace("@", "%40")
    texts = next(map(_texts, distributions(name=wheel)), {})
    purl = f"pkg:npm/{purl_name}@{version}"
    return Component(name=name, version=version, licence=licence, purl=purl, texts=texts)


def images_component(dataset: Dataset) -> Component:
    """Return the images of a published data set that vectors and self-tests have."""
    text = f"{dataset.title}, {dataset.licence}\n{dataset.copyright}\n".encode()
    if dataset.licence == "MIT":  # the licence of Hemline, whose text is the same for everybody
        own = installed_component("hemline", VERSION).texts.get("LICENSE", text)
        text = re.sub(rb"Copyright .*", dataset.copyright.encode(), own)
    return Component(
        name=dataset.name,
        version="",
        licence=dataset.licence,
        texts={"LICENSE": text},
        kind="data",
    )


def _component(package: Distribution, sha256: str) -> Component:
    name, facts = package.metadata["Name"].lower().replace("_", "-"), package.metadata
    named = [each.rpartition(" :: ")[2] for each in facts.get_all("Classifier") or ()]
    stated = [*(facts.get_all("License-Expression") or ()), *filter(None, map(_SPDX.get, named))]
    licence, texts = next(iter(stated), ""), _texts(package)
    if not texts and licence == "Apache-2.0":  # whose text is the same for everybody
        texts = next(map(_texts, distributions(name="ai-edge-litert")), {})
    return Component(
        name=name,
        version=package.version,
        licence=licence,
        purl=f"pkg:pypi/{name}@{package.version}",
        sha256=sha256,
        texts=texts,
    )


def _texts(package: Distribution) -> dict[str, bytes]:
    found = [each for each in package.files or () if _LICENCE_FILE.search(str(each))]
    return {_METADATA_FOLDER.sub("", str(each)): each.read_binary() for each in found}
