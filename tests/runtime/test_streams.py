"""Every whole frame of a stream gets one line, in order, as soon as it has come."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from patience import HANG_SECONDS
from PIL import Image

from hemline.contract.specs import InputSpec
from hemline.data.datasets import Images
from hemline.errors import BackendError, DataError, UsageError
from hemline.pictures.netpbm import read_netpbm
from hemline.remedies import described
from hemline.runtime.commands import classify
from hemline.runtime.input import frames as frames_module
from hemline.runtime.input.frames import image_frames, raw_frames
from hemline.runtime.input.streams import from_bytes, raw_format
from hemline.runtime.input.watched_folder import watched

GRAY = InputSpec(height=28, width=28, channels=1, dtype="uint8")
COLOUR = InputSpec(height=20, width=30, channels=3, dtype="uint8")
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def packed(kind: str, pixels: np.ndarray, **options: object) -> bytes:
    """Return an image file of a kind that pillow knows, or .npy."""
    stream = io.BytesIO()
    if kind == "NPY":
        np.save(stream, pixels)
    else:
        Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def thumbnailed() -> bytes:
    """Return a JPEG that has another JPEG inside, as cameras write them."""
    inside = b"Exif\0\0" + packed("JPEG", PIXELS[:20, :20])
    whole = packed("JPEG", PIXELS)
    return whole[:2] + b"\xff\xe1" + (len(inside) + 2).to_bytes(2, "big") + inside + whole[2:]


KINDS = {
    "png": packed("PNG", PIXELS),
    "gray png": packed("PNG", PIXELS[..., 0]),
    "jpeg": packed("JPEG", PIXELS),
    "progressive jpeg": packed("JPEG", PIXELS, progressive=True),
    "jpeg with restarts": packed("JPEG", PIXELS, restart_marker_blocks=2),
    "jpeg with a thumbnail": thumbnailed(),
    "ppm": packed("PPM", PIXELS),
    "pgm": packed("PPM", PIXELS[..., 0]),
    "commented pgm": b"P5\n# a # comment\n80 # wide\n 60\n255\n" + PIXELS[..., 0].tobytes(),
    "npy": packed("NPY", PIXELS),
    "fortran npy": packed("NPY", np.asfortranarray(PIXELS)),
}


def reader(content: bytes, piece: int = 1 << 20) -> Callable[[int], bytes]:
    """Return what reads content in pieces, as a slow pipe gives it."""
    stream = io.BytesIO(content)
    return lambda count: stream.read(min(count, piece))


def cut(content: bytes, piece: int = 1 << 20) -> list[bytes | str]:
    """Return the frames of a stream; errors as their messages."""
    frames = image_frames(reader(content, piece))
    return [each if isinstance(each, bytes) else described(each) for each in frames]


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
def test_images_of_every_kind_follow_one_another(piece: int) -> None:
    assert cut(b"".join(KINDS.values()), piece) == list(KINDS.values())


@pytest.mark.parametrize("name", KINDS)
def test_a_frame_is_given_when_its_last_byte_has_come(name: str) -> None:
    """What is behind it is not asked for."""
    content = KINDS[name]
    pieces = iter([content[:-1], content[-1:]])
    frames = image_frames(lambda _: next(pieces))
    assert next(frames) == content
    with pytest.raises(RuntimeError):  # the pieces ended: only now more was asked for
        next(frames)


@pytest.mark.parametrize("padding", [b"\n", b"\0" * 5000, b" \r\n\0"])
def test_padding_between_frames_is_no_frame(padding: bytes) -> None:
    content = padding.join(KINDS.values()) + padding
    assert cut(content, 100) == list(KINDS.values())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
def test_a_last_frame_that_is_cut_short_is_told(name: str, share: float) -> None:
    content = KINDS[name]
    whole, broken, *more = cut(KINDS["png"] + content[: max(3, int(share * len(content)))])
    assert whole == KINDS["png"]
    assert isinstance(broken, str)
    assert more == [] or "thumbnail" in name  # that is a JPEG of its own


@pytest.mark.parametrize("name", ["png", "jpeg", "progressive jpeg", "jpeg with a thumbnail"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.7, 0.999])
def test_behind_a_frame_that_is_cut_short_the_next_one_is_found(name: str, share: float) -> None:
    content = KINDS[name]
    broken, *others = cut(content[: max(8, int(share * len(content)))] + KINDS[name] * 2)
    assert isinstance(broken, str)
    assert others[-2:] == [content, content]


def test_every_cut_of_a_jpeg_leaves_the_next_ones_alone() -> None:
    content = KINDS["jpeg"]
    for size in range(3, len(content), 5):
        broken, *others = cut(content[:size] + content * 3)
        assert isinstance(broken, str)
        assert others[-3:] == [content] * 3, size


@pytest.mark.parametrize("place", [30, 300, 3000])
def test_a_flipped_bit_spoils_one_png_only(place: int) -> None:
    damaged = bytearray(KINDS["png"])
    damaged[place] ^= 4
    assert cut(bytes(damaged) + KINDS["jpeg"]) == ["a damaged PNG", KINDS["jpeg"]]


def test_what_is_no_image_is_told_once() -> None:
    garbage = b"GIF89a" + bytes(range(1, 200)) * 3000
    told, frame = cut(garbage + KINDS["png"], 1000)
    assert f"{len(garbage)} bytes are not an image format for streams" in str(told)
    assert frame == KINDS["png"]
    (told,) = cut(garbage)
    assert str(told).endswith("(PNG, JPEG, PGM, PPM or .npy); raw pixels need --raw")
    assert cut(b"") == []


def test_random_bytes_end_in_errors_only() -> None:
    random = np.random.default_rng(7)
    starts = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x93NUMPY\x01\0", b"P5 ", b"P6\n", b""]
    for round_ in range(300):
        content = starts[round_ % len(starts)] + random.bytes(int(random.integers(1, 3000)))
        assert all(isinstance(x, str) for x in cut(content)), round_


def test_a_frame_that_says_it_is_too_large_is_skipped_and_never_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames_module, "LARGEST_BYTES", 50_000)
    large = b"P5 300 200 255\n" + bytes(60_000)
    npy = packed("NPY", np.zeros((300, 200), np.uint8))
    small = KINDS["pgm"]
    first, one, second, two = cut(large + small + npy + small)
    assert first == "the frame has 60015 bytes, but at most 50000 can be read"
    assert "but at most" in str(second)
    assert one == two == small
    assert "and it is truncated" in str(cut(large[:-1])[0])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_frame_that_does_not_end_is_given_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    large = packed(kind, np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    monkeypatch.setattr(frames_module, "LARGEST_BYTES", len(large) // 2)
    told, frame = cut(large + KINDS["pgm"])
    assert "the frame is longer than" in str(told)
    assert frame == KINDS["pgm"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY\x01\x00\x10\x00{'descr': '|u1'}",
        b"\x93NUMPY\x01\x00\x46\x00"
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-5, 5), }         \n",
        b"\x93NUMPY\x01\x00\x46\x00" + b"(" * 70,
        b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535,
        b"P5 0 5 255\n",
        b"P5 5 5 70000\n",
        b"P6 five",
        b"P5 #" + b"x" * 9000,
        b"P5 1234567890 5 255\n",
    ],
)
def test_a_header_that_lies_is_told(content: bytes) -> None:
    told, *others = cut(content + b"\n" + KINDS["png"])
    assert "damaged" in str(told)
    assert others == [KINDS["png"]]


def test_pickled_objects_are_refused() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    told, frame = cut(stream.getvalue() + KINDS["png"])
    assert "never loaded" in str(told)
    assert frame == KINDS["png"]


@pytest.mark.parametrize("largest", [1, 15, 255, 256, 1023, 4095, 65535])
def test_samples_of_other_widths_are_brought_to_bytes(largest: int) -> None:
    values = np.linspace(0, largest, 24).round().astype(np.uint16).reshape(4, 6)
    content = values.astype(">u2" if largest > 255 else np.uint8).tobytes()
    pixels = read_netpbm(b"P5 6 4 %d\n%b" % (largest, content))
    expected = np.rint(values * 255.0 / largest)
    assert np.abs(pixels[..., 0] - expected).max() <= (0 if largest in (1, 15, 255, 65535) else 1)


def test_raw_frames_are_cut_by_their_size() -> None:
    content = bytes(range(256)) * 7
    for piece in (1, 100, 10_000):
        assert b"".join(raw_frames(reader(content, piece), 256)) == content  # type: ignore[arg-type]
    *whole, last = raw_frames(reader(content[:-6]), 256)
    assert len(whole) == 6
    assert str(last) == "the last frame has 250 of 256 bytes"


@pytest.mark.parametrize(
    ("text", "spec", "expected"),
    [
        ("", GRAY, (28, 28, 1, 784)),
        ("", COLOUR, (20, 30, 3, 1800)),
        ("640x480", GRAY, (480, 640, 1, 307_200)),
        ("640x480x3", GRAY, (480, 640, 3, 921_600)),
        ("640x480x1", COLOUR, (480, 640, 1, 307_200)),
        ("640x480:yuv420", GRAY, (480, 640, 1, 460_800)),
        ("5x3:yuv420", GRAY, (3, 5, 1, 15 + 2 * 6)),
    ],
)
def test_a_size_of_raw_frames_is_read(text: str, spec: InputSpec, expected: object) -> None:
    raw = raw_format(text, spec)
    assert (raw.height, raw.width, raw.channels, raw.size_bytes) == expected
    (frame,) = from_bytes(reader(bytes(raw.size_bytes)), raw)
    assert frame.pixels is not None
    assert frame.pixels.shape == (raw.height, raw.width, raw.channels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("640", "not a size of raw frames"),
        ("0x480", "not a size of raw frames"),
        ("640x480x2", "not a size of raw frames"),
        ("640x480:nv12", "not a size of raw frames"),
        ("99999x99999", "at most 67108864 bytes"),
    ],
)
def test_a_size_that_is_none_is_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        raw_format(text, GRAY)


def test_colour_is_not_read_from_planes() -> None:
    with pytest.raises(UsageError, match="this model needs colour"):
        raw_format("640x480:yuv420", COLOUR)


def test_a_frame_that_cannot_be_decoded_stops_no_other() -> None:
    spoilt = bytearray(KINDS["jpeg"])
    spoilt[170:175] = b"\xff" * 5  # in its first table: whole, but no image
    bomb = packed("PNG", np.zeros((1, 1), np.uint8))
    content = [KINDS["png"], packed("NPY", PIXELS.astype(float)), KINDS["jpeg"], bomb]
    kinds = [frame.error is None for frame in from_bytes(reader(b"".join(content)), None)]
    assert kinds == [True, True, True, True]  # a float array is decoded; the model refuses it
    errors = [f.error for f in from_bytes(reader(bytes(spoilt) + KINDS["png"]), None)]
    assert errors[0] is not None
    assert errors[-1] is None


def test_a_missing_library_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame would fail in the same way."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    frames = from_bytes(reader(KINDS["ppm"] + KINDS["png"]), None)
    assert next(frames).error is None
    with pytest.raises(BackendError, match=r"reading the frame needs pillow: pip install"):
        next(frames)


# The command, in processes of its own


@pytest.fixture(scope="module")
def model(bundle: Path) -> Path:
    return bundle / "int8.tflite"


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Start `classify` with a pipe at each end."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-m", "hemline.runtime", "classify", *map(str, arguments)]
    return subprocess.Popen(command, **{**pipes, **options})  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return what starts `classify` and is sure that it ends."""
    with contextlib.ExitStack() as stack:

        def run(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
            process = stack.enter_context(start(*arguments, **options))
            stack.callback(process.kill)
            return process

        yield run


def finished(process: subprocess.Popen[bytes], content: bytes = b"") -> tuple[int, list[dict], str]:
    """Return exit code, the answers, and standard error, in which there is no traceback."""
    output, errors = process.communicate(content, timeout=HANG_SECONDS)
    assert b"Traceback" not in errors, errors.decode()
    return process.returncode, parsed(output.splitlines()), errors.decode()


def parsed(lines: Sequence[bytes]) -> list[dict]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_raw_frames_get_the_right_labels_in_order(started, model: Path, images: Images) -> None:
    pixels = images.test_images[:50]
    code, answers, errors = finished(started(model, "-", "--raw"), pixels.tobytes())
    assert (code, errors) == (0, "")
    assert [answer["frame"] for answer in answers] == list(range(50))
    right = np.mean(
        [a["index"] == label for a, label in zip(answers, images.test_labels[:50], strict=True)]
    )
    assert right > 0.9
    assert list(answers[0]) == ["frame", "label", "index", "score", "known", "top"]
    assert len(answers[0]["top"]) == 3


def test_every_kind_of_frame_gets_the_same_label(started, model: Path, images: Images) -> None:
    pixels = images.test_images[0, :, :, 0]
    kinds = [("PNG", {}), ("JPEG", {"quality": 100}), ("PPM", {}), ("NPY", {})]
    content = b"".join(packed(kind, pixels, **options) for kind, options in kinds)
    code, answers, _ = finished(started(model, "-"), content)
    assert code == 0
    assert [a["index"] for a in answers] == [int(images.test_labels[0])] * 4


def test_a_bad_frame_is_told_in_its_place(started, model: Path) -> None:
    content = KINDS["png"] + packed("NPY", PIXELS.astype(float)) + KINDS["jpeg"][:-50]
    code, answers, errors = finished(started(model, "-", "--top", "1"), content + KINDS["pgm"])
    assert (code, errors) == (1, "")
    assert ["error" in answer for answer in answers] == [False, True, True, False]
    assert [answer["frame"] for answer in answers] == [0, 1, 2, 3]
    assert "convert it first" in answers[1]["error"]


def test_a_frame_is_answered_before_the_next_one_comes(started, model: Path) -> None:
    process = started(model, "-")
    for number, name in enumerate(["jpeg", "png", "pgm"]):
        process.stdin.write(KINDS[name][:-1])
        process.stdin.flush()
        time.sleep(0.05)
        process.stdin.write(KINDS[name][-1:])
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["frame"] == number
    assert finished(process)[0] == 0


@pytest.mark.medium
def test_a_slow_reader_loses_nothing(started, model: Path) -> None:
    """A full pipe holds 64 kB: 2,000 answers are more."""
    process = started(model, "-", "--raw")
    feeder = threading.Thread(target=lambda: (process.stdin.write(bytes(784) * 2000),
                                              process.stdin.close()))  # fmt: skip
    feeder.start()
    time.sleep(1.0)
    lines = process.stdout.readlines()
    feeder.join()
    assert [answer["frame"] for answer in parsed(lines)] == list(range(2000))
    assert process.wait(HANG_SECONDS) == 0


def test_a_reader_that_leaves_ends_it_quietly(started, model: Path) -> None:
    process = started(model, "-", "--raw")
    process.stdin.write(bytes(784))
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(bytes(784) * 100)
        process.stdin.close()
    assert process.wait(HANG_SECONDS) == 1
    assert process.stderr.read() == b""


def test_closed_streams_end_it_quietly(model: Path) -> None:
    command = f"{sys.executable} -m hemline.runtime classify {model} -"
    for closed, code, message in (
        ("<&-", 2, "standard input is closed"),
        (">&- </dev/null", 1, ""),
    ):
        done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, text=True)
        assert done.returncode == code
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == bool(message)


