"""The engine of web pages: the logits of Python, in a real browser."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from browser import opened_browser
from required import missing

from hemline.contract.job import Job
from hemline.contract.stamp import Stamp, StampedFile, read_stamped, stamp_onnx, stamp_tflite
from hemline.data.datasets import Images
from hemline.errors import HemlineError
from hemline.export.embedding_check import opened
from hemline.export.unknown.fitting import fitted
from hemline.npm_packages import FILES, fetched
from hemline.runtime.process import JobProcess

pytestmark = pytest.mark.browser
WEB = Path(__file__).resolve().parents[2] / "runtime" / "web"
IMAGES = 50
LOGITS = """async ([name, images]) => {
  const { loadArtifact } = await import('./engine.js');
  const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const { stamp, run, delegate } = await loadArtifact(await bytes(name));
  const pixels = await bytes('pixels');
  const size = pixels.length / images;
  const rows = [];
  for (let at = 0; at < images; at++) {
    rows.push(Array.from(await run(pixels.subarray(at * size, at * size + size))));
  }
  return { name: stamp.name, delegate, rows };
}"""


DECISIONS = """async ([artifact, pixels, images]) => {
  const [{ loadArtifact }, { decode }] = await Promise.all(
    ['./engine.js', './decoder.js'].map((each) => import(each)));
  const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const { stamp, run } = await loadArtifact(bytes(artifact));
  const [all, rows] = [bytes(pixels), []];
  for (let at = 0, size = all.length / images; at < images; at++) {
    const image = all.subarray(at * size, at * size + size);
    const outputs = await run(image, ['logits', 'embedding']); // by one inference
    const alone = [await run(image), await run(image, 'embedding')];
    const isSame = JSON.stringify(alone) === JSON.stringify(outputs);
    const found = decode(stamp, ...outputs);
    rows.push([found.label, found.isUnknown, found.distance, isSame]);
  }
  return rows;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def page(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a page beside the engine, the files of the packages, artifacts and pixels."""
    folder = shutil.copytree(bundle, tmp_path_factory.mktemp("web") / "site")
    images = np.load(bundle / "evaluation" / "validation-images.npy")
    (folder / "pixels").write_bytes(images[:IMAGES].tobytes())
    for name in ("int8.tflite", "int8.onnx"):
        content = bytearray((folder / name).read_bytes())
        content[1000] ^= 1
        (folder / f"altered.{name}").write_bytes(content)
    model = read_stamped(folder / "int8.tflite").model
    (folder / "bare.tflite").write_bytes(model)
    # until schema 4 there was one output
    document = {"name": "old.tflite", "payload_sha256": hashlib.sha256(model).hexdigest()}
    (folder / "old.tflite").write_bytes(model)
    with zipfile.ZipFile(folder / "old.tflite", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hemline.json", json.dumps(document | {"output": {}}))
    graph = onnx.load(folder / "int8.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, folder / "bare.onnx")
    (folder / "index.html").write_text("<!doctype html><title>engine</title>")
    try:
        for each in (WEB, *(fetched(name) for name in FILES)):
            shutil.copytree(each, folder, dirs_exist_ok=True)
        handler = functools.partial(Quiet, directory=str(folder))
        with (
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
            opened_browser() as browser,
        ):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            opened = browser.new_page()
            opened.goto(f"http://127.0.0.1:{server.server_port}/index.html")
            yield opened
            server.shutdown()
    except HemlineError as error:
        missing("browser", str(error))


@pytest.mark.parametrize(
    ("name", "runtime", "most"),
    [
        ("int8.tflite", "litert", 0.0),
        ("int8.onnx", "onnxruntime", 0.0),
        # float sums may have another order in wasm: 1e-5 is some 20 ulps of a logit of 5
        ("fp32.tflite", "litert", 1e-5),
        ("fp32.onnx", "onnxruntime", 1e-5),
    ],
)
def test_logits_are_those_of_python(
    bundle: Path, page: Any, tmp_path: Path, name: str, runtime: str, most: float
) -> None:
    found = page.evaluate(LOGITS, [name, IMAGES])
    with JobProcess() as process:
        images = str(bundle / "evaluation" / "validation-images.npy")
        asked = Job(
            id="here",
            artifact=str(bundle / name),
            runtime=runtime,
            images=images,
            count=IMAGES,
            arrays=str(tmp_path),
        )
        here = process.run(asked).logits()
    assert found["name"] == name
    assert "WebAssembly" in found["delegate"]
    np.testing.assert_allclose(np.array(found["rows"], np.float32), here, rtol=0, atol=most)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("altered.int8.tflite", "int8.tflite was modified: copy it again"),
        ("altered.int8.onnx", "int8.onnx was modified: copy it again"),
        ("old.tflite", "an older Hemline wrote old.tflite: export it again"),
        ("bare.tflite", "this file has no Hemline stamp"),
        ("bare.onnx", "this file has no Hemline stamp"),
        ("pixels", "this file has no Hemline stamp"),
    ],
)
def test_what_is_no_artifact_is_refused(page: Any, name: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        page.evaluate(LOGITS, [name, IMAGES])


def stamped_anew(file: StampedFile, stamp: Stamp) -> bytes:
    if stamp.format == "tflite":
        return stamp_tflite(file.model, stamp)
    graph = onnx.load_from_string(file.model)
    del graph.metadata_props[:]
    return stamp_onnx(graph.SerializeToString(), stamp)


@pytest.mark.parametrize("name", ["int8.tflite", "fp32.onnx"])
def test_a_file_that_measures_distances_decides_as_in_python(
    embedding_bundle: Path, images: Images, page: Any, name: str
) -> None:
    file = read_stamped(embedding_bundle / name)
    with opened(file) as classifier:
        pair = images.test_images, images.test_labels
        distance = fitted(classifier, pair, pair)
    stamp = replace(file.stamp, distance=distance)
    noise = np.random.default_rng(3).integers(0, 256, (IMAGES, 28, 28, 1), np.uint8)
    pixels = np.concatenate([images.test_images[:IMAGES], noise])
    content = stamped_anew(file, stamp)
    words = [base64.b64encode(each).decode() for each in (content, pixels.tobytes())]
    found = page.evaluate(DECISIONS, [*words, len(pixels)])
    with opened(StampedFile(stamp, file.model)) as classifier:
        expected = classifier.classify_batch(pixels)
    assert len({each.known for each in expected}) == 2
    for (label, is_unknown, away, is_same), each in zip(found, expected, strict=True):
        assert is_same, "outputs together are those of an inference each"
        assert (label, is_unknown) == (each.label if each.known else None, not each.known)
        assert away == pytest.approx(each.distance, rel=1e-4)
