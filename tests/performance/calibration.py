"""Every calibrator on 16 … 2,048 images: accuracy and agreement on validation, by simulation.

Usage: calibration.py [CHECKPOINT…]. Writes results/quantization/calibration-MODEL.json and .png.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from hemline import files
from hemline.data.fetch import load_images
from hemline.export.calibration_report import NAME, write_comparison
from hemline.export.quantization.calibration import SEED
from hemline.export.quantization.calibrators.comparison import comparison_table
from hemline.tables import as_text
from hemline.train.checkpoint import ZOO

_RESULTS = Path(__file__).resolve().parents[2] / "results" / "quantization"


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[ZOO / "hem-50k"])
    images = load_images("fashion-mnist")
    _RESULTS.mkdir(exist_ok=True)
    for checkpoint in parser.parse_args().checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            found = write_comparison(checkpoint, Path(folder), images, seed=SEED, say=print)
            for ending in ("json", "png"):
                content = (Path(folder) / f"{NAME}.{ending}").read_bytes()
                files.write_bytes(_RESULTS / f"{NAME}-{found.model}.{ending}", content)
        print(f"\n{found.model}\n{as_text(comparison_table(found))}\n")


if __name__ == "__main__":
    main()
