"""Run the test images inside an artifact and compare the answers with the trained model's.

Of a bundle, every artifact that supports a runtime here is tested. Exit code 3 when one is wrong,
1 when none could be tested.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from hemline.contract.stamp import read_stamped
from hemline.errors import BackendError, GateError, UnsupportedRuntimeError
from hemline.runtime.backends import version_of
from hemline.runtime.choosing import pick_backend
from hemline.runtime.classifier import Classifier
from hemline.runtime.classifying import add_runtime
from hemline.runtime.decoder import largest_difference
from hemline.silence import silenced


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="a file, or a bundle")
    add_runtime(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document a line")


def run(options: argparse.Namespace) -> int:
    """Test one artifact or all of a bundle; raises GateError when one is wrong."""
    wrong, tested, reason = [], False, "it holds none"
    for path in _artifacts(options.artifact):
        try:
            with silenced():
                file = read_stamped(path)
                backend = pick_backend(file.stamp, options.runtime)
        except (UnsupportedRuntimeError, BackendError) as error:
            if path == options.artifact:
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
            wrong.append(f"{result['artifact']} in {result['runtime']} {result['version']}")
    if wrong:
        raise GateError(
            f"not what the trained model answers: {', '.join(wrong)}; do not use it there"
        )
    if not tested:
        raise BackendError(f"no artifact of {options.artifact} could be tested here: {reason}")
    return 0


def check(classifier: Classifier) -> dict[str, Any]:
    """Run the stamped vectors; return what was seen as a JSON object."""
    stamp = classifier.stamp
    differences, agree = [], 0
    for vector in stamp.test_vectors:
        expected = np.asarray(vector.logits, np.float32)
        found = classifier.classify(vector.image(stamp.input.shape)).logits
        differences.append(largest_difference(stamp.output, found, expected))
        agree += int(found.argmax() == expected.argmax())
    largest = max(differences, default=0.0)
    return {
        "artifact": stamp.name,
        "runtime": classifier.backend.name,
        "version": version_of(classifier.backend),
        "vectors": len(differences),
        "labels_agree": agree,
        # JSON has no NaN: what is not finite is out of every tolerance
        "largest_difference": largest if np.isfinite(largest) else None,
        "compared": stamp.output.gives,
        "tolerance": stamp.tolerance,
        "passed": bool(differences) and bool(largest <= stamp.tolerance),
    }


def _line(result: dict[str, Any]) -> str:
    where = f"{result['artifact']} in {result['runtime']} {result['version']}"
    if not result["vectors"]:
        return f"{where}: FAILED, it has no test images inside"
    largest = result["largest_difference"]
    difference = "not finite" if largest is None else f"within {largest:.3g}"
    return (
        f"{where}: {'passed' if result['passed'] else 'FAILED'}, "
        f"{result['labels_agree']} of {result['vectors']} labels agree, "
        f"{result['compared']} {difference} (tolerance {result['tolerance']:.3g})"
    )


def _artifacts(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    from hemline.contract.manifest import read_manifest

    return [path / artifact.name for artifact in read_manifest(path).artifacts]