def test_an_interruption_ends_it_without_a_traceback(started, model: Path) -> None:
    process = started(model, "-", "--raw")
    process.stdin.write(bytes(784))
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(HANG_SECONDS) == 130
    assert process.stderr.read() == b""


def test_a_count_ends_a_stream(started, model: Path) -> None:
    code, answers, _ = finished(started(model, "-", "--raw", "--count", 3), bytes(784) * 9)
    assert (code, len(answers)) == (0, 3)


def test_no_number_of_json_is_infinite(bundle: Path, tmp_path: Path) -> None:
    from hemline.runtime.classification import _number

    assert _number(float("nan")) is None
    assert _number(float("inf")) is None
    assert _number(0.25) == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to classify: name images, - for standard input, --watch, --camera or"),
        (("-", "a.png"), "- means standard input: name it alone"),
        (("a.png", "--raw"), "--raw describes frames on standard input"),
        (("a.png", "--watch", "b"), "--watch and images cannot be combined"),
        (("--watch", "b", "--camera", "0"), "--watch and --camera cannot be combined"),
        (("a.png", "--count", "3"), "--count limits a stream"),
        (("-", "--raw", "3x"), "'3x' is not a size of raw frames"),
        (("-", "--preprocess", "strech"), "did you mean 'stretch'?"),
        (("-", "--count", "0"), "'0' is not a whole number from 1"),
    ],
)
def test_a_wrong_request_is_one_line(
    started, model: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, answers, errors = finished(started(model, *arguments))
    assert (code, answers) == (2, [])
    assert message in errors
    assert len(errors.splitlines()) == 1


def resident_kb(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


@pytest.mark.medium
@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_stays_as_it_is_over_many_frames(started, model: Path, count: int) -> None:
    """The first frames warm caches up; what comes behind may not add 2 MB: 20 to 200 bytes each."""
    process = started(model, "-", "--raw")
    block = np.random.default_rng(0).integers(0, 256, (1000, 784), np.uint8).tobytes()
    sizes = []
    for _ in range(count // 1000):
        feeder = threading.Thread(target=lambda: (process.stdin.write(block),
                                                  process.stdin.flush()))  # fmt: skip
        feeder.start()
        for _ in range(1000):
            line = process.stdout.readline()
        feeder.join()
        sizes.append(resident_kb(process))
    assert json.loads(line)["frame"] == count - 1
    assert finished(process)[0] == 0
    assert sizes[-1] - sizes[1] <= 2048, sizes


@pytest.mark.slow
def test_memory_stays_as_it_is_over_many_jpegs(started, model: Path) -> None:
    process = started(model, "-")
    block = packed("JPEG", np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)) * 50
    sizes = []
    for _ in range(20):
        feeder = threading.Thread(target=lambda: (process.stdin.write(block),
                                                  process.stdin.flush()))  # fmt: skip
        feeder.start()
        for _ in range(50):
            process.stdout.readline()
        feeder.join()
        sizes.append(resident_kb(process))
    assert finished(process)[0] == 0
    assert sizes[-1] - sizes[2] <= 4096, sizes


def test_what_the_model_saw_is_drawn_for_each_frame(started, model: Path, tmp_path: Path) -> None:
    content = KINDS["png"] + b"no image" + KINDS["pgm"]
    code, answers, _ = finished(started(model, "-", "--show", tmp_path / "shown"), content)
    assert (code, len(answers)) == (1, 3)
    names = sorted(path.name for path in (tmp_path / "shown").iterdir())
    assert names == ["000000-frame.png", "000001-frame.png"]


def test_a_pause_of_a_pipe_that_does_not_block_is_no_end(model: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [sys.executable, "-m", "hemline.runtime", "classify", str(model), "-", "--raw"]
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE) as process:
        os.close(reading)
        os.write(writing, bytes(784))
        assert json.loads(process.stdout.readline())["frame"] == 0  # type: ignore[union-attr]
        time.sleep(0.2)
        os.write(writing, bytes(784))
        os.close(writing)
        assert json.loads(process.stdout.readline())["frame"] == 1  # type: ignore[union-attr]
    assert process.returncode == 0


def test_with_a_closed_stderr_answers_stay_clean(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((28, 28), np.uint8))
    runtime = [sys.executable, "-m", "hemline.runtime", "classify", str(model), "none.npy", "a.npy"]
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *runtime, "--json"]
    done = subprocess.run(closing, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == ["a.npy"]


def test_a_file_whose_name_begins_with_a_dash(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((28, 28), np.uint8))
    (tmp_path / "x.npy").rename(tmp_path / "-x.npy")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(classify, ["--json", str(model), "--", "-x.npy"])
    assert (done.exit_code, "-x.npy" in done.output) == (0, True)


# A folder


def collect(process: subprocess.Popen[bytes], count: int) -> list[dict]:
    return parsed([process.stdout.readline() for _ in range(count)])  # type: ignore[union-attr]


@pytest.mark.medium
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_folder_is_watched_until_a_signal(
    started, model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "old.png").write_bytes(KINDS["png"])
    (folder / "notes.txt").write_text("no image")
    process = started(model, "--watch", folder)
    assert [a["image"] for a in collect(process, 1)] == [str(folder / "old.png")]
    (tmp_path / "new.jpg").write_bytes(KINDS["jpeg"])
    (tmp_path / "new.jpg").rename(folder / "new.jpg")
    assert [a["image"] for a in collect(process, 1)] == [str(folder / "new.jpg")]
    (folder / "old.png").write_bytes(KINDS["gray png"])
    answers = collect(process, 1)
    assert answers[0]["image"] == str(folder / "old.png")
    assert answers[0]["frame"] == 2
    process.send_signal(number)
    assert finished(process) == (0, [], "")


def test_a_watched_folder_that_goes_away_is_told(started, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(KINDS["png"])
    process = started(model, "--watch", folder)
    assert "label" in collect(process, 1)[0]
    shutil.rmtree(folder)
    code, _, errors = finished(process)
    assert code == 1
    assert errors == f"error: cannot watch {folder}: no such file or directory\n"


class Looks:
    """Stands for time: does something between two looks, and ends behind the last of them."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)

    def __call__(self, seconds: float) -> bool:
        if not seconds:
            return False
        if not self.steps:
            return True
        self.steps.pop(0)()
        return False


def nothing() -> None:
    return None


def test_a_file_that_grows_is_waited_for(tmp_path: Path) -> None:
    path, content = tmp_path / "a.png", KINDS["png"]
    steps = [
        lambda: path.write_bytes(b""),
        nothing,
        nothing,
        lambda: path.write_bytes(content[:100]),
        lambda: path.write_bytes(content[:900]),
        lambda: path.write_bytes(content),
        nothing,
        nothing,
        nothing,
    ]
    frames = list(watched(tmp_path, Looks(*steps)))
    assert [frame.error for frame in frames] == [None]


def test_a_file_that_was_replaced_or_came_back_is_answered_again(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    other = tmp_path / "b.part"
    path.write_bytes(KINDS["pgm"])
    stamp = path.stat().st_mtime_ns

    def replace() -> None:
        """Same name, same size, same time."""
        other.write_bytes(KINDS["pgm"])
        os.utime(other, ns=(stamp, stamp))
        other.replace(path)

    again = [path.unlink, nothing, lambda: path.write_bytes(KINDS["pgm"])]
    steps = [nothing, nothing, replace, nothing, nothing, *again, nothing, nothing]
    assert len(list(watched(tmp_path, Looks(*steps)))) == 3


def test_only_images_in_the_folder_are_answered_oldest_first(tmp_path: Path) -> None:
    for at, name in enumerate(["c.PGM", "a.npy", ".hidden.pgm", "b.txt", "b.pgm"]):
        (tmp_path / name).write_bytes(KINDS["pgm"] if "npy" not in name else KINDS["npy"])
        os.utime(tmp_path / name, (1000 + at, 1000 + at))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    frames = list(watched(tmp_path, Looks(nothing, nothing)))
    assert [Path(str(frame.image)).name for frame in frames] == ["c.PGM", "a.npy", "b.pgm"]
    assert all(frame.error is None for frame in frames)


def test_a_file_that_cannot_be_read_is_answered_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    (frame,) = watched(tmp_path, Looks(nothing, nothing))
    assert isinstance(frame.error, DataError)
    assert frame.image == str(tmp_path / "a.png")


# A camera: OpenCV has the camera, so a small module stands for it where there is none

CV2 = '''
import os, time
import numpy as np
class error(Exception): pass
class VideoCapture:
    """Opens camera 0, gives 3 frames of blue, none for a moment, one more, and is gone."""
    def __init__(self, source):
        if source == "broken":
            raise error("it is\\nbroken")
        self.open, self.count = source in (0, "film.avi"), 0
        self.reads = [1, 1, 1, *([0] if source == 0 else []), 1]
        if os.environ.get("ENDLESS"):
            self.reads = [1] * 100_000
    def isOpened(self): return self.open
    def read(self):
        if os.environ.get("ENDLESS"):
            time.sleep(0.01)
        if not self.reads or not self.reads.pop(0): return False, None
        frame = np.zeros((28, 28, 3), np.uint8)
        frame[..., 0] = 255
        return True, frame
    def release(self): pass
'''


@pytest.fixture
def camera(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which a small module stands for OpenCV."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "cv2.py").write_text(CV2)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "fake")}


@pytest.mark.medium
def test_a_camera_that_goes_away_is_told_and_its_answers_stay(started, model, camera) -> None:
    code, answers, errors = finished(started(model, "--camera", "0", env=camera))
    assert [answer["frame"] for answer in answers] == [0, 1, 2, 3]
    assert errors.startswith("error: camera 0 is gone: no frame in 10 tries")
    assert (code, len(errors.splitlines())) == (1, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_is_read_until_a_signal(started, model, camera, number) -> None:
    process = started(model, "--camera", "0", env={**camera, "ENDLESS": "1"})
    collect(process, 3)
    process.send_signal(number)
    code, answers, errors = finished(process)
    assert (code, errors) == (0, "")
    assert [answer["frame"] for answer in answers] == list(range(3, 3 + len(answers)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("7", "cannot open camera 7: it is not connected, or another program uses it"),
        ("broken", "cannot open camera broken: it is broken"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_told(started, model, camera, source, message) -> None:
    code, answers, errors = finished(started(model, "--camera", source, env=camera))
    assert (code, answers, errors) == (1, [], f"error: {message}\n")


def test_a_video_ends_with_its_last_frame(started, model, camera) -> None:
    code, answers, errors = finished(started(model, "--video", "film.avi", env=camera))
    assert (code, len(answers), errors) == (0, 4, "")


def test_red_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from hemline.runtime.input.camera import video_frames

    module = types.ModuleType("cv2")
    exec(CV2, vars(module))  # noqa: S102 — our own stand-in
    monkeypatch.setitem(sys.modules, "cv2", module)
    frame = next(video_frames("film.avi"))
    assert frame.pixels is not None
    assert frame.pixels[0, 0].tolist() == [0, 0, 255]


def test_without_opencv_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from hemline.runtime.input.camera import video_frames

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendError, match=r"needs OpenCV: pip install opencv-python-headless"):
        next(video_frames("film.avi"))


def test_a_real_video_is_read_by_the_real_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is an extra of its own")
    from hemline.runtime.input.camera import video_frames

    fourcc = cv2.VideoWriter_fourcc(*"MJPG")
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), fourcc, 10, (64, 48))
    for _ in range(12):
        film.write(np.full((48, 64, 3), (250, 0, 0), np.uint8))  # blue
    film.release()
    frames = [frame.pixels for frame in video_frames(str(tmp_path / "film.avi"))]
    assert len(frames) == 12
    assert np.abs(frames[0][20, 20].astype(int) - [0, 0, 250]).max() < 12
    (tmp_path / "none.avi").write_bytes(b"no video")
    with pytest.raises(DataError, match="none.avi"):
        next(video_frames(str(tmp_path / "none.avi")))
