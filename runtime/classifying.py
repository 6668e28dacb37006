"""Classify images with an artifact: label, score and the best classes of each.

ARTIFACT is a file, or the folder of a bundle: then the recommended one is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from hemline.errors import HemlineError
from hemline.runtime.classifier import Classifier
from hemline.runtime.decoder import Prediction
from hemline.silence import silenced


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="a file, or a bundle")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    add_runtime(parser)
    parser.add_argument("--top", type=positive, default=3, metavar="N", help="classes shown (3)")
    parser.add_argument("--json", action="store_true", help="one JSON document a line")


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add what tells how to open an artifact."""
    parser.add_argument(
        "--runtime", help="litert, tflite-runtime or onnxruntime (default: the first one here)"
    )
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="threads to use (1)"
    )


def positive(text: str) -> int:
    """Return a number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Classify each image; one that cannot be read does not keep the others from it."""
    with silenced():
        opened = Classifier.load(options.artifact, threads=options.threads, runtime=options.runtime)
    code = 0
    with opened as classifier:
        for image in options.images:
            try:
                prediction = classifier.classify(image)
            except HemlineError as error:
                code = code or error.exit_code
                print(f"error: {error}", file=sys.stderr)
                continue
            print(answer(str(image), prediction, options.top, as_json=options.json))
    return code


def answer(image: str, prediction: Prediction, top: int, *, as_json: bool) -> str:
    """Return one line for one image."""
    best = prediction.top(top)
    if as_json:
        return json.dumps(
            {
                "image": image,
                "label": prediction.label,
                "index": prediction.index,
                "score": round(prediction.score, 6),
                "top": [{"label": label, "score": round(score, 6)} for label, score in best],
            }
        )
    others = ", ".join(f"{label} {100 * score:.1f} %" for label, score in best)
    return (
        f"{image}: {prediction.label} {100 * prediction.score:.1f} %  (top {len(best)}: {others})"
    )
