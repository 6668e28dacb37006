"""The page of a web pack in real browsers: Python's pixels and labels, offline, in one file."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import find_browser, opened_browser
from PIL import Image
from required import missing

from hemline.contract.stamp import read_stamped, stamp_tflite
from hemline.errors import HemlineError
from hemline.export.pack.packed import PackOptions
from hemline.export.pack.packing import choose, write_pack
from hemline.export.pack.table import TARGETS
from hemline.pictures.images import read_image, read_picture
from hemline.pictures.pixels import Pixels
from hemline.runtime.classifier import Classifier
from hemline.runtime.page.writing import ClassifyingPage, write_page
from hemline.runtime.similar.building import build
from hemline.runtime.similar.embedding import embed
from hemline.runtime.similar.image_index import ImageIndex
from hemline.runtime.similar.page_images import page_images

pytestmark = pytest.mark.browser
UNKNOWN_PHOTO, STRETCHED = "unknown", "stretched"
SEEN = """() => {
  const seen = document.getElementById('seen');
  const { data } = seen.getContext('2d').getImageData(0, 0, seen.width, seen.height);
  return Array.from(data).filter((_, at) => at % 4 === 0);
}"""
# posts what is shown, and holds the page's load event, and with it Firefox's screenshot, until then
REPORTER = b"""
const post = async () => {
  const { state, shown } = document.documentElement.dataset;
  if (!shown && state !== 'failed') return setTimeout(post, 50);
  const [label, top] = ['label', 'top'].map((id) => document.getElementById(id).textContent);
  return fetch('report', { method: 'POST', body: JSON.stringify({ state, label, top }) });
};
post();
"""


class Site(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with the types that an ordinary host knows."""

    reported: threading.Event
    report: dict[str, str]

    def do_GET(self) -> None:
        if self.path.endswith("/held"):
            self.reported.wait(60)
            return self.send_error(404)
        if self.path.endswith("/reporter.js"):
            return self._send(REPORTER, "text/javascript")
        if self.path.endswith("/reporting.html"):
            index = Path(self.translate_path(self.path)).with_name("index.html").read_bytes()
            added = b'<script src="reporter.js"></script><img src="held" alt="" hidden></body>'
            return self._send(index.replace(b"</body>", added), "text/html")
        return super().do_GET()

    def do_POST(self) -> None:
        self.report.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.reported.set()
        self._send(b"", "text/plain")

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def served(folder: Path) -> http.server.ThreadingHTTPServer:
    """Return a running server of a folder; its handler keeps what a page posts."""

    class Own(Site):
        reported, report = threading.Event(), {}

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Own, directory=str(folder))
    )
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


@pytest.fixture(scope="module")
def folder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with pages: of a pack, in a single file, with other stamps, of an .onnx."""
    root = tmp_path_factory.mktemp("pages")
    try:
        for name, options in {
            "pack": PackOptions(artifact="int8.tflite"),
            "single": PackOptions(artifact="int8.tflite", single_file=True),
            "onnx": PackOptions(artifact="int8.onnx"),
        }.items():
            write_pack(choose(bundle, TARGETS["web"], options), root / name)
        stamp, model = read_stamped(bundle / "int8.tflite")
        for name, changes in {
            STRETCHED: {"preprocessing": "stretch"},
            UNKNOWN_PHOTO: {"unknown_threshold": 1.0, "labels": ("unknown", *stamp.labels[1:])},
        }.items():
            other = dataclasses.replace(stamp, **changes)
            page = ClassifyingPage(title="A & B", artifact=stamp_tflite(model, other), stamp=other)
            (root / name).mkdir()
            write_page(root / name, page)
    except HemlineError as error:
        missing("browser", str(error))
    return root


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    server = served(folder)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video, for a camera that is not there: a dark box on a light wall."""
    frame = np.full((480, 640), 220, np.uint8)
    frame[120:360, 200:440] = 60
    colour = np.full(480 * 640 // 2, 128, np.uint8).tobytes()
    path = tmp_path_factory.mktemp("camera") / "box.y4m"
    head = b"YUV4MPEG2 W640 H480 F15:1 Ip A1:1 C420jpeg\n"
    path.write_bytes(head + (b"FRAME\n" + frame.tobytes() + colour) * 4)
    return path


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Any]:
    options = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",  # which allows it
        f"--use-file-for-fake-video-capture={camera}",
    )
    try:
        with opened_browser(*options) as found:
            yield found
    except HemlineError as error:
        missing("browser", str(error))


