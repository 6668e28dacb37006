"""Pretrained weights against training from scratch: what `hemline evaluate` says of checkpoints.

Usage: transfer.py CHECKPOINT…. A line for each in results/training/transfer.jsonl, which replaces
an earlier one with the same recipe and weights. The feature maps of the first checkpoint are kept
beside it. The checkpoints are made by, for example:

    hemline train mobilenetv2 --weights FILE --resize 224 --limit 6000
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measurement import ROOT

from hemline.contract.checkpoint import read_card
from hemline.files import parse_json
from hemline.provenance import commit, utc_now

RESULTS = ROOT / "results" / "training" / "transfer.jsonl"
_HEMLINE = [sys.executable, "-c", "from hemline.cli import main; main()"]


def line_of(folder: Path, pictures: Path) -> dict[str, Any]:
    """Return what a checkpoint is and how it does on the test images."""
    card = read_card(folder)
    command = [*_HEMLINE, "evaluate", folder.name, "--json", "--output", str(pictures)]
    where = folder.resolve().parent  # pictures name the folder as it is given
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=where)
    result = parse_json(done.stdout, where="hemline evaluate")["results"][0]
    training = card.trained
    validation = training.score("validation")
    return {
        "model": card.model.name,
        "pretrained": training.pretrained_sha256,
        "recipe": training.recipe,
        "recipe_fields": training.recipe_fields,
        "checkpoint_sha256": card.model.sha256,
        "epochs": len(training.history),
        "epoch_seconds": [epoch.seconds for epoch in training.history],
        "validation": [validation.correct, validation.images],
        "test": [result["correct"], result["images"]],
        "macro": result["macro"],
        "macs": card.model.macs,
        "host": card.model.host,
        "commit": commit(),
        "date": utc_now(),
    }


def main() -> None:
    """Evaluate the checkpoints and write their lines."""
    lines = []
    if RESULTS.exists():
        lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    for at, folder in enumerate(map(Path, sys.argv[1:])):
        with tempfile.TemporaryDirectory() as place:
            pictures = Path(place) / "report"
            line = line_of(folder, pictures)
            if at == 0:
                shutil.copy(pictures / "feature-maps.png", RESULTS.with_name("feature-maps.png"))
        same = (line["recipe_fields"], line["pretrained"])
        lines = [each for each in lines if (each["recipe_fields"], each["pretrained"]) != same]
        lines.append(line)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
