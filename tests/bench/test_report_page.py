"""The page of `hemline report`: whole, safe, and true where little was measured."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from planted_records import plant

from hemline.bench.accuracy.change import accuracy_change
from hemline.bench.comparison import ComparedModel, SourceModel
from hemline.bench.report.page.images import classes_table
from hemline.bench.report.page.plotting import library
from hemline.cli import cli
from hemline.contract.manifest import MANIFEST_NAME
from hemline.contract.record import RECORDS_NAME, Accuracy, pack_predictions
from hemline.errors import HemlineError, UsageError

EVIL = ("</script><script>alert(1)</script>", "\"quoted\" 'so' & <b>", "emoji 🦊", "`back` ticks")


class Reader(HTMLParser):
    """Collects what a page has: ids, headings, addresses, and tags that were not closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.scripts: dict[str | None, str] = {}
        self.open: list[tuple[str, str | None]] = []
        self.wrong: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if "id" in found:
            self.ids.append(str(found["id"]))
        self.addresses += [str(found[name]) for name in ("src", "href", "action") if name in found]
        self.wrong += [name for name in found if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append((tag, found.get("id")))
        if tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop()[0] != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        tag, name = self.open[-1] if self.open else ("", None)
        if tag == "h2":
            self.headings[-1] += data
        if tag == "script":
            self.scripts[name] = self.scripts.get(name, "") + data


@pytest.fixture(scope="module")
def planted(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with records of every kind."""
    folder = tmp_path_factory.mktemp("planted") / "bundle"
    shutil.copytree(bundle, folder)
    plant(folder)
    return folder


@pytest.fixture(scope="module")
def page(planted: Path) -> str:
    """Return its page."""
    return report(planted)


@pytest.fixture
def measured(planted: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle that a test may change."""
    shutil.copytree(planted, tmp_path / "bundle")
    return tmp_path / "bundle"


def report(*words: object) -> str:
    """Run the command, and return the page."""
    output = Path(str(words[0])).with_suffix(".html")
    words = ("-q", "report", *words, "-o", output)
    result = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    page = output.read_text()
    read = Reader(page)
    assert read.wrong == []
    assert read.open == []
    assert len(set(read.ids)) == len(read.ids)
    assert all(address.startswith(("data:image/", "#section-")) for address in read.addresses)
    return page


def edited(bundle: Path, name: str, change: Callable[[dict], None]) -> None:
    """Change each JSON document in a file of a bundle; those that become empty are left out."""
    path = bundle / name
    lines = [path.read_text()] if name == MANIFEST_NAME else path.read_text().splitlines()
    documents = [json.loads(line) for line in lines]
    for document in documents:
        change(document)
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents if each))


def test_a_report_shows_each_part_once_in_the_order_of_its_contents(page: str) -> None:
    read = Reader(page)
    assert read.headings == [
        "Accuracy against latency and instructions",
        "All measurements",
        "Predictions that changed",
        "Why they take as long as they do",
        "Operators",
        "Instructions of an inference, emulated",
        "Start, memory and energy",
        "How it was measured",
    ]
    links = re.findall(r'<a href="#(section-\d)">([^<]+)</a>', page)
    assert [title for _, title in links] == read.headings
    assert {name for name, _ in links} <= set(read.ids)
    assert page.index('class="verdict"') < page.index("<nav") < page.index("because AMX")
    assert page.count("because AMX tiles are wasted") == 1
    assert page.count('data-plot="pareto"') == 1
    labels = re.findall(r'role="region" aria-label="([^"]+)"', page)
    assert len(set(labels)) == len(labels)


def test_instructions_never_stand_beside_microseconds(page: str) -> None:
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    counted = [table for table in tables if 'class="number">emulated:pi4' in table]
    assert len(counted) == 1
    assert "µs" not in counted[0]
    cells = next(table for table in tables if "p99" in table)
    assert "emulated" not in cells


def test_a_report_of_an_emulated_device_chooses_by_instructions(measured: Path) -> None:
    page = report(measured, "--device", "emulated:pi4")
    verdict = re.search(r'class="verdict">([^<]+)', page)
    assert verdict is not None
    assert re.search(r"[\d.]+ million instructions on emulated:pi4, ", verdict[1])
    (cells,) = (each for each in re.findall(r"<table.*?</table>", page, re.DOTALL) if "←" in each)
    assert "instructions" in cells
    assert "µs" not in cells
    assert "Instructions of an inference, emulated" not in Reader(page).headings


def test_each_device_has_a_verdict_and_a_title_over_its_plot(page: str) -> None:
    here, board, emulated = re.findall(r'class="verdict">([^<]+)', page)
    assert re.search(r"^Ship .* µs on Test processor, ", here)
    assert re.search(r"^Ship .* µs on kitchen, ", board)
    assert re.search(r"^Ship .* million instructions on emulated:pi4, ", emulated)
    assert "Instructions count work, not time" in page
    titles = re.findall(r"<h3>(local|kitchen|emulated:pi4): [^<]+</h3>", page)
    assert titles == ["local", "kitchen", "emulated:pi4"]


