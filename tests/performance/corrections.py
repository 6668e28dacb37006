"""Equalization and bias correction: what they bring, by simulation on validation.

Usage: corrections.py [CHECKPOINT…]. Writes results/quantization/corrections.jsonl.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.contract.checkpoint import read_card
from hemline.data.datasets import Images
from hemline.data.fetch import load_images
from hemline.export.quantization.calibration import calibration_images
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.quantization.post_training import post_training
from hemline.export.quantization.simulation import fidelity, float_logits, logits
from hemline.export.sources.table import open_source
from hemline.export.trained_data import split_of
from hemline.silence import silenced
from hemline.train.checkpoint import ZOO

_RESULT = Path(__file__).resolve().parents[2] / "results" / "quantization" / "corrections.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """What a correction makes of a model.

    decibels: signal to noise of the logits.
    agreement: share of validation images with the label of the float model, 0 … 1.
    """

    model: str
    equalization: bool
    bias_correction: bool
    decibels: float
    drop_points: float
    agreement: float
    images: int


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[ZOO / "hem-50k"])
    images = load_images("fashion-mnist")
    lines = []
    for checkpoint in parser.parse_args().checkpoints:
        for found in measured(checkpoint, images):
            print(found, flush=True)
            lines.append(json.dumps(asdict(found)))
    files.write_bytes(_RESULT, "".join(f"{line}\n" for line in lines).encode())


def measured(checkpoint: Path, images: Images) -> list[Corrected]:
    """Return a result for each combination of the two."""
    card = read_card(checkpoint)
    split = split_of(card, images)
    held_out = list(split.validation_indices)
    pixels, labels = images.train_images[held_out], images.train_labels[held_out]
    calibration = calibration_images(images, split, count=None)
    with open_source(card.model.source, checkpoint / card.model.file) as source, silenced():
        graph = source.float_graph
    reference = float_logits(graph, pixels)
    results = []
    for equalization in (False, True):
        for correction in (False, True):
            options = PostTrainingOptions(equalization=equalization, bias_correction=correction)
            found = logits(post_training(graph, calibration, options), pixels)
            judged = fidelity(found, reference, labels)
            results.append(
                Corrected(
                    model=card.model.name,
                    equalization=equalization,
                    bias_correction=correction,
                    decibels=_decibels(found, reference),
                    drop_points=judged.drop_points,
                    agreement=judged.agreement,
                    images=judged.images,
                )
            )
    return results


def _decibels(found: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> float:
    noise = np.square(found - reference).mean()
    return float(10 * np.log10(np.square(reference).mean() / noise))


if __name__ == "__main__":
    main()
