"""What is in a pack, as a CycloneDX 1.6 document; equal packs have equal documents.

Source: Ecma International, ECMA-424, CycloneDX bill of materials specification, 2024.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from hemline.contract.manifest import Verdict
from hemline.export.pack.packed import Component, Packed
from hemline.files import fingerprint
from hemline.statistics import wilson
from hemline.version import VERSION

FILE_NAME = "sbom.cdx.json"
_HEMLINE = {"type": "application", "name": "hemline", "version": VERSION}


def bill_of_materials(packed: Packed, components: tuple[Component, ...]) -> dict[str, Any]:
    """Return the document of a pack: the model with its card, and the software."""
    name = packed.name
    listed = [_model(packed), *map(_software, components)]
    document = {
        "metadata": {
            "timestamp": packed.manifest.created,
            "tools": {"components": [_HEMLINE]},
            "component": {"type": "application", "bom-ref": name, "name": name},
        },
        "components": listed,
        "dependencies": [{"ref": name, "dependsOn": [each["bom-ref"] for each in listed]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, fingerprint(document))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": serial.urn}
    return {**head, "version": 1, **document}


def _model(packed: Packed) -> dict[str, Any]:
    artifact, stamp = packed.artifact, packed.stamp
    shape = " × ".join(map(str, stamp.input.shape))
    return {
        "type": "machine-learning-model",
        "bom-ref": artifact.name,
        "name": artifact.name,
        "version": stamp.payload_sha256[:12],
        "description": f"{stamp.model}, {len(stamp.labels)} classes",
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "modelCard": {
            "modelParameters": {
                "task": "image classification",
                "modelArchitecture": stamp.model,
                "datasets": [{"type": "dataset", "name": packed.manifest.dataset}],
                "inputs": [{"format": f"{stamp.input.dtype} {shape}"}],
                "outputs": [{"format": f"{stamp.output.dtype} {stamp.output.size}"}],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [row for each in packed.passed for row in _metrics(each)]
            },
        },
    }


def _metrics(verdict: Verdict) -> Iterator[dict[str, Any]]:
    if (score := verdict.score("test")) is not None:
        low, high = wilson(score.correct, score.images)
        yield {
            "type": "accuracy",
            "value": f"{score.accuracy:.4f}",
            "slice": f"{score.images} test images in {verdict.runtime} {verdict.version}",
            "confidenceInterval": {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"},
        }


def _software(component: Component) -> dict[str, Any]:
    # a version may come in several files, for several Pythons
    reference = f"{component.name}@{component.version}{component.sha256[:12]:.>13}".rstrip(".")
    licence = (
        {"expression": component.licence}
        if component.spdx
        else {"license": {"name": component.licence}}
    )
    hashes = [{"alg": "SHA-256", "content": component.sha256}] if component.sha256 else []
    return {
        "type": component.kind,
        "bom-ref": reference,
        "name": component.name,
        "version": component.version,
        **({"hashes": hashes} if hashes else {}),
        **({"licenses": [licence]} if component.licence else {}),
        **({"purl": component.purl} if component.purl else {}),
    }