def test_the_data_of_the_page_are_those_of_the_records(page: str) -> None:
    read = Reader(page)
    cells = json.loads(read.scripts["data"])["cells"]
    chosen = next(
        each
        for each in cells
        if (each["artifact"], each["runtime"], each["device"], each["threads"])
        == ("int8.tflite", "litert", "local", 1)
    )
    assert chosen["accuracy_images"] == 200
    assert chosen["latency_invocations"] == 500
    assert chosen["memory_package_bytes"] == 12_000_000
    assert chosen["profile_operators"][0]["name"] == "net/block_0/relu"
    assert sum("instructions_per_inference" in each for each in cells) * 2 + 1 == len(cells) - sum(
        "instructions_per_inference" in each for each in cells
    )


def test_only_the_scripts_of_the_page_may_run(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src 'sha256-" in policy[1]
    assert "unsafe-inline" not in policy[1].partition("script-src")[2]
    assert library() not in page


@pytest.mark.medium
def test_names_and_classes_are_shown_and_never_run(measured: Path) -> None:
    def rename(document: dict) -> None:
        document["labels"][: len(EVIL)] = EVIL
        document["model"] = EVIL[0]

    edited(measured, MANIFEST_NAME, rename)
    edited(measured, RECORDS_NAME, lambda document: document["cell"].update(model=EVIL[0]))
    page = report(measured)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<b>" not in page.replace("<b>@name</b>", "").replace("\\u003cb>", "")
    for text in EVIL[:3]:
        assert text in unescape(page)


@pytest.mark.medium
def test_a_bundle_without_labels_shows_the_agreement(measured: Path) -> None:
    def forget(document: dict) -> None:
        if document["payload"]["kind"] == "accuracy":
            document["payload"].update(correct=None, keras_correct=None)

    def unlabel(document: dict) -> None:
        hashes = document["evaluation_sha256"]
        for split in ("test", "validation"):
            hashes.pop(f"evaluation/{split}-labels.npy")

    edited(measured, RECORDS_NAME, forget)
    edited(measured, MANIFEST_NAME, unlabel)
    page = report(measured)
    assert "Agreement against latency" in page
    assert "the test images have no labels" in page
    assert "Predictions that changed" not in page


def test_a_bundle_without_latencies_says_what_to_run(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    page = report(tmp_path / "bundle")
    assert "No latency was measured; run <code>hemline bench" in page
    assert "data-plot" not in page.replace("[data-plot]", "")
    assert "was not measured: run <code>hemline bench" in page
    assert 'id="library"' not in page


@pytest.mark.medium
def test_a_bundle_of_one_artifact_has_a_report(measured: Path) -> None:
    def keep_one(document: dict) -> None:
        document["artifacts"] = [a for a in document["artifacts"] if a["name"] == "int8.tflite"]

    edited(measured, MANIFEST_NAME, keep_one)
    page = report(measured)
    assert "Ship int8.tflite" in page
    assert "fp32.onnx" not in page


@pytest.mark.medium
def test_no_choice_is_a_verdict_too(measured: Path) -> None:
    page = report(measured, "--max-ms", "0.000001")
    assert '<p class="verdict">No artifact ' in page
    assert "←" not in page


def test_a_page_is_replaced_only_on_request(planted: Path, page: str) -> None:
    output = planted.with_suffix(".html")
    words = ["report", str(planted), "-o", str(output)]
    found = CliRunner().invoke(cli, words).exception
    assert isinstance(found, UsageError)
    assert "exists: use --force" in str(found)
    assert output.read_text() == page


def test_without_the_plotting_library_one_line_says_what_to_install(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)
    output = measured.with_suffix(".html")
    found = CliRunner().invoke(cli, ["report", str(measured), "-o", str(output)]).exception
    assert isinstance(found, HemlineError)
    assert str(found) == "a report needs Bokeh: pip install bokeh"
    assert not output.exists()


def test_a_cell_that_saw_the_first_images_only_has_the_classes_of_these() -> None:
    labels = np.array([0, 0, 1, 1], np.uint8)

    def predicted(*classes: int) -> Accuracy:
        correct = int((np.array(classes) == labels[: len(classes)]).sum())
        return Accuracy(
            split="test",
            images=len(classes),
            correct=correct,
            agreement=0,
            keras_correct=0,
            predictions=pack_predictions(np.array(classes)),
        )

    source = SourceModel(kind="keras", test=predicted(0, 0, 1, 0))
    model = ComparedModel(name="m", source=source, classes=("cat", "dog"), labels=labels)
    groups = [
        (name, accuracy_change(source.test, each, labels, model.classes))
        for name, each in {"part": predicted(1, 0), "all": predicted(0, 0, 1, 1)}.items()
    ]
    table = classes_table(model, groups)
    assert table.columns == ("class", "images", "Keras model", "part", "all")
    assert table.rows == (
        ("cat", "2", "100.00 %", "-50.00", "+0.00"),
        ("dog", "2", "50.00 %", "", "+50.00"),
    )
