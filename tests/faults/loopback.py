"""Run `hemline` with Fashion-MNIST replaced by a small data set that one mirror has.

Usage: loopback.py MIRROR FOLDER ARGUMENT...    (FOLDER: the four files, whose hashes are official)
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

from hemline.cli import main
from hemline.data.datasets import DATASETS

mirror, folder = sys.argv[1], Path(sys.argv[2])
real = DATASETS["fashion-mnist"]
DATASETS["fashion-mnist"] = dataclasses.replace(
    real,
    files=tuple(
        dataclasses.replace(
            file, sha256=hashlib.sha256((folder / file.name).read_bytes()).hexdigest()
        )
        for file in real.files
    ),
    system_folder=None,
    mirrors=(mirror,),
    debian_package=None,
)
sys.argv = ["hemline", *sys.argv[3:]]
main()
