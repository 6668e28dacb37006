"""Classify images with an artifact: label, score and the best classes of each.

ARTIFACT is a file, or the folder of a bundle: then the recommended file is used. Without ARTIFACT,
the only bundle in artifacts/ is used. Images are files, or folders with images in them and below;
or frames from standard input (-), a watched folder, a camera or a video: each prints one JSON line
as soon as it arrives. For an image that cannot be read, the error is printed, and the exit code
is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemline.contract.manifest import MANIFEST_NAME
from hemline.errors import DataError, HemlineError, UsageError
from hemline.pictures.images import ENDINGS
from hemline.pictures.pixels import NO_MEMORY
from hemline.remedies import described
from hemline.runtime.classifier import Classifier
from hemline.runtime.decoder import UNKNOWN, Prediction, best_of
from hemline.silence import silenced
from hemline.working_folder import only_bundle

if TYPE_CHECKING:
    from hemline.pictures.pixels import Pixels
    from hemline.runtime.input.streams import Frame

STREAM = "-"
_TRUE = (
    "the column true is the name of each image's folder; images that the model was trained on give "
    "too high an accuracy: evaluate the held-out images"
)
Show = Callable[[str, "Pixels", "Pixels", Prediction], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_runtime(parser)
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        help="image files or folders (of an animation the first picture); - for frames on "
        "standard input: PNG, JPEG, PGM, PPM or .npy, one after the other",
    )
    parser.set_defaults(threads=None)  # 1, or what was tuned
    parser.add_argument(
        "--tuned",
        action="store_true",
        help="use the settings that manifest.json, beside the artifact, has for this processor",
    )
    parser.add_argument("--top", type=positive, default=3, metavar="N", help="classes shown (3)")
    parser.add_argument("--json", action="store_true", help="one JSON document a line")
    parser.add_argument(
        "--csv", action="store_true", help="CSV with the score of every class, of files and folders"
    )
    parser.add_argument(
        "--preprocess",
        default="auto",
        metavar="WAY",
        help="images of another size: stretch, product-photo, none (an error), or auto: as the "
        "artifact says (default)",
    )
    parser.add_argument(
        "--show", type=Path, metavar="FOLDER", help="also draw what the model saw, into a folder"
    )
    parser.add_argument(
        "--raw",
        nargs="?",
        const="",
        metavar="SIZE",
        help="standard input is raw 8-bit frames: WIDTHxHEIGHT[xCHANNELS], or WIDTHxHEIGHT:yuv420 "
        "(default: the model's own size)",
    )
    parser.add_argument(
        "--watch",
        type=Path,
        metavar="FOLDER",
        help="classify the image files of a folder and those that are added, until SIGINT or "
        "SIGTERM (exit code 0)",
    )
    parser.add_argument(
        "--camera", metavar="WHICH", help="a camera (number, device or address), until the same"
    )
    parser.add_argument("--video", metavar="FILE", help="a video file")
    parser.add_argument(
        "--count", type=positive, metavar="N", help="end after so many frames of a stream"
    )
    parser.add_argument(
        "--monitor", type=Path, metavar="FOLDER", help="count predictions, for `hemline drift`"
    )
    parser.add_argument(
        "--keep-unsure", type=positive, metavar="N", help="also store the N least certain images"
    )


def named_or_only(options: argparse.Namespace) -> Path:
    """Return the artifact, or else the only bundle in artifacts/; raises UsageError."""
    artifact: Path = options.artifact or only_bundle()
    if options.artifact is None and not options.quiet:
        print(f"bundle: {artifact}", file=sys.stderr)
    return artifact


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Declare the artifact, which may be left out where only one bundle exists, and its options."""
    parser.add_argument(
        "artifact", metavar="ARTIFACT", type=Path, nargs="?", help="a file, or a bundle"
    )
    parser.add_argument(
        "--runtime", help="litert, tflite-runtime or onnxruntime (default: the first one here)"
    )
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="threads to use (1)"
    )


def positive(text: str) -> int:
    """Return a number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Classify each image; one that cannot be read does not keep the others from it."""
    if options.artifact is not None and _holds_images(options.artifact):
        options.artifact, options.images = None, [str(options.artifact), *options.images]
    _require_one_source(options)
    artifact = named_or_only(options)
    with silenced():
        classifier = Classifier.load(
            artifact,
            threads=options.threads,
            runtime=options.runtime,
            preprocess=options.preprocess,
            tuned=options.tuned,
        )
    if classifier.untuned and not options.quiet:
        print(f"warning: {classifier.untuned}", file=sys.stderr)
    with classifier, _monitored(options, classifier, _shown(options)) as show:
        if options.images and options.images != [STREAM]:
            return _classify_files(classifier, options, show)
        with _frames(classifier, options) as frames:
            return _classify_frames(classifier, frames, options, show)