@contextlib.contextmanager
def another(browser: Any, *options: str) -> Iterator[Any]:
    """Yield a browser with further options, beside the one that is open."""
    path, variables = find_browser()
    environment = {**os.environ, **variables}
    arguments = ["--no-sandbox", *options]
    other = browser.browser_type.launch(executable_path=path, env=environment, args=arguments)
    try:
        yield other
    finally:
        other.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Return a function that opens a page; nothing may go wrong in it that it does not report."""
    contexts, wrong = [], []

    def opened(address: str, *, state: str = "ready", **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.goto(address)
        page.wait_for_selector(f"html[data-state={state}]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def classified(page: Any, path: Path) -> tuple[str, Pixels]:
    """Return the label of a picture in a page, and the pixels that the model saw."""
    shown = int(page.get_attribute("html", "data-shown") or 0)
    page.set_input_files("#file", [str(path)])
    page.wait_for_selector(f'html[data-shown="{shown + 1}"]')
    return page.inner_text("#label"), np.array(page.evaluate(SEEN), np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return pictures in what browsers read: formats, colours, opacity, orientations, sizes."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    y, x = np.mgrid[0:90, 0:130]
    inside = ((y - 50) / 30) ** 2 + ((x - 60) / 45) ** 2 < 1
    base = np.where(inside[..., None], [60, 120, 90], [228, 225, 215]) + random.normal(
        0, 4, (90, 130, 3)
    )
    image = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    opacity = image.copy()
    opacity.putalpha(Image.fromarray((x * 255 // 129).astype(np.uint8)))
    opacity.save(folder / "opacity.png")
    image.save(folder / "colour.png")
    image.convert("L").save(folder / "gray.png")
    image.quantize(64).save(folder / "palette.gif")
    image.save(folder / "lossless.webp", lossless=True)
    image.resize((2900, 2100)).save(folder / "large.png")
    image.resize((28, 28)).save(folder / "size-of-the-model.png")
    image.save(folder / "plain.jpg", quality=90)
    image.convert("L").save(folder / "gray.jpg", quality=90)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(folder / f"turned-{orientation}.jpg", quality=90, exif=exif)
    return sorted(folder.iterdir())


@pytest.mark.smoke
def test_pixels_and_labels_are_those_of_python(
    open_page: Any, site: str, bundle: Path, pictures: list[Path]
) -> None:
    """Lossless formats: one pixel in 10,000 may round another way, by one step, as in node.

    A JPEG decoder may differ by a step of a pixel, which preparing averages or sharpens.
    """
    stamp = read_stamped(bundle / "int8.tflite").stamp
    page, unequal, pixels = open_page(f"{site}/pack/"), 0, 0
    with Classifier.load(bundle / "int8.tflite") as classifier:
        for path in pictures:
            label, seen = classified(page, path)
            expected = read_image(path, stamp.input, stamp.preprocessing)
            difference = np.abs(seen.astype(int) - expected.ravel())
            assert difference.max() <= (8 if path.suffix == ".jpg" else 1), path.name
            if path.suffix != ".jpg":
                unequal, pixels = unequal + np.count_nonzero(difference), pixels + seen.size
            if not difference.any():
                prediction = classifier.classify(expected)
                assert label.lower() == prediction.label.lower(), path.name
                best = page.locator("#top li").all_inner_texts()
                assert [each.split("\n")[0] for each in best] == [
                    name for name, _ in prediction.top(3)
                ]
    assert unequal <= 1e-4 * pixels + 1


def test_a_stretched_picture_has_the_pixels_of_python(
    open_page: Any, site: str, bundle: Path, pictures: list[Path]
) -> None:
    spec = read_stamped(bundle / "int8.tflite").stamp.input
    page = open_page(f"{site}/{STRETCHED}/")
    assert page.inner_text("h1") == "A & B"
    assert page.inner_text("#label") == "No picture yet"  # no examples without published images
    for path in pictures:
        _, seen = classified(page, path)
        difference = np.abs(seen.astype(int) - read_image(path, spec, "stretch").ravel())
        assert difference.max() <= (8 if path.suffix == ".jpg" else 1), path.name


def test_unknown_is_not_a_class_of_that_name(
    open_page: Any, site: str, pictures: list[Path]
) -> None:
    page = open_page(f"{site}/{UNKNOWN_PHOTO}/")
    label, _ = classified(page, pictures[0])
    assert label == "Unknown"
    assert page.inner_text("#note").startswith("Not enough like any class. The closest is ")
    assert page.locator("#result.unknown").count() == 1


def test_a_page_in_a_single_file_opens_from_the_disk(
    open_page: Any, folder: Path, pictures: list[Path]
) -> None:
    files = {path.name for path in (folder / "single").iterdir()}
    assert "index.html" in files
    assert not files & {"page.js", "worker.js", "int8.tflite"}
    page = open_page((folder / "single" / "index.html").as_uri())
    assert classified(page, pictures[0])[1].size == 28 * 28


def test_a_folder_that_is_opened_from_the_disk_says_what_it_needs(
    browser: Any, folder: Path
) -> None:
    page = browser.new_page()
    page.goto((folder / "pack" / "index.html").as_uri())
    page.wait_for_selector("html[data-state=failed]")
    reason = page.inner_text("#empty")
    assert "open it from a server (run python3 -m http.server in this folder)" in reason
    assert reason.endswith("or pack it with --single-file")
    page.close()


def test_a_page_without_javascript_says_only_what_it_needs(browser: Any, site: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/pack/")
    assert page.is_visible("noscript p")
    assert page.is_hidden("main")
    assert page.is_hidden("#state")
    context.close()


def test_many_pictures_have_their_classes_and_the_last_40_are_kept(
    open_page: Any, site: str, pictures: list[Path], tmp_path: Path
) -> None:
    page = open_page(f"{site}/pack/")
    page.wait_for_selector("html[data-shown]")
    examples = page.locator("#pictures li").count()
    small = next(path for path in pictures if path.name == "size-of-the-model.png")
    files = [shutil.copyfile(small, tmp_path / f"{at}.png") for at in range(43)]
    for name in ("broken.png", "cut.png"):
        files.insert(20, tmp_path / name)
        files[20].write_text("not a picture")
    page.set_input_files("#file", [str(path) for path in files])
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == (
        "cut.png cannot be read: use PNG, JPEG, WebP, GIF, AVIF or BMP. 1 more of 45 cannot be used"
    )
    assert page.inner_text("#kept") == "The last 40 of 43 are kept."
    own = page.locator("#pictures li").all_inner_texts()[:-examples]
    label = page.inner_text("#label")
    assert own == [f"{label}\n{at}.png" for at in range(42, 2, -1)]


def test_an_onnx_file_runs_in_a_page_too(open_page: Any, site: str, pictures: list[Path]) -> None:
    pages = [open_page(f"{site}/{name}/") for name in ("onnx", "pack")]
    found = [classified(page, pictures[0]) for page in pages]
    assert found[0][0] == found[1][0]


def test_a_service_has_the_page_of_its_file_in_front(
    open_page: Any, bundle: Path, pictures: list[Path]
) -> None:
    hemline, path = Path(sys.executable).with_name("hemline"), bundle / "int8.tflite"
    command = [hemline, "serve", path, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            found = re.search(r"http://\S+", server.stderr.readline())
            assert found is not None
            page = open_page(f"{found[0]}/")
            assert page.inner_text("h1") == "int8.tflite"
            _, seen = classified(page, pictures[0])
            kind = {"Content-Type": "application/octet-stream"}
            asked = page.request.post(f"{found[0]}/classify", data=seen.tobytes(), headers=kind)
            assert page.inner_text("#label").lower() == asked.json()["label"].lower()
            page.reload()  # what the browser has is not sent again
            page.wait_for_selector("html[data-state=ready]")
        finally:
            server.terminate()


def test_a_page_works_offline_after_the_first_visit(open_page: Any, folder: Path) -> None:
    server = served(folder.parent)  # at a path that is not the host's root
    address = f"http://127.0.0.1:{server.server_port}/{folder.name}/pack/"
    page = open_page(address)
    page.wait_for_selector("#offline:not(:empty)")
    server.shutdown()
    server.server_close()
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("html[data-shown]")
    assert page.inner_text("#offline") == "It also works without a network."


def test_a_new_version_of_a_page_replaces_the_old(
    open_page: Any, folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder / "pack", tmp_path / "site" / "pack")
    server = served(tmp_path / "site")
    page = open_page(f"http://127.0.0.1:{server.server_port}/pack/")
    page.wait_for_selector("#offline:not(:empty)")
    shutil.rmtree(copy)
    shutil.copytree(folder / STRETCHED, copy)
    page.reload()  # from what was kept, while the new one is fetched
    page.click("#update button")
    page.wait_for_selector("h1:has-text('A & B')")
    page.wait_for_selector("html[data-state=ready]")
    assert page.is_hidden("#update")
    assert page.inner_text("h1") == "A & B"
    server.shutdown()
    server.server_close()


def test_a_pasted_and_a_dropped_picture_are_classified(
    open_page: Any, site: str, pictures: list[Path]
) -> None:
    page = open_page(f"{site}/pack/")
    content = list(next(path for path in pictures if path.name == "colour.png").read_bytes())
    for kind in ("paste", "drop"):
        shown = int(page.get_attribute("html", "data-shown"))
        page.evaluate(
            """([kind, content]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(content)], 'a.png', { type: 'image/png' }));
              const event = kind === 'paste' ? new ClipboardEvent(kind, { clipboardData: data })
                : new DragEvent(kind, { dataTransfer: data, cancelable: true });
              document.dispatchEvent(event);
            }""",
            [kind, content],
        )
        page.wait_for_selector(f'html[data-shown="{shown + 1}"]')
    text = page.locator("#pictures li").first.inner_text()
    assert text == f"{page.inner_text('#label')}\na.png"


def test_frames_of_the_camera_are_classified_until_it_is_stopped(
    open_page: Any, site: str, camera: Path
) -> None:
    page = open_page(f"{site}/pack/")
    page.click("#camera")
    page.wait_for_selector("#live")
    while int(page.get_attribute("html", "data-shown")) < 4:
        page.wait_for_timeout(20)
    assert np.count_nonzero(page.evaluate(SEEN)) > 100
    page.click("#camera")
    page.wait_for_selector("#live", state="hidden")
    assert page.is_visible("#picture")
    page.click("#camera")
    page.wait_for_selector("#live")
    page.evaluate(
        "video => video.srcObject.getTracks()[0].dispatchEvent(new Event('ended'))",
        page.query_selector("#video"),
    )
    page.wait_for_selector("#problem:has-text('The camera is gone: connect it')")
    assert page.is_hidden("#live")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny"],
            "The camera is blocked: allow it for this page in the browser’s settings.",
        ),
        ([], "There is no camera: connect one, or choose a picture."),
    ],
)
def test_a_camera_that_is_refused_or_not_there_is_reported(
    browser: Any, site: str, options: list[str], problem: str
) -> None:
    with another(browser, *options) as other:
        page = other.new_page()
        page.goto(f"{site}/pack/")
        page.wait_for_selector("html[data-shown]")
        page.click("#camera")
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem") == problem
        assert page.inner_text("#camera") == "Use camera"


@pytest.mark.parametrize("name", ["text.png", "enormous.png"])
def test_what_is_not_a_usable_picture_is_reported(
    open_page: Any, site: str, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "enormous.png":
        Image.new("1", (20000, 20000)).save(path)
        expected = "enormous.png has 20000 × 20000 pixels: scale it down first"
    else:
        path.write_text("not a picture")
        expected = "text.png cannot be read: use PNG, JPEG, WebP, GIF, AVIF or BMP"
    page = open_page(f"{site}/pack/")
    page.set_input_files("#file", [str(path)])
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem") == expected
    assert page.inner_text("#label") == "No prediction"  # not that of the picture before
    assert page.is_hidden("#picture")
    assert page.locator("#top li").count() == 0


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("int8.tflite", "alter", "int8.tflite was modified: copy it again"),
        ("int8.tflite", "remove", "int8.tflite is missing: copy the whole page again"),
        ("worker.js", "remove", "worker.js is missing: copy the whole page again"),
    ],
)
def test_a_damaged_page_says_what_is_wrong(
    browser: Any, folder: Path, tmp_path: Path, name: str, change: str, reason: str
) -> None:
    copy = shutil.copytree(folder / "pack", tmp_path / "pack")
    content = bytearray((copy / name).read_bytes())
    content[1000] ^= 1
    (copy / name).unlink()
    if change == "alter":
        (copy / name).write_bytes(content)
    server = served(tmp_path)
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/pack/")
    page.wait_for_selector("html[data-state=failed]")
    assert page.inner_text("#empty").split("\n") == ["This page cannot be used here", reason]
    assert page.is_hidden("#camera")
    page.close()
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the flag is one of x86")
def test_a_browser_without_simd_is_told_so(browser: Any, site: str) -> None:
    with another(browser, "--js-flags=--no-enable-sse4-1") as older:
        page = older.new_page()
        page.goto(f"{site}/pack/")
        page.wait_for_selector("html[data-state=failed]")
        assert "no WebAssembly SIMD: update this browser" in page.inner_text("#empty")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_page_fits_its_screen_and_can_be_read(
    open_page: Any, site: str, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    page = open_page(f"{site}/pack/", viewport=size, color_scheme=scheme)
    page.wait_for_selector("html[data-shown]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ratios = page.evaluate(
        """() => {
          const light = (text) => {
            const parts = text.match(/[0-9.]+/g).slice(0, 3).map((each) => each / 255);
            const [r, g, b] = parts.map((each) => (
              each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (element) => {
            const { backgroundColor } = getComputedStyle(element);
            return / 0\\)$/.test(backgroundColor) ? ground(element.parentElement) : backgroundColor;
          };
          const texts = ['h1', 'header p', '#state', 'h2', '#label', '#note', '#top span', 'dt',
            'dd', '.button.main', '#camera', '#pictures span', 'summary', 'footer p'];
          return texts.map((text) => {
            const element = document.querySelector(text);
            const pair = [getComputedStyle(element).color, ground(element)].map(light);
            return [text, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
          });
        }"""
    )
    # WCAG 2.2, 1.4.3: the least contrast of text
    assert {text: ratio for text, ratio in ratios if ratio < 4.5} == {}


def test_everything_can_be_done_with_the_keyboard(open_page: Any, site: str) -> None:
    page = open_page(f"{site}/pack/")
    page.wait_for_selector("html[data-shown]")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.innerText || document.activeElement.id")
        )
    assert [each.split("\n")[0] for each in reached[:2]] == ["file", "Use camera"]
    assert page.locator("#pictures button").nth(1).get_attribute("aria-current") is None
    page.keyboard.press("Enter")
    page.wait_for_selector('#pictures li:nth-child(2) [aria-current="true"]')
    names = page.evaluate(
        "[...document.querySelectorAll('button, input, canvas, video')].filter((each) =>"
        " !each.labels?.length && !each.ariaLabel && !each.innerText && each.checkVisibility())"
        ".map((each) => each.outerHTML)"
    )
    assert [each for each in names if "width" not in each] == []


def test_a_pack_is_at_most_three_megabytes(bundle: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pack.tar.gz"
    write_pack(choose(bundle, TARGETS["web"], PackOptions(artifact="int8.tflite")), path)
    assert path.stat().st_size <= 3_000_000
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"index.html", "int8.tflite", "licences/@litertjs/core/LICENSE"} <= names
    sums = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    subprocess.run(sums, cwd=folder / "pack", check=True)


def test_a_page_works_in_firefox(folder: Path, tmp_path: Path, bundle: Path) -> None:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        missing("firefox", "it is not installed (Debian: apt-get install firefox-esr)")
    server = served(folder)
    address = f"http://127.0.0.1:{server.server_port}/pack/reporting.html"
    (tmp_path / "profile").mkdir()
    command = [firefox, "--headless", "--no-remote", "--profile", str(tmp_path / "profile")]
    shot = ["--window-size=1280,900", "--screenshot", str(tmp_path / "page.png")]
    subprocess.run([*command, *shot, address], capture_output=True, timeout=90, check=True)
    server.shutdown()
    server.server_close()
    report = server.RequestHandlerClass.func.report  # type: ignore[attr-defined]
    assert report["state"] == "ready"
    first = np.load(bundle / "evaluation" / "validation-images.npy")
    labels = np.load(bundle / "evaluation" / "validation-labels.npy")
    with Classifier.load(bundle / "int8.tflite") as classifier:
        prediction = classifier.classify(first[np.flatnonzero(labels == 0)[0]])
    assert report["label"].lower() == prediction.label.lower()
    assert report["top"].startswith(prediction.top(1)[0][0])
    assert read_picture(tmp_path / "page.png").shape[:2] == (900, 1280)


@pytest.fixture(scope="module")
def similar(embedding_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index of 60 images, and pages that show them."""
    root = tmp_path_factory.mktemp("similar")
    artifact = embedding_bundle / "int8.tflite"
    images = np.load(embedding_bundle / "evaluation" / "validation-images.npy")[:60]
    with Classifier.load(artifact) as classifier:
        batch = embed(classifier, [f"{at}.png" for at in range(60)], images)
    build([batch], artifact, root / "images.index", "images")
    np.savez(root / "images.npz", x=images, embedding=batch.embeddings[0])
    stamp = read_stamped(artifact).stamp
    page = ClassifyingPage(
        title="Similar",
        artifact=artifact.read_bytes(),
        stamp=stamp,
        examples=(("first", images[0]),),
        similar=page_images(root / "images.index", [stamp]),
    )
    for name in ("folder", "single"):
        (root / name).mkdir()
        try:
            write_page(root / name, page, single_file=name == "single")
        except HemlineError as error:
            missing("browser", str(error))
    return root


@pytest.mark.parametrize("name", ["folder", "single"])
def test_a_page_shows_the_similar_images_that_python_finds(
    open_page: Any, similar: Path, name: str
) -> None:
    server = served(similar / name)
    try:
        opened = open_page(f"http://127.0.0.1:{server.server_port}/index.html")
        opened.wait_for_selector("html[data-shown]")
        shown = [each.split() for each in opened.locator("#similar li").all_inner_texts()]
        middle = "(canvas) => canvas.getContext('2d').getImageData(14, 14, 1, 1).data[0]"
        middles = [each.evaluate(middle) for each in opened.locator("#similar canvas").all()]
    finally:
        server.shutdown()
        server.server_close()
    with np.load(similar / "images.npz") as stored, ImageIndex(similar / "images.index") as index:
        images, embedding = stored["x"], stored["embedding"]
        best = {each.name: each for each in index.find(embedding, 15)}
    assert len(shown) == 12
    assert shown[0][-1] == "0.png", "the image itself"
    for (*label, similarity, file), found in zip(shown, middles, strict=True):
        neighbour = best[file]  # rounding to 8 bits may swap two that are equally far
        assert " ".join(label) == neighbour.label
        assert float(similarity) == pytest.approx(neighbour.similarity, abs=0.01)
        pixel = int(images[int(Path(file).stem)].squeeze()[14, 14])
        assert abs(found - pixel) < 50, "WebP keeps noise only roughly"
