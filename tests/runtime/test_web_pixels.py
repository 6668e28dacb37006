"""The pixels that web pages give a model are those of Python; run in node, without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hemline.contract.specs import InputSpec, Preprocessing
from hemline.pictures.images import read_picture
from hemline.pictures.pixels import Pixels
from hemline.pictures.preprocessing import model_pixels

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
MODULE = Path(__file__).resolve().parents[2] / "runtime" / "web" / "pixels.js"
SIZES = [(28, 28), (1, 1), (17, 23), (5, 300), (60, 80), (150, 101), (240, 320)]
SPECS = [(28, 28, 1), (28, 28, 3), (48, 32, 3)]
# The two sum float32 products in another order, some 1e-5 apart, so one pixel in 100,000 lies on
# either side of a half; pictures of noise have no pixels that lie on a half by themselves.
MOST_UNEQUAL = 1e-4
PREPARE = """
import fs from 'node:fs';
const { prepare, kept } = await import(process.argv[1]);
const cases = JSON.parse(fs.readFileSync(0));
const bytes = (each) => Uint8Array.from(Buffer.from(each.pixels, 'hex'));
const answers = cases.map((each) => {
  try {
    const { width, height, keep } = each;
    const found = keep ? kept(bytes(each), width, height, keep).pixels
      : prepare(bytes(each), width, height, each.stamp);
    return Buffer.from(found).toString('hex');
  } catch (error) {
    return `error: ${error.message}`;
  }
});
console.log(JSON.stringify(answers));
"""


def in_node(cases: list[dict[str, Any]]) -> list[str]:
    command = ["node", "--input-type=module", "--eval", PREPARE, MODULE.as_uri()]
    text = json.dumps(cases)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    answers: list[str] = json.loads(done.stdout)
    return answers


def case(picture: Pixels, spec: InputSpec, way: str) -> dict[str, Any]:
    height, width, channels = spec.shape
    stamp = {"input": {"height": height, "width": width, "channels": channels}}
    size = {"height": picture.shape[0], "width": picture.shape[1]}
    return {**size, "pixels": picture.tobytes().hex(), "stamp": {**stamp, "preprocessing": way}}


def drawing(height: int, width: int, channels: int, random: np.random.Generator) -> Pixels:
    """Return a noisy disc on a light ground; a fourth channel is noise."""
    y, x = np.mgrid[0:height, 0:width]
    inside = ((y / height - 0.5) / 0.4) ** 2 + ((x / width - 0.6) / 0.3) ** 2 < 1
    ground, disc = random.integers(190, 250, channels), random.integers(0, 180, channels)
    values = np.where(inside[..., None], disc, ground) + random.normal(0, 3, (1, 1, channels))
    values = values + random.normal(0, 3, (height, width, channels))
    if channels == 4:
        values[..., 3] = random.integers(0, 256, (height, width))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("way", ["stretch", "product-photo"])
def test_pixels_are_those_of_python(way: Preprocessing) -> None:
    random = np.random.default_rng(1)
    cases, expected = [], []
    for height, width, channels in SPECS:
        spec = InputSpec(height=height, width=width, channels=channels, dtype="uint8")
        for size in (*SIZES, (height, width)):
            for source in (1, 3, 4):
                picture = drawing(*size, source, random)
                cases.append(case(picture, spec, way))
                expected.append(model_pixels(picture, spec, way))
    found = [np.frombuffer(bytes.fromhex(each), np.uint8) for each in in_node(cases)]
    here = np.concatenate([each.ravel() for each in expected]).astype(int)
    there = np.concatenate(found).astype(int)
    assert here.shape == there.shape
    assert np.abs(here - there).max() <= 1
    assert (here != there).mean() <= MOST_UNEQUAL


def test_a_large_photograph_is_reduced_to_what_python_keeps(tmp_path: Path) -> None:
    """In pillow's integers: all pixels are equal, those at the edges too."""
    random = np.random.default_rng(2)
    picture = np.kron(random.integers(0, 256, (37, 85)), np.ones((55, 31))).astype(np.uint8)
    picture[::3, 1::7] ^= 37
    Image.fromarray(picture).save(tmp_path / "large.png")
    expected = read_picture(tmp_path / "large.png", 224)
    assert expected.shape == (1018, 1318, 1)
    size = {"height": picture.shape[0], "width": picture.shape[1]}
    given = {**size, "pixels": picture.tobytes().hex(), "keep": {"side": 224}}
    (found,) = in_node([given])
    assert found == expected.tobytes().hex()


def test_what_cannot_be_prepared_is_an_error_in_a_line() -> None:
    spec = InputSpec(height=8, width=8, channels=1, dtype="uint8")
    wrong = case(np.zeros((4, 4, 2), np.uint8), spec, "stretch")
    later = case(np.zeros((4, 4, 3), np.uint8), spec, "from-later")
    assert in_node([wrong, later]) == [
        "error: 32 bytes are not a picture of 4 × 4 pixels",
        "error: from-later is not known here: update it",
    ]
