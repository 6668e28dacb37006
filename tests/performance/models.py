"""Train every preset, export it in every scheme, and write what came of it to results/models.jsonl.

Hours of work: finished checkpoints in checkpoints/MODEL-SEED are taken as they are, and an
interrupted training goes on. Models are named as arguments; without any, all that need no
pretrained weights are taken. Not measured here: latency, which wants a quiet machine.
"""

from __future__ import annotations

import json
import subprocess
import sys

from measurement import ROOT

from hemline.contract.card import Card
from hemline.contract.checkpoint import is_checkpoint, read_card
from hemline.contract.manifest import Manifest, read_manifest
from hemline.provenance import commit, utc_now

RESULTS = ROOT / "results" / "models.jsonl"
_SEEDS = {"hem-50k": 3, "mlp": 3, "cnn": 1, "deep-cnn": 3, "mobilenetv2": 1}
_OPTIONS = {"mobilenetv2": ["--weights", "random"]}
_HEMLINE = [sys.executable, "-c", "from hemline.cli import main; main()"]


def trained(model: str, seed: int) -> Card:
    """Return the card of a checkpoint, which is trained when it is not there."""
    folder = ROOT / "checkpoints" / f"{model}-{seed}"
    if not is_checkpoint(folder):
        options = [*_OPTIONS.get(model, []), "--seed", str(seed), "-o", str(folder)]
        subprocess.run([*_HEMLINE, "train", model, *options], check=True)
    return read_card(folder)


def exported(model: str) -> Manifest:
    """Return the manifest of the first seed's bundle, exported and verified."""
    checkpoint, bundle = ROOT / "checkpoints" / f"{model}-1", ROOT / "artifacts" / f"{model}-1"
    options = ["--checkpoint", str(checkpoint), "-o", str(bundle)]
    subprocess.run([*_HEMLINE, "export", *options], check=True)
    subprocess.run([*_HEMLINE, "verify", str(bundle)], check=True)
    return read_manifest(bundle)


def line_of(cards: list[Card], manifest: Manifest) -> dict[str, object]:
    """Return what is kept of a model."""
    model, training = cards[0].model, cards[0].trained
    return {
        "model": model.name,
        "parameters": model.parameters,
        "macs": model.macs,
        "dataset": training.dataset,
        "recipe": training.recipe,
        "recipe_fields": training.recipe_fields,
        "runs": [
            {
                "seed": card.trained.seed,
                "epochs": len(card.trained.history),
                "kept_epoch": card.trained.kept_epoch,
                "seconds": card.trained.seconds,
                "precision": card.trained.precision,
                **{score.split: [score.correct, score.images] for score in card.trained.scores},
                "checkpoint_sha256": card.model.sha256,
            }
            for card in cards
        ],
        "artifacts": [
            {
                "name": artifact.name,
                "size_bytes": artifact.size_bytes,
                "verdicts": [
                    {
                        "runtime": verdict.runtime,
                        "version": verdict.version,
                        "status": verdict.status,
                        **{score.split: [score.correct, score.images] for score in verdict.scores},
                    }
                    for verdict in artifact.verdicts
                ],
            }
            for artifact in manifest.artifacts
        ],
        "versions": model.versions,
        "host": model.host,
        "commit": commit(),
        "date": utc_now(),
    }


def main() -> None:
    """Do the work and replace the lines of these models."""
    wanted = sys.argv[1:] or list(_SEEDS)
    lines = []
    if RESULTS.exists():
        lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    for model in wanted:
        cards = [trained(model, seed + 1) for seed in range(_SEEDS.get(model, 1))]
        lines = [line for line in lines if line["model"] != model]
        lines.append(line_of(cards, exported(model)))
        lines.sort(key=lambda line: int(line["parameters"]))
        RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
