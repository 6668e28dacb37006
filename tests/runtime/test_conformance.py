"""One contract over every scheme in every runtime that it supports, however an image goes in.

Each runtime answers in one process of its own (conforming.py), because tflite-runtime must not
share one with TensorFlow, and once more out of the packed file.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hemline.contract.evaluation_set import EvaluationSplit, load_split
from hemline.contract.job import Job, JobCell
from hemline.contract.manifest import Artifact, Manifest, read_manifest
from hemline.contract.specs import OutputSpec
from hemline.contract.stamp import Stamp, StampedFile, read_stamped, stamp_onnx, stamp_tflite
from hemline.data.datasets import Images
from hemline.export.schemes import find_schemes
from hemline.runtime.discovery import installed_names
from hemline.runtime.one_file import NAME, write_runtime_file
from hemline.runtime.process import JobProcess

PAIRS = [
    (scheme.file_name, each.runtime)
    for scheme in find_schemes(())
    for each in scheme.supported_runtimes
    if each.runtime in installed_names()
]
RUNTIMES = sorted({runtime for _, runtime in PAIRS})
PACKED_CELLS = (JobCell(), JobCell(batch=8), JobCell(threads=2, batch=64))
IMAGES = 200
SINGLE = 20  # as in conforming.py
# answers to threads that share, likewise: images × ways to ask × rounds
SHARED = {"shared": 100 * 3 * 5, "shared-workers": 4 * 260 * 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one runtime did: "bundle/name/way" to its answers, case to error class and message."""

    answers: dict[str, np.ndarray]
    errors: dict[str, tuple[str, str]]


Ask = Callable[[str], Found]


# What is wrong with a file: the class of the error, and how its one line begins.
BAD_FILES = {
    "altered": ("FileFormatError", "FILE was modified: its bytes differ from the stamped hash"),
    "cut": ("UnstampedError", "FILE has no Hemline stamp"),
    "missing": ("FileFormatError", "cannot read FILE: no such file"),
    "unlabelled": ("SchemaError", "the stamp of FILE: the document: 0 labels for 10 classes"),
    "unclaimed": ("UnsupportedRuntimeError", "NAME does not support RUNTIME VERSION: use another"),
    "height": (
        "FileFormatError",
        "the stamp says float32 (8, 28, 1), the model has float32 (28, 28, 1): export it again",
    ),
    "input type": ("FileFormatError", "the stamp says uint8 (28, 28, 1), the model has float32"),
    "classes": (
        "FileFormatError",
        "the stamp says logits of 2 float32 values, the model has 10 float32: export it again",
    ),
    "output type": (
        "FileFormatError",
        "the stamp says logits of 10 int8 values, the model has 10 float32: export it again",
    ),
    "two outputs": (
        "FileFormatError",
        "the stamp says 1 input and 1 output, the model has 1 and 2: export it again",
    ),
    "one output": (
        "FileFormatError",
        "the stamp says 1 input and 2 outputs, the model has 1 and 1: export it again",
    ),
    "embedding size": (
        "FileFormatError",
        "the stamp says embedding of 41 float32 values, the model has 64 float32",
    ),
    "embedding type": (
        "FileFormatError",
        "the stamp says embedding of 64 int8 values, the model has 64 float32",
    ),
    "embedding position": (
        "FileFormatError",
        "the stamp says logits of 10 float32 values, the model has 64 float32",
    ),
}
BAD_CALLS = {
    "a float image": ("DataError", "an image must have dtype uint8 (0 … 255), not float32"),
    "an integer batch": ("DataError", "an image must have dtype uint8 (0 … 255), not int64"),
    "a small image": ("DataError", "images have 28 × 28 × 1 values here, not shape (14, 14)"),
    "a small batch": ("DataError", "images have 28 × 28 × 1 values here, not shape (14, 14, 1)"),
    "logits of a color batch": ("DataError", "images have 28 × 28 × 1 values here, not shape"),
    "one image for many": ("DataError", "images have 28 × 28 × 1 values here, not shape"),
    "no image": ("DataError", "an image must be a uint8 array or a path, not None"),
    "a list of numbers": ("DataError", "an image must be a uint8 array or a path, not list"),
    "an embedding of logits only": (
        "UsageError",
        "NAME has no embedding",
    ),
    "classify after closing": ("UsageError", "this classifier of NAME is closed: load it again"),
    "classify_batch after closing": ("UsageError", "this classifier of NAME is closed"),
    "logits after closing": ("UsageError", "this classifier of NAME is closed"),
    "scores after closing": ("UsageError", "this classifier of NAME is closed"),
    "no threads": ("UsageError", "threads must be from 1 to 256, not 0"),
}


