"""What is "unknown": by the score, or by the distance of the embedding to the classes."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from hemline.contract.class_distance import ClassDistance, Int8Rows
from hemline.contract.schema import to_document
from hemline.contract.specs import OutputSpec
from hemline.contract.stamp import read_stamped, stamp_onnx, stamp_tflite
from hemline.runtime import Classifier
from hemline.runtime.classification import documents_of, line_of
from hemline.runtime.command_line import main
from hemline.runtime.decoder import Decoder
from hemline.runtime.unknown import Distances

DECODER_JS = Path(__file__).resolve().parents[2] / "runtime" / "web" / "decoder.js"
SIZE, CLASSES, RANK = 12, 10, 5
RANDOM = np.random.default_rng(16)
DIRECTIONS = np.linalg.qr(RANDOM.normal(size=(SIZE, SIZE)))[0][:RANK]
DISTANCE = ClassDistance(
    threshold=12.0,
    mean=Int8Rows.of(RANDOM.normal(size=(1, SIZE))),
    directions=Int8Rows.of(DIRECTIONS / np.sqrt([[4.0], [3.0], [2.0], [1.0], [0.5]])),
    variances=(4.0, 3.0, 2.0, 1.0, 0.5),
    centers=Int8Rows.of(RANDOM.normal(0, 3, (RANK, CLASSES))),
    rest=0.25,
)
REAL = OutputSpec(name="embedding", role="embedding", size=SIZE, dtype="float32", position=1)
STORED = OutputSpec(
    name="embedding", role="embedding", size=SIZE, dtype="int8", scale=0.05, zero_point=-7
)
EMBEDDINGS = RANDOM.normal(0, 2, (40, SIZE)).astype(np.float32)


def expected(embedding: np.ndarray) -> float:
    """Return the distance by the text of ClassDistance, in double precision."""
    away = embedding.astype(float) - DISTANCE.mean.array()[0]
    z = DISTANCE.directions.array().astype(float) @ away
    nearest = min(float(((z - center) ** 2).sum()) for center in DISTANCE.centers.array().T)
    left_out = float((away**2).sum() - (np.asarray(DISTANCE.variances) * z**2).sum())
    return math.sqrt(nearest + max(0.0, left_out) / DISTANCE.rest)


def test_distances_are_those_of_the_formula() -> None:
    found = Distances(DISTANCE, REAL)(EMBEDDINGS)
    # float32 sums of 12 products, squared: some 1e-6 of a value
    np.testing.assert_allclose(found, [expected(each) for each in EMBEDDINGS], rtol=1e-5)


def test_many_embeddings_have_the_distances_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Distances(DISTANCE, REAL)
    whole = measure(EMBEDDINGS)
    monkeypatch.setattr("hemline.runtime.unknown._AT_ONCE", 7 * RANK * CLASSES)
    np.testing.assert_allclose(measure(EMBEDDINGS), whole, rtol=1e-6)


def test_stored_embeddings_are_made_real_first() -> None:
    stored, logits = RANDOM.integers(-128, 128, (5, SIZE)).astype(np.int8), np.zeros((5, CLASSES))
    real = ((stored.astype(np.float32) + 7) * np.float32(0.05)).astype(np.float32)
    found = decoder(DISTANCE, STORED).decode_batch(logits, stored)
    assert [each.distance for each in found] == Distances(DISTANCE, REAL)(real).tolist()


def decoder(distance: ClassDistance | None = DISTANCE, spec: OutputSpec = REAL) -> Decoder:
    labels = ("unknown", *(f"c{at}" for at in range(1, CLASSES)))
    return Decoder(
        OutputSpec(size=CLASSES, dtype="float32"),
        labels,
        unknown_threshold=0.5,
        distances=None if distance is None else Distances(distance, spec),
    )


def test_a_distance_decides_and_not_the_score() -> None:
    rows = np.zeros((len(EMBEDDINGS), CLASSES), np.float32)  # a score of 0.1, below the threshold
    many = decoder().decode_batch(rows, EMBEDDINGS)
    one = [decoder().decode(*each) for each in zip(rows, EMBEDDINGS, strict=True)]
    away = [expected(each) for each in EMBEDDINGS]
    assert [each.known for each in many] == [each <= 12.0 for each in away]
    assert [(x.known, x.distance) for x in one] == [
        (x.known, pytest.approx(x.distance, rel=1e-6)) for x in many
    ]
    assert len({each.known for each in many}) == 2, "this test needs near and far ones"


def test_an_embedding_that_is_no_number_is_unknown() -> None:
    prediction = decoder().decode(np.zeros(CLASSES, np.float32), np.full(SIZE, np.nan, np.float32))
    assert (prediction.known, prediction.label, prediction.index) == (False, "unknown", 0)


def test_a_class_called_unknown_is_not_an_unknown_image() -> None:
    sure, unsure = np.eye(CLASSES, dtype=np.float32)[0] * 9, np.zeros(CLASSES, np.float32)
    first, second = (decoder(None).decode(row) for row in (sure, unsure))
    assert (first.label, second.label) == ("unknown", "unknown")
    assert (first.index, second.index) == (0, 0)
    assert (first.known, second.known) == (True, False)
    lines = [line_of("a.png", each, 1, as_json=False) for each in (first, second)]
    assert lines[0] == "a.png: unknown (class) 99.9 %  (top 1: unknown 99.9 %)"
    assert lines[1] == ("a.png: unknown: score 10.0 % is not over 50.0 %  (top 1: unknown 10.0 %)")
    far = decoder().decode(sure, EMBEDDINGS[0] + 100)
    line = line_of("a.png", far, 1, as_json=False)
    assert line.startswith(f"a.png: unknown: distance {far.distance:.2f} is over 12.00  (top 1: ")


@pytest.mark.parametrize("distance", [DISTANCE, None])
def test_the_service_says_what_the_command_says(distance: ClassDistance | None) -> None:
    from hemline.runtime.service.answers import text_of

    made, logits = decoder(distance), RANDOM.normal(0, 2, (len(EMBEDDINGS), CLASSES))
    found = made.decode_batch(logits.astype(np.float32), EMBEDDINGS)
    assert len({each.known for each in found}) == 2
    assert json.loads(f"[{text_of(found, made.labels, 2)}]") == documents_of(found, 2)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
@pytest.mark.parametrize("distance", [DISTANCE, replace(DISTANCE, rest=0.0), None])
def test_javascript_decides_as_python_does(distance: ClassDistance | None) -> None:
    made, logits = decoder(distance), RANDOM.normal(0, 2, (len(EMBEDDINGS), CLASSES))
    logits = logits.astype(np.float32)
    script = """
      const { decode } = await import(process.argv[1]);
      const { stamp, pairs } = JSON.parse((await import('node:fs')).readFileSync(0));
      const found = pairs.map(([logits, embedding]) =>
        decode(stamp, Float32Array.from(logits), Float32Array.from(embedding)));
      console.log(JSON.stringify(found.map((x) => [x.label, x.index, !x.isUnknown, x.distance])));
    """
    stamp = {"labels": made.labels, "temperature": 1, "unknown_threshold": 0.5}
    stamp["distance"] = None if distance is None else to_document(distance)
    pairs = list(zip(logits.tolist(), EMBEDDINGS.tolist(), strict=True))
    command = ["node", "--input-type=module", "--eval", script, DECODER_JS.as_uri()]
    text = json.dumps({"stamp": stamp, "pairs": pairs})
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    for theirs, ours in zip(
        json.loads(done.stdout), made.decode_batch(logits, EMBEDDINGS), strict=True
    ):
        assert theirs[:3] == [ours.label if ours.known else None, ours.index, ours.known]
        assert theirs[3] == (ours.distance and pytest.approx(ours.distance, rel=1e-5))


@pytest.fixture(scope="module")
def stamped(embedding_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with files whose distances know every second validation image."""
    folder = tmp_path_factory.mktemp("stamped")
    images = np.load(embedding_bundle / "evaluation" / "validation-images.npy")
    for name, write in (("int8.tflite", stamp_tflite), ("fp32.onnx", stamp_onnx)):
        with Classifier.load(embedding_bundle / name) as classifier:
            embeddings = classifier.embed(images)
        spec = classifier.stamp.embedding
        assert spec is not None
        distance = ClassDistance(
            threshold=1.0,
            mean=Int8Rows.of(embeddings.mean(axis=0, keepdims=True)),
            directions=Int8Rows.of(np.eye(2, spec.size)),
            variances=(1.0, 1.0),
            centers=Int8Rows.of(np.zeros((2, 10))),
            rest=1.0,
        )
        middle = float(np.median(Distances(distance, spec)(embeddings)))
        stamp = replace(classifier.stamp, distance=replace(distance, threshold=middle))
        model = read_stamped(embedding_bundle / name).model
        if name.endswith(".onnx"):
            proto = onnx.load_from_string(model)
            del proto.metadata_props[:]  # the stamp of before
            model = proto.SerializeToString()
        (folder / name).write_bytes(write(model, stamp))
    np.save(folder / "images.npy", images)
    return folder


@pytest.mark.parametrize("name", ["int8.tflite", "fp32.onnx"])
def test_one_image_and_many_have_the_same_distance(stamped: Path, name: str) -> None:
    images = np.load(stamped / "images.npy")
    with Classifier.load(stamped / name, threads=2) as classifier:
        many = classifier.classify_batch(images)
        one = [classifier.classify(image) for image in images[:20]]
    assert 0.4 < np.mean([each.known for each in many]) < 0.6
    for first, second in zip(one, many, strict=False):
        assert first.distance == pytest.approx(second.distance, rel=1e-3)
        assert first.known == (first.label != "unknown")


def test_json_and_csv_tell_what_is_known(
    stamped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "one.npy", np.load(stamped / "images.npy")[0])
    command = ["classify", str(stamped / "int8.tflite"), str(tmp_path / "one.npy"), "-q"]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["image", "label", "index", "score", "known", "distance", "top"]
    assert main([*command, "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["known"] == str(document["known"]).lower()
    assert float(row["distance"]) == document["distance"]


def test_info_tells_the_rule(stamped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(stamped / "int8.tflite")]) == 0
    assert "a distance of more than" in capsys.readouterr().out
