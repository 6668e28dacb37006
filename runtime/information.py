"""Show this machine and the runtimes on it; or what an artifact says of itself, hash checked."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np

from hemline.contract.class_distance import ClassDistance
from hemline.contract.schema import to_document
from hemline.contract.specs import InputSpec
from hemline.contract.stamp import Stamp, read_stamped
from hemline.host import host_facts
from hemline.runtime.backends import BACKENDS
from hemline.runtime.bundle_choice import pick_artifact
from hemline.runtime.discovery import discover


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "artifact", metavar="ARTIFACT", type=Path, nargs="?", help="a file, or a bundle"
    )
    parser.add_argument("--json", action="store_true", help="everything, as one JSON document")


def run(options: argparse.Namespace) -> int:
    """Print what there is to know."""
    path: Path | None = options.artifact
    if path is not None and path.is_dir():
        path, _ = pick_artifact(path, None)
    if path is None:
        print(machine_text(as_json=options.json))
        return 0
    stamp = read_stamped(path).stamp
    if options.json:
        print(json.dumps(to_document(stamp), indent=1))
    else:
        print(rows_text(artifact_rows(stamp, path)))
    return 0


def machine_text(*, as_json: bool) -> str:
    """Return what there is to know of this machine and its runtimes."""
    return _machine_json() if as_json else rows_text(_machine())


def rows_text(rows: dict[str, str]) -> str:
    """Return a line for each title and its text."""
    width = max(14, *map(len, rows))
    return "\n".join(f"{title:<{width}} {text}" for title, text in rows.items())


def _machine() -> dict[str, str]:
    host = host_facts()
    known = {
        "processor": f"{host.processor}, {host.cores} cores, {host.machine}",
        "memory": None if host.memory_bytes is None else f"{host.memory_bytes / 1e9:.1f} GB",
        "system": host.system,
        "governor": host.governor,
        "frequency": None if host.frequency_khz is None else f"{host.frequency_khz / 1000:.0f} MHz",
        "temperature": None
        if host.temperature_millicelsius is None
        else f"{host.temperature_millicelsius / 1000:.1f} °C",
        "throttled": None if host.throttled is None else "yes" if host.throttled else "no",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    rows = {title: text for title, text in known.items() if text is not None}
    return rows | _runtimes()


def _machine_json() -> str:
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    document = {"host": to_document(host_facts()), "versions": versions, "runtimes": _runtimes()}
    return json.dumps(document, indent=1)


def _runtimes() -> dict[str, str]:
    """Return the version of each runtime, or why it cannot be used here."""
    found = {
        each.name: each.version if each.problem is None else f"broken: {each.problem}"
        for each in discover(in_process=True)
    }
    rows = [row for row in BACKENDS.values() if not row.development_only]
    return {row.name: found.get(row.name, "not installed") for row in rows}


def artifact_rows(stamp: Stamp, path: Path) -> dict[str, str]:
    """Return what an artifact says of itself, by title."""
    spec, unknown = stamp.input, unknown_rule(stamp.unknown_threshold, stamp.distance)
    rows = {
        "name": f"{stamp.name} ({path.stat().st_size / 1000:.1f} kB), model {stamp.model}",
        "input": f"{spec.dtype} {' × '.join(map(str, spec.shape))}, scale {spec.scale:g}, "
        f"zero point {spec.zero_point}{_pixels(spec)}",
        "output": f"{stamp.output.dtype} {stamp.output.gives} of {stamp.output.size} classes",
        "labels": ", ".join(stamp.labels),
        "supported runtimes": ", ".join(
            f"{each.runtime} >= {each.minimum}" for each in stamp.supported_runtimes
        ),
        **image_rows(stamp.preprocessing, unknown, stamp.temperature),
        "checkpoint": stamp.parent_sha256,
        "model hash": f"{stamp.payload_sha256} (checked)",
    }
    if not stamp.takes_batches:
        rows["batches"] = "none: it accepts one image at a time"
    others = [spec for spec in stamp.outputs if spec != stamp.output]
    return rows | {spec.name: f"{spec.dtype} of {spec.size} values" for spec in others}


def image_rows(preprocessing: str, unknown: str, temperature: float) -> dict[str, str]:
    """Return how images of other sizes are converted, and which get the label unknown."""
    return {
        "other image sizes": "an error" if preprocessing == "none" else f"as {preprocessing}",
        "unknown": f"{unknown} (scores are softmax(logits / {temperature:g}))",
    }


def unknown_rule(threshold: float, distance: ClassDistance | None = None) -> str:
    """Return which images get the label unknown."""
    if distance is not None:
        return f"a distance of more than {distance.threshold:.3f} to the nearest class"
    return f"a score of at most {threshold:.3f}" if threshold > 0 else "never"


def _pixels(spec: InputSpec) -> str:
    """Return what pixels become, where that is not what they are."""
    low, high = spec.range
    order = ", blue first" if spec.bgr else ""
    return order if (low, high) == (0, 255) else f", pixel range {low:.4g} … {high:.4g}{order}"
