"""Draw the report of a bundle in a browser, light and dark, for the pages of docs/.

Writes results/bench/report-light.png and report-dark.png, and prints how long the report took to
write and how large it is.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measurement import BUNDLE, ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "tests" / "devices"))
from browser import opened_browser, opened_page

FOLDER = ROOT / "results" / "bench"
MOST_BYTES = 300_000


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="*", default=[BUNDLE])
    parser.add_argument("--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, opened_browser() as browser:
        report = Path(folder) / "report.html"
        hemline = Path(sys.executable).with_name("hemline")
        began = time.perf_counter()
        subprocess.run([hemline, "-q", "report", *options.bundles, "-o", report], check=True)
        seconds = time.perf_counter() - began
        print(f"report: {seconds:.1f} s, {report.stat().st_size / 1e6:.2f} MB")
        for scheme in ("light", "dark"):
            page = opened_page(browser, report, width=1100, color_scheme=scheme)
            picture = page.screenshot(full_page=True)
            image = Image.open(io.BytesIO(picture)).convert("RGB")
            end = page.get_by_role("heading", name="Operators").bounding_box()["y"]
            image = image.crop((0, 0, image.width, int(end) - 30))
            path = options.output / f"report-{scheme}.png"
            # an octree keeps the few colours of the plots, which the median cut mixes
            image.quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)
            size = path.stat().st_size
            print(f"{path}: {size / 1e3:.0f} kB")
            if size > MOST_BYTES:
                sys.exit(f"{path} has more than {MOST_BYTES / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