def _require_one_source(options: argparse.Namespace) -> None:
    if options.raw == STREAM:  # `--raw -`: the size was left out
        options.raw, options.images = "", [*options.images, STREAM]
    given = [name for name in ("watch", "camera", "video") if getattr(options, name) is not None]
    sources = [*(f"--{name}" for name in given), *(["images"] if options.images else [])]
    if len(sources) != 1:
        raise UsageError(
            f"{' and '.join(sources)} cannot be combined: name one of them"
            if sources
            else "nothing to classify: name images, - for standard input, --watch, --camera or "
            "--video"
        )
    if STREAM in options.images and len(options.images) > 1:
        raise UsageError("- means standard input: name it alone, or name files")
    if options.raw is not None and options.images != [STREAM]:
        raise UsageError("--raw describes frames on standard input: name - as the image")
    if options.count is not None and options.images not in ([], [STREAM]):
        raise UsageError("--count limits a stream: for files, name only as many as you want")
    if options.csv and (options.json or options.images in ([], [STREAM])):
        raise UsageError("--csv is for image files and folders, without --json")
    if options.keep_unsure is not None and options.monitor is None:
        raise UsageError("--keep-unsure stores images in the folder of --monitor: name one")


def _holds_images(path: Path) -> bool:
    """Return whether a path is of images, where an artifact may stand too."""
    if path.is_dir():
        named_as_artifact = path.suffix in (".tflite", ".onnx")
        return not named_as_artifact and not (path / MANIFEST_NAME).exists()
    return str(path) == STREAM or path.suffix.lower() in ENDINGS


def _classify_files(classifier: Classifier, options: argparse.Namespace, show: Show | None) -> int:
    from hemline.runtime.input.image_folder import image_files

    code = 0
    table = csv.writer(sys.stdout, lineterminator="\n") if options.csv else None
    images, labels = list(image_files(options.images)), classifier.stamp.labels
    classes = {Path(image).parent.name for image in images}.intersection(labels if table else ())
    if table is not None:
        true = ("true",) if classes else ()
        measured = () if classifier.stamp.distance is None else ("distance",)
        table.writerow(("image", *true, "label", "best", "score", "known", *measured, *labels))
    if classes and not options.quiet:
        print(f"note: {_TRUE}", file=sys.stderr)
    for image in images:
        try:
            if Path(image).is_dir():
                raise DataError(f"{image} has no images in it or below")
            prediction = _classified(classifier, Path(image), show)
        except (HemlineError, MemoryError) as error:
            code = code or getattr(error, "exit_code", 1)
            print(f"error: {_reason(error, image)}", file=sys.stderr)
            continue
        if table is not None:
            folder = Path(image).parent.name
            true = (folder if folder in classes else "",) if classes else ()
            table.writerow((name_text(image), *true, *_columns(prediction, labels)))
        else:
            print(line_of(str(image), prediction, options.top, as_json=options.json))
    return code


def _columns(prediction: Prediction, labels: Sequence[str]) -> Iterator[str]:
    """Yield what a row of CSV says of a prediction."""
    yield from (prediction.label, labels[prediction.index], f"{prediction.score:.6f}")
    yield str(prediction.known).lower()
    away = () if prediction.distance is None else (prediction.distance,)
    yield from (f"{each:.6f}" for each in (*away, *prediction.scores))


def _reason(error: HemlineError | MemoryError, name: str) -> str:
    return described(error) if isinstance(error, HemlineError) else f"{name} {NO_MEMORY}"


def _classified(classifier: Classifier, path: Path, show: Show | None) -> Prediction:
    if show is None:
        return classifier.classify(path)
    from hemline.pictures.images import read_picture

    picture = read_picture(path, _side(classifier))
    try:
        seen = classifier.prepare(picture)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    prediction = classifier.classify(seen)
    show(path.stem, picture, seen, prediction)
    return prediction


def _classify_frames(
    classifier: Classifier, frames: Iterator[Frame], options: argparse.Namespace, show: Show | None
) -> int:
    """Print a line of JSON for each frame; return 1 when one could not be read."""
    code = 0
    for number, frame in enumerate(frames):
        document: dict[str, Any] = {"frame": number}
        if frame.image is not None:
            document["image"] = frame.image
        try:
            if frame.pixels is None:
                raise frame.error or HemlineError("the frame has no pixels")
            seen = classifier.prepare(frame.pixels)
            prediction = classifier.classify(seen)
            document |= _fields(prediction, options.top)
            if show is not None:
                name = "frame" if frame.image is None else Path(frame.image).stem
                show(name, frame.pixels, seen, prediction)
        except (HemlineError, MemoryError) as error:
            code, document["error"] = 1, _reason(error, "the frame")
        print(json.dumps(document, allow_nan=False), flush=True)
        if number + 1 == options.count:
            break
    return code