def write_bad_files(folder: Path, bundle: Path, embedding_bundle: Path) -> None:
    """Write folder/CASE/model.tflite and .onnx, both wrong in the same way."""
    for ending, write in (("tflite", stamp_tflite), ("onnx", stamp_onnx)):
        plain = (bundle / f"fp32.{ending}").read_bytes()
        one, two = (_unstamped(b / f"fp32.{ending}") for b in (bundle, embedding_bundle))
        stamp, spec = dataclasses.replace(one.stamp, name=f"model.{ending}"), two.stamp.embedding
        assert spec is not None
        embedded = functools.partial(_embedded, stamp, two.stamp.output, spec)
        takes, gives = stamp.input, stamp.output
        contents = {
            "altered": plain[:1000] + bytes([plain[1000] ^ 1]) + plain[1001:],
            "cut": plain[: len(plain) // 2],
            "missing": None,
            "unlabelled": write(one.model, _unlabelled(stamp)),
            "unclaimed": write(one.model, dataclasses.replace(stamp, supported_runtimes=())),
            "height": write(one.model, _changed(stamp, input=_changed(takes, height=8))),
            "input type": write(one.model, _changed(stamp, input=_changed(takes, dtype="uint8"))),
            "classes": write(
                one.model,
                _changed(
                    stamp,
                    outputs=(_changed(gives, size=2),),
                    labels=("a", "b"),
                    test_vectors=(),
                    reference=None,
                ),
            ),
            "output type": write(
                one.model, _changed(stamp, outputs=(_changed(gives, dtype="int8"),))
            ),
            "two outputs": write(two.model, stamp),
            "one output": write(one.model, embedded()),
            "embedding size": write(two.model, embedded(size=41)),
            "embedding type": write(two.model, embedded(dtype="int8")),
            "embedding position": write(two.model, _swapped(two.stamp)),
        }
        for case, content in contents.items():
            (folder / case).mkdir(parents=True, exist_ok=True)
            if content is not None:
                (folder / case / f"model.{ending}").write_bytes(content)


_changed = dataclasses.replace


def _embedded(stamp: Stamp, logits: OutputSpec, embedding: OutputSpec, **changes: Any) -> Stamp:
    return _changed(stamp, outputs=(logits, _changed(embedding, **changes)))


def _swapped(stamp: Stamp) -> Stamp:
    logits_first = sorted(stamp.outputs, key=lambda each: each.role != "logits")
    return _changed(
        stamp, outputs=tuple(_changed(o, position=1 - o.position) for o in logits_first)
    )


def _unstamped(path: Path) -> StampedFile:
    """Return an artifact whose model bytes can be stamped anew."""
    import onnx

    file = read_stamped(path)
    if file.stamp.format == "tflite":
        return file
    proto = onnx.load_from_string(file.model)
    del proto.metadata_props[:]
    return file._replace(model=proto.SerializeToString())


class _Unlabelled(Stamp):
    """A stamp that nothing checks before it is written."""

    __slots__ = ()

    def __post_init__(self) -> None:
        pass


def _unlabelled(stamp: Stamp) -> Stamp:
    fields = {field.name: getattr(stamp, field.name) for field in dataclasses.fields(stamp)}
    return _Unlabelled(**{**fields, "labels": ()})


@pytest.fixture(scope="module")
def place(
    bundle: Path,
    embedding_bundle: Path,
    images: Images,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder with both bundles, the bad files, the images and the packed runtime."""
    folder = tmp_path_factory.mktemp("conformance")
    (folder / "bundle").symlink_to(bundle)
    (folder / "embedding").symlink_to(embedding_bundle)
    write_bad_files(folder / "bad", bundle, embedding_bundle)
    np.save(folder / "images.npy", images.test_images[:IMAGES])
    (folder / "single").mkdir()
    for at, image in enumerate(images.test_images[:SINGLE]):
        np.save(folder / "single" / f"{at}.npy", image)
    write_runtime_file(folder / NAME)
    return folder


@pytest.fixture(scope="module")
def ask(place: Path) -> Ask:
    """Return a function giving what one runtime did, in one process."""

    @functools.cache
    def run(runtime: str) -> Found:
        output = place / runtime
        output.mkdir()
        script = Path(__file__).with_name("conforming.py")
        names = [name for name, other in PAIRS if other == runtime]
        command = [sys.executable, str(script), str(place), str(output), runtime, *names]
        subprocess.run(command, check=True)
        with np.load(output / "answers.npz") as arrays:
            answers = dict(arrays)
        errors = json.loads((output / "errors.json").read_text())
        return Found(answers=answers, errors={case: tuple(e) for case, e in errors.items()})

    return run


@pytest.fixture(scope="module")
def ask_packed(place: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """Return a function giving "bundle/name/cell" to logits of the packed file's job runner."""

    @functools.cache
    def run(runtime: str) -> dict[str, np.ndarray]:
        (place / "arrays").mkdir(exist_ok=True)
        found = {}
        command = (sys.executable, "-I", str(place / NAME), "jobs")
        with JobProcess(command) as process:
            for folder in ("bundle", "embedding"):
                for name in [name for name, other in PAIRS if other == runtime]:
                    job = Job(
                        id=f"{folder}-{name}-{runtime}",
                        artifact=str(place / folder / name),
                        runtime=runtime,
                        images=str(place / "images.npy"),
                        cells=PACKED_CELLS,
                        want=("outputs",),
                        arrays=str(place / "arrays"),
                    )
                    result = process.run(job)
                    assert result.failure is None
                    for cell in result.cells:
                        key = f"{folder}/{name}/{cell.threads}x{cell.batch}"
                        found[key] = np.load(cell.outputs["logits"])
        return found

    return run


@pytest.fixture(scope="module")
def split(bundle: Path, manifest: Manifest) -> EvaluationSplit:
    return load_split(bundle, "test", manifest.evaluation_sha256)


@pytest.fixture(scope="module")
def keras_embeddings(checkpoint: Path, images: Images) -> np.ndarray:
    """Return the Keras model's embeddings of the images, float32 (n, size)."""
    from hemline.contract.checkpoint import MODEL_NAME
    from hemline.train.tensorflow import quiet_keras

    keras = quiet_keras()
    model = keras.models.load_model(checkpoint / MODEL_NAME, compile=False)
    from hemline.export.sources.outputs import output_of
    from hemline.train.predictor import Predictor

    embedder = keras.Model(model.input, output_of(model, "embedding"))
    return Predictor(embedder).logits(images.test_images[:IMAGES])


def between_ways(artifact: Artifact) -> float:
    """Return how far the logits of one image may lie apart in one runtime, by the way it goes in.

    Kernels differ with the number of images and of threads.
    """
    if artifact.output.dtype == "int8":
        # a tie may be rounded the other way: one step of the output
        return artifact.output.scale * 1.001
    if artifact.scheme in ("fp32", "fp16"):
        # the same sums in another order: 2⁻²⁴ · √600 · 10 layers = 1.5e-5 of logits up to 30
        return 5e-4
    # an 8-bit step inside, multiplied by the layers behind it: a quarter of the tolerance
    return artifact.tolerance / 4


def require_same_labels(found: np.ndarray, logits: np.ndarray, allowed: float) -> None:
    """Compare class indices with those of logits, where logits off by `allowed` leave them sure."""
    best = np.sort(logits, axis=1)
    sure = best[:, -1] - best[:, -2] > 2 * allowed
    assert sure.mean() > 0.9, "too few images are decided for this to say much"
    assert_array_equal(found[sure], logits.argmax(axis=1)[sure])


def score_error(stamp: Stamp, allowed: float) -> float:
    """Return how far a score may lie off when each logit lies off by `allowed`.

    The odds of a class change by at most the factor exp(2 · allowed ÷ T), and the logistic function
    by at most tanh(δ ÷ 4) over a distance δ; 1e-6 are a few float32 operations on values under 1.
    """
    return math.tanh(allowed / (2 * stamp.temperature)) + 1e-6


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_logits_are_the_keras_models_within_the_stated_tolerance(
    ask: Ask, split: EvaluationSplit, manifest: Manifest, name: str, runtime: str
) -> None:
    artifact, logits = manifest.artifact(name), ask(runtime).answers[f"bundle/{name}/batch"]
    assert np.abs(logits - split.logits).max() <= artifact.tolerance
    agreement = (logits.argmax(axis=1) == split.logits.argmax(axis=1)).mean()
    assert agreement >= artifact.minimum_agreement


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_the_stamped_vectors_give_the_stamped_logits(
    ask: Ask, manifest: Manifest, name: str, runtime: str
) -> None:
    difference = ask(runtime).answers[f"bundle/{name}/vectors"]
    assert len(difference) == 2
    assert difference.max() <= manifest.artifact(name).tolerance


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_every_way_in_gives_the_same_answers(
    ask: Ask, bundle: Path, manifest: Manifest, name: str, runtime: str
) -> None:
    found = {key: ask(runtime).answers[f"bundle/{name}/{key}"] for key in WAYS}
    allowed = between_ways(manifest.artifact(name))
    logits = found["batch"]
    assert_allclose(found["single"], logits[:SINGLE], rtol=0, atol=allowed)
    assert_allclose(found["threads"], logits, rtol=0, atol=allowed)
    assert_allclose(found["workers"], np.tile(logits, (3, 1)), rtol=0, atol=allowed)
    assert_array_equal(found["labels"], logits.argmax(axis=1))
    for each in (found["single"], found["threads"], found["workers"]):
        require_same_labels(each.argmax(axis=1), np.resize(logits, each.shape), allowed)
    close = score_error(read_stamped(bundle / name).stamp, allowed)
    scores = found["scores"].max(axis=1)
    assert_allclose(found["batch-scores"], scores, rtol=0, atol=1e-6)
    assert_allclose(found["single-scores"], scores[:SINGLE], rtol=0, atol=close)


WAYS = (
    "single",
    "batch",
    "threads",
    "workers",
    "labels",
    "scores",
    "batch-scores",
    "single-scores",
)


@pytest.mark.parametrize("name", [each.file_name for each in find_schemes(())])
def test_every_runtime_gives_the_same_labels(ask: Ask, manifest: Manifest, name: str) -> None:
    """Two runtimes may lie on either side of the Keras model."""
    artifact = manifest.artifact(name)
    given = [ask(r).answers[f"bundle/{name}/batch"] for n, r in PAIRS if n == name]
    for other in given[1:]:
        assert np.abs(other - given[0]).max() <= 2 * artifact.tolerance
        agreement = (other.argmax(axis=1) == given[0].argmax(axis=1)).mean()
        assert agreement >= 2 * artifact.minimum_agreement - 1


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
@pytest.mark.parametrize("way", SHARED)
def test_threads_that_share_a_classifier_get_what_one_gets(
    ask: Ask, name: str, runtime: str, way: str
) -> None:
    given, differ = ask(runtime).answers[f"embedding/{name}/{way}"]
    assert (given, differ) == (SHARED[way], 0)


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_the_packed_runner_gives_what_the_classifier_gives(
    ask: Ask,
    ask_packed: Callable[[str], dict[str, np.ndarray]],
    manifest: Manifest,
    name: str,
    runtime: str,
) -> None:
    allowed = between_ways(manifest.artifact(name))
    for bundle in ("bundle", "embedding"):
        logits = ask(runtime).answers[f"{bundle}/{name}/batch"]
        for cell in PACKED_CELLS:
            packed = ask_packed(runtime)[f"{bundle}/{name}/{cell.threads}x{cell.batch}"]
            assert_allclose(packed, logits, rtol=0, atol=allowed)
            require_same_labels(packed.argmax(axis=1), logits, allowed)


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_the_packed_file_classifies_as_the_classifier_does(
    ask: Ask, place: Path, name: str, runtime: str
) -> None:
    files = [str(place / "single" / f"{at}.npy") for at in range(SINGLE)]
    command = [sys.executable, "-I", str(place / NAME), "classify", str(place / "embedding" / name)]
    done = subprocess.run(
        [*command, *files, "--runtime", runtime, "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=place / "arrays",
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    found = ask(runtime).answers
    labels = found[f"embedding/{name}/single"].argmax(axis=1)
    assert [answer["index"] for answer in answers] == labels.tolist()
    # the command rounds to six digits
    scores = found[f"embedding/{name}/single-scores"]
    assert_allclose([answer["score"] for answer in answers], scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_an_embedding_beside_leaves_the_logits_as_they_are(
    ask: Ask, name: str, runtime: str
) -> None:
    found = ask(runtime).answers
    for key in ("single", "batch", "threads", "labels"):
        assert_array_equal(found[f"embedding/{name}/{key}"], found[f"bundle/{name}/{key}"])


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_the_embedding_is_the_keras_models(
    ask: Ask,
    keras_embeddings: np.ndarray,
    bundle: Path,
    manifest: Manifest,
    name: str,
    runtime: str,
) -> None:
    found = ask(runtime).answers[f"embedding/{name}/embedding"]
    assert (found.dtype, found.shape) == (np.float32, keras_embeddings.shape)
    validation = load_split(bundle, "validation", manifest.evaluation_sha256)
    share = manifest.artifact(name).tolerance / np.abs(validation.logits).max()
    assert np.abs(found - keras_embeddings).max() <= share * np.abs(keras_embeddings).max()
    # export/schemes.py: the largest difference is 4.4 of the rms error ε that it bounds, and a
    # vector that is off by ε of its length has a cosine of 1 − ε² ÷ 2 with the right one
    least = 1 - (share / 4.4) ** 2 / 2
    assert cosines(found, keras_embeddings).mean() >= least


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    rows, others = rows.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return np.asarray((rows * others).sum(axis=1) / lengths)


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_embeddings_do_not_depend_on_the_way_in(
    ask: Ask, embedding_bundle: Path, manifest: Manifest, name: str, runtime: str
) -> None:
    found = ask(runtime).answers
    embedding = found[f"embedding/{name}/embedding"]
    spec, artifact = embedding_spec(embedding_bundle, name), manifest.artifact(name)
    # as for the logits, on values that are as large as these
    step = spec.scale if spec.dtype == "int8" else between_ways(artifact)
    allowed = step * 1.001
    assert_allclose(
        found[f"embedding/{name}/embedding-single"], embedding[:SINGLE], rtol=0, atol=allowed
    )
    workers = found[f"embedding/{name}/embedding-workers"]
    assert_allclose(workers, np.tile(embedding, (3, 1)), rtol=0, atol=allowed)
    none = found[f"embedding/{name}/embedding-none"]
    assert (none.dtype, none.shape) == (np.float32, (0, spec.size))


def embedding_spec(bundle: Path, name: str) -> OutputSpec:
    spec = read_manifest(bundle).artifact(name).embedding
    assert spec is not None
    return spec


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("case", [*BAD_FILES, *BAD_CALLS])
def test_the_same_mistake_gets_the_same_line_everywhere(ask: Ask, runtime: str, case: str) -> None:
    kind, message = (BAD_FILES | BAD_CALLS)[case]
    found = ask(runtime).errors[case]
    assert found[0] == kind
    assert found[1].startswith(message)
    assert "\n" not in found[1]
    assert found == ask(RUNTIMES[0]).errors[case]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_mistake_that_is_made_is_expected(ask: Ask, runtime: str) -> None:
    assert set(ask(runtime).errors) == {*BAD_FILES, *BAD_CALLS}
