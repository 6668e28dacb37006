"""Run the test images inside an artifact and compare its predictions with the trained model's.

Of a bundle, every artifact that supports a runtime here is tested. Exit code 3 when one fails,
1 when none could be tested.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from hemline.contract.parity import check_vectors
from hemline.contract.stamp import read_stamped
from hemline.errors import BackendError, GateError, UnsupportedRuntimeError
from hemline.runtime.backends import version_of
from hemline.runtime.classification import add_runtime, named_or_only
from hemline.runtime.classifier import Classifier
from hemline.runtime.discovery import pick_backend
from hemline.silence import silenced


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_runtime(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document a line")


def run(options: argparse.Namespace) -> int:
    """Test one artifact or all of a bundle; raises GateError when one fails."""
    failed, tested, reason = [], False, "it has none"
    artifact = named_or_only(options)
    for path in _artifacts(artifact):
        try:
            with silenced():
                file = read_stamped(path)
                backend = pick_backend(file.stamp, options.runtime)
        except (UnsupportedRuntimeError, BackendError) as error:
            if path == artifact:
                raise
            reason = str(error)
            print(json.dumps({"artifact": path.name, "skipped": str(error)}) if options.json
                  else f"{path.name}: skipped ({error})")  # fmt: skip
            continue
        with silenced():
            opened = Classifier(file, backend, threads=options.threads)
        with opened as classifier:
            result = check(classifier)
        tested = True
        print(json.dumps(result) if options.json else _line(result))
        if not result["passed"]:
            failed.append(f"{result['artifact']} in {result['runtime']} {result['version']}")
    if failed:
        raise GateError(f"self-test failed: {', '.join(failed)}; do not use it there")
    if not tested:
        raise BackendError(f"no artifact of {artifact} could be tested here: {reason}")
    return 0


def check(classifier: Classifier) -> dict[str, Any]:
    """Run the stamped vectors; return the result as a JSON object."""
    stamp = classifier.stamp
    images = [vector.image(stamp.input.shape) for vector in stamp.test_vectors]
    found = np.asarray([classifier.classify(image).logits for image in images], np.float32)
    parity = check_vectors(found, stamp)
    return {
        "artifact": stamp.name,
        "runtime": classifier.backend.name,
        "version": version_of(classifier.backend),
        "vectors": len(images),
        "labels_agree": parity.agreement,
        "largest_difference": parity.largest_difference,
        "compared": stamp.output.gives,
        "tolerance": stamp.tolerance,
        "passed": parity.passed,
        "reason": parity.reason,
    }


def _line(result: dict[str, Any]) -> str:
    where = f"{result['artifact']} in {result['runtime']} {result['version']}"
    if not result["vectors"]:
        return f"{where}: FAILED, it contains no test images"
    if not result["passed"]:
        return f"{where}: FAILED, {result['reason']}"
    return (
        f"{where}: passed, {result['labels_agree']} of {result['vectors']} labels agree, "
        f"{result['compared']} within {result['largest_difference']:.3g} "
        f"(tolerance {result['tolerance']:.3g})"
    )


def _artifacts(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    from hemline.contract.manifest import read_manifest

    return [path / artifact.name for artifact in read_manifest(path).artifacts]