@contextlib.contextmanager
def _frames(classifier: Classifier, options: argparse.Namespace) -> Iterator[Iterator[Frame]]:
    """Yield the frames of the stream that was asked for."""
    from hemline.runtime.input import streams

    if options.images:
        spec = classifier.stamp.input
        raw = None if options.raw is None else streams.raw_format(options.raw, spec)
        yield streams.from_bytes(streams.standard_input(), raw, _side(classifier))
    elif options.watch is not None:
        from hemline.runtime.input.watched_folder import watched

        with streams.until_stopped() as wait:
            yield watched(options.watch, wait, _side(classifier))
    else:
        from hemline.runtime.input.camera import camera_frames, video_frames

        if options.video is not None:
            yield video_frames(options.video)
            return
        with streams.until_stopped() as wait:
            yield camera_frames(options.camera, wait)


@contextlib.contextmanager
def _monitored(
    options: argparse.Namespace, classifier: Classifier, show: Show | None
) -> Iterator[Show | None]:
    """Yield what also counts a prediction, where a folder for that is named."""
    if options.monitor is None:
        yield show
        return
    from hemline.runtime.monitoring import Monitor

    with Monitor(options.monitor, classifier.stamp, options.keep_unsure or 0) as monitor:
        if options.keep_unsure and not options.quiet:
            print(f"note: images are stored in {monitor.folder}", file=sys.stderr)

        def count_and_show(name: str, image: Pixels, seen: Pixels, prediction: Prediction) -> None:
            monitor.add([prediction], [seen])
            monitor.save_when_due()
            if show is not None:
                show(name, image, seen, prediction)

        yield count_and_show


def _side(classifier: Classifier) -> int:
    """Return the longer side of the model, in pixels."""
    return max(classifier.stamp.input.height, classifier.stamp.input.width)


def _shown(options: argparse.Namespace) -> Show | None:
    """Return what draws a prediction into the folder of --show."""
    if options.show is None:
        return None
    from hemline.runtime.input.album import Album

    album = Album(options.show)

    def show(name: str, image: Pixels, seen: Pixels, prediction: Prediction) -> None:
        best = prediction.top(options.top)
        texts = [f"{label} {100 * score:.1f} %" for label, score in best]
        headline = texts.pop(0) if prediction.known else prediction.label
        album.add(name, image, seen, f"{headline}\n{', '.join(texts)}")

    return show


def line_of(image: str, prediction: Prediction, top: int, *, as_json: bool) -> str:
    """Return one line for one image."""
    if as_json:
        return json.dumps({"image": image, **_fields(prediction, top)}, allow_nan=False)
    best = prediction.top(top)
    others = ", ".join(f"{label} {100 * score:.1f} %" for label, score in best)
    label = f"{UNKNOWN} (class)" if prediction.label == UNKNOWN else prediction.label
    found = f"{label} {100 * prediction.score:.1f} %"
    if prediction.distance is not None:
        found += f", distance {prediction.distance:.1f}"
    if not prediction.known:
        found = f"{UNKNOWN}: {prediction.why_unknown}"
    return f"{name_text(image)}: {found}  (top {len(best)}: {others})"


def name_text(name: str) -> str:
    """Return a file's name, which need not be text, for a terminal or a table, which want it."""
    return name.encode(errors="replace").decode()


def _fields(prediction: Prediction, top: int) -> dict[str, Any]:
    return documents_of([prediction], top)[0]


def documents_of(predictions: Sequence[Prediction], top: int) -> list[dict[str, Any]]:
    """Return what JSON says of predictions, all of one classifier, with the best `top` classes."""
    return [
        {
            "label": prediction.label,
            "index": prediction.index,
            "score": _number(prediction.score),
            "known": prediction.known,
            **({} if prediction.distance is None else {"distance": _number(prediction.distance)}),
            "top": [{"label": label, "score": _number(score)} for label, score in best],
        }
        for prediction, best in zip(predictions, best_of(predictions, top), strict=True)
    ]


def _number(score: float) -> float | None:
    """Return a score for JSON, which has no NaN: null where a model gives one."""
    return round(score, 6) if math.isfinite(score) else None
