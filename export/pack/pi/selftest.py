#!/usr/bin/env python3
"""Check the files of this pack, then the predictions of its artifact on this board.

Exit code 0 when all is well, 1 for a damaged file, 3 when the artifact fails here.
"""

import hashlib
import runpy
import sys
from pathlib import Path

folder = Path(__file__).resolve().parent
damaged = []
for line in (folder / "SHA256SUMS").read_text().splitlines():
    digest, name = line.split("  ", 1)
    path = folder / name
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        damaged.append(name)
if damaged:
    sys.exit(f"error: damaged or missing: {', '.join(damaged)}; copy the pack again")
print("all files are intact", flush=True)
artifact = next(each for each in folder.glob("[!.]*") if each.suffix in (".tflite", ".onnx"))
sys.argv[1:] = ["selftest", str(artifact)]
runpy.run_path(str(folder / "hemline-runtime.pyz"), run_name="__main__")
