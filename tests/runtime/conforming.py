"""Do in one runtime all that the contract asks, in a process that has loaded nothing else.

Usage: conforming.py FOLDER OUTPUT RUNTIME ARTIFACT…

FOLDER has bundle/ and embedding/ with the artifacts, bad/CASE/model.* and images.npy (see
test_conformance.py). OUTPUT gets answers.npz, and errors.json: case to class and message.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.runtime import Classifier
from hemline.runtime.backends import find_backend, version_of

Pixels = npt.NDArray[np.uint8]
Answers = dict[str, npt.NDArray[np.generic]]
Way = Callable[[Classifier, Pixels], npt.NDArray[np.float32]]
SINGLE = 20  # images that also go in one by one
SHARERS = 4

# What is asked of a good file, and must end in an error.
CALLS: dict[str, Callable[[Classifier], object]] = {
    "a float image": lambda c: c.classify(np.zeros((28, 28), np.float32)),  # type: ignore[arg-type]
    "an integer batch": lambda c: c.classify_batch(np.zeros((3, 28, 28), np.int64)),  # type: ignore[arg-type]
    "a small image": lambda c: c.classify(np.zeros((14, 14), np.uint8)),
    "a small batch": lambda c: c.classify_batch(np.zeros((3, 14, 14), np.uint8)),
    "logits of a color batch": lambda c: c.logits(np.zeros((3, 28, 28, 3), np.uint8)),
    "one image for many": lambda c: c.logits(np.zeros((28, 28), np.uint8)),
    "no image": lambda c: c.classify(None),  # type: ignore[arg-type]
    "a list of numbers": lambda c: c.classify([[0] * 28] * 28),  # type: ignore[arg-type]
    "an embedding of logits only": lambda c: c.embed(np.zeros((1, 28, 28), np.uint8)),
}
CLOSED: dict[str, Callable[[Classifier], object]] = {
    "classify": lambda c: c.classify(np.zeros((28, 28), np.uint8)),
    "classify_batch": lambda c: c.classify_batch(np.zeros((9, 28, 28), np.uint8)),
    "logits": lambda c: c.logits(np.zeros((1, 28, 28), np.uint8)),
    "scores": lambda c: c.scores(np.zeros((600, 28, 28), np.uint8)),
}


def answers_of(path: Path, runtime: str, images: Pixels) -> Answers:
    """Answer in every way there is: one by one, in batches, with threads, shared."""
    found: Answers = {}
    with Classifier.load(path, runtime=runtime) as classifier:
        single = [classifier.classify(image) for image in images[:SINGLE]]
        batch = classifier.classify_batch(images)
        found["single"] = np.stack([prediction.logits for prediction in single])
        found["single-scores"] = np.asarray([prediction.score for prediction in single])
        found["batch"] = classifier.logits(images)
        found["scores"] = classifier.scores(images)
        found["labels"] = np.asarray([prediction.index for prediction in batch])
        found["batch-scores"] = np.asarray([prediction.score for prediction in batch])
        vectors = classifier.stamp.test_vectors
        shape = classifier.stamp.input.shape
        found["vectors"] = np.asarray(
            [np.abs(classifier.classify(v.image(shape)).logits - v.logits).max() for v in vectors]
        )
        if classifier.stamp.embedding is not None:
            parts = [images[at:100:SHARERS] for at in range(SHARERS)]
            ways = (_one_by_one, Classifier.logits, Classifier.embed)
            found["shared"] = shared(classifier, parts, ways, rounds=5)
            found["embedding"] = classifier.embed(images)
            found["embedding-single"] = np.concatenate(
                [classifier.embed(image[np.newaxis]) for image in images[:SINGLE]]
            )
            found["embedding-none"] = classifier.embed(images[:0])
    with Classifier.load(path, runtime=runtime, threads=2) as classifier:
        found["threads"] = classifier.logits(images)
        # more than one worker takes at a time, so that both have something to do
        many = np.tile(images, (3, 1, 1, 1))
        found["workers"] = classifier.logits(many)
        if classifier.stamp.embedding is not None:
            found["embedding-workers"] = classifier.embed(many)
            parts = [many[at : at + 260] for at in range(SHARERS)]
            found["shared-workers"] = shared(classifier, parts, (Classifier.logits,), rounds=2)
    return found


def shared(
    classifier: Classifier, parts: list[Pixels], ways: tuple[Way, ...], *, rounds: int
) -> npt.NDArray[np.int64]:
    """Return how many answers were given to threads sharing a classifier, and how many differ.

    Each thread has a part of its own, and asks for it in every way, over and over.
    """
    alone = [[way(classifier, part) for way in ways] for part in parts]

    def work(at: int) -> tuple[int, int]:
        given = differ = 0
        for _ in range(rounds):
            for way, known in zip(ways, alone[at], strict=True):
                rows = way(classifier, parts[at])
                given += len(rows)
                differ += int((rows != known).any(axis=1).sum())
        return given, differ

    with ThreadPoolExecutor(len(parts)) as pool:
        return np.asarray(list(pool.map(work, range(len(parts))))).sum(axis=0)


def _one_by_one(classifier: Classifier, images: Pixels) -> npt.NDArray[np.float32]:
    return np.stack([classifier.classify(image).logits for image in images])


def errors_of(folder: Path, runtime: str) -> dict[str, tuple[str, str]]:
    """Return the class and the message of the error that each case ends in."""
    ending = find_backend(runtime).format
    errors = {}
    for case in sorted((folder / "bad").iterdir()):
        path = case / f"model.{ending}"
        errors[case.name] = _error(lambda path=path: _classify(path, runtime), path, runtime)
    good = folder / "bundle" / f"fp32.{ending}"
    with Classifier.load(good, runtime=runtime) as classifier:
        for name, call in CALLS.items():
            errors[name] = _error(lambda call=call: call(classifier), good, runtime)
    for name, call in CLOSED.items():  # closed by the line above
        errors[f"{name} after closing"] = _error(lambda call=call: call(classifier), good, runtime)
    errors["no threads"] = _error(
        lambda: Classifier.load(good, runtime=runtime, threads=0), good, runtime
    )
    return errors


def _classify(path: Path, runtime: str) -> object:
    with Classifier.load(path, runtime=runtime) as classifier:
        return classifier.classify(np.zeros((28, 28), np.uint8))


def _error(call: Callable[[], object], path: Path, runtime: str) -> tuple[str, str]:
    """Return class and message; file, ending and runtime are named alike in all of them."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 — whatever it is, the test compares it
        text = str(error).replace(str(path), "FILE")
        version = version_of(find_backend(runtime))
        for old, new in ((path.name, "NAME"), (runtime, "RUNTIME"), (version, "VERSION")):
            text = text.replace(old, new)
        return type(error).__name__, text
    return "", "no error"


def main() -> None:
    """Write what was found."""
    folder, output, runtime = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    images = np.load(folder / "images.npy")
    sys.setswitchinterval(1e-5)  # threads that could disturb each other shall do it
    arrays = {
        f"{bundle}/{name}/{key}": array
        for bundle in ("bundle", "embedding")
        for name in sys.argv[4:]
        for key, array in answers_of(folder / bundle / name, runtime, images).items()
    }
    np.savez(output / "answers.npz", **arrays)
    (output / "errors.json").write_text(json.dumps(errors_of(folder, runtime)))


if __name__ == "__main__":
    main()
