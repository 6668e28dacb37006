r"""How well files tell strangers from images: by score and by distance, and in which form.

python tests/performance/unknown.py OUTPUT TITLE BUNDLE CHECKPOINT [DATA] --strangers NAME …

results/unknown.jsonl was written by these (cifar-10.npz: x and y of 2,000 images):

hemline export hem-50k --unknown distance -o artifacts/fashion-mnist
python tests/performance/unknown.py results/unknown.jsonl Fashion-MNIST artifacts/fashion-mnist \
    train/zoo/hem-50k --strangers digits textures noise cifar-10.npz
hemline train --data cifar-10.npz -o checkpoints/cifar
hemline export checkpoints/cifar --data cifar-10.npz --unknown distance -o artifacts/cifar
python tests/performance/unknown.py results/unknown.jsonl CIFAR-10 artifacts/cifar \
    checkpoints/cifar cifar-10.npz --strangers digits textures noise fashion-mnist
and the last three with `train mobilenetv2 --weights FILE --image-size 96` and, for its export,
`--scheme fp32.tflite --scheme dynamic.tflite`.

The bundle was exported with --unknown distance. Appends one line of JSON for each file, set of
strangers and method, on test images and the second half of each set; and for each form of the
distance, on validation images and the first half, where such choices are made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract.checkpoint import read_card
from hemline.contract.manifest import read_manifest
from hemline.contract.schema import to_document
from hemline.data.fetch import FetchOptions
from hemline.data.strangers import load_strangers
from hemline.export.trained_data import split_of, trained_images
from hemline.export.unknown import fitting
from hemline.provenance import commit, utc_now
from hemline.runtime import Classifier
from hemline.runtime.unknown import Distances
from hemline.statistics import accepted_strangers, auroc

_RANKS = (8, 16, 32, 64, 100_000)


def of_files(bundle: Path, strangers: list[str]) -> Iterator[dict[str, Any]]:
    for artifact in read_manifest(bundle).artifacts:
        words = ["-q", "evaluate", str(bundle / artifact.name), "--json"]
        words += [word for name in strangers for word in ("--strangers", name)]
        (result,) = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)[
            "results"
        ]
        known = {key: result[key] for key in ("images", "accuracy")}
        runtime = f"{result['origin']['runtime']} {result['origin']['runtime_version']}"
        for each in result["separations"]:
            yield {
                "artifact": artifact.name,
                "runtime": runtime,
                "size_bytes": artifact.size_bytes,
                "accuracy": known["accuracy"],
                "known": known["images"],
                **each,
                "strangers": Path(each["strangers"]).stem,
            }


def of_forms(
    bundle: Path, checkpoint: Path, data: Path | None, strangers: list[str]
) -> Iterator[dict[str, Any]]:
    card = read_card(checkpoint)
    images = trained_images(card, FetchOptions(folder=data), checkpoint=checkpoint)
    training, labels = fitting.training_images(images, split_of(card, images))
    validation = np.load(bundle / "evaluation" / "validation-images.npy")
    names = [name for name in ("fp32.tflite", "int8.tflite") if (bundle / name).exists()]
    files = {name: Classifier.load(bundle / name) for name in names}
    own = {name: each.embed(training) for name, each in files.items()}
    for name, classifier in files.items():
        spec = classifier.stamp.input
        sets = [load_strangers(each, spec, card.model.preprocessing) for each in strangers]
        known, far = classifier.embed(validation), [classifier.embed(x.first) for x in sets]
        for rank in _RANKS:
            for source, embeddings in own.items():
                if (source != name and rank != 32) or rank > 64 > embeddings.shape[1]:
                    continue  # the same as with 64
                fitting.DIRECTIONS_BYTES, fitting.LEAST_DIRECTIONS = 0, rank
                distance = fitting.fit_distance(embeddings, labels, len(card.model.labels))
                embedding = classifier.stamp.embedding
                assert embedding is not None
                measure = Distances(distance, embedding)
                stamp_bytes = len(json.dumps(to_document(distance), separators=(",", ":")))
                for each, values in zip(sets, far, strict=True):
                    yield {
                        "artifact": name,
                        "fitted_on": source,
                        "values": embedding.size,
                        "directions": len(distance.variances),
                        "stamp_bytes": stamp_bytes,
                        "strangers": Path(each.name).stem,
                        "auroc": auroc(measure(known), measure(values)),
                        "false_positive_rate": accepted_strangers(measure(known), measure(values)),
                    }


def main(words: list[str]) -> None:
    at = words.index("--strangers")
    output, title, bundle, checkpoint, *data = words[:at]
    strangers = words[at + 1 :]
    conditions = {"dataset": title, "commit": commit(), "date": utc_now()}
    model = read_card(Path(checkpoint)).model.name
    with Path(output).open("a") as lines:
        for row in of_files(Path(bundle), strangers):
            lines.write(json.dumps({**conditions, "model": model, "kind": "file", **row}) + "\n")
        folder = Path(data[0]) if data else None
        for row in of_forms(Path(bundle), Path(checkpoint), folder, strangers):
            lines.write(json.dumps({**conditions, "model": model, "kind": "form", **row}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
