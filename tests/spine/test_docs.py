"""What docs/ says is so: every command is understood, and the cheap ones do what the page tells."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from documents import (
    HANDED_OVER,
    ROOT,
    python_blocks,
    redirected,
    require_target,
    require_understood,
    runtime_parser,
    shell_lines,
)
from PIL import Image

from hemline.cli import COMMANDS, cli
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import read_manifest
from hemline.contract.stamp import read_stamped
from hemline.errors import HemlineError

PAGES = sorted((ROOT / "docs").glob("*.md"))
LINES = [(page, line) for page in PAGES for line in shell_lines(page.read_text())]
# What runs in a second on the small bundle; the others train, fetch or measure at length.
CHEAP = (
    r"hemline data (check|show)",
    r"hemline (table|choose|inspect|classify|verify) ",
    r"hemline bench .*--quick",
    r"hemline export .*--scheme",
    r"hemline runtimes list",
    r"hemline recipe ",
    r"hemline train .*# exit code",
    r"hemline evaluate (?!.*--(ensemble|layer))",
    r"hemline compare-datasets .*# exit code",
    r"hemline baseline( *#| smv| .*--limit)",
)
# What no page may count on to be there: a version of a runtime that must be fetched first.
FETCHED = r"(?!.*exit code).* --runtime \S+=="


@pytest.fixture(scope="module")
def place(
    bundle: Path, embedding_bundle: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder that looks like the one in which the pages' commands are typed."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("hem-50k", "hem-50k-flowers"):
        shutil.copytree(bundle, folder / "artifacts" / name)
    shutil.copytree(embedding_bundle, folder / "artifacts" / "with-embedding")
    shutil.copytree(checkpoint, folder / "checkpoints" / "hem-50k")
    (folder / "empty").mkdir()
    split = load_split(bundle, "test", read_manifest(bundle).evaluation_sha256)
    for name, pixels in zip(("shirt", "boot"), split.images, strict=False):
        Image.fromarray(pixels.squeeze()).save(folder / f"{name}.png")
    Image.fromarray(split.images[0].squeeze()).resize((280, 280)).save(folder / "photo.jpg")
    (folder / "cut.tflite").write_bytes((bundle / "int8.tflite").read_bytes()[:40_000])
    for name, artifact in (("foreign", "int8"), ("fp16", "fp16")):
        model = read_stamped(bundle / f"{artifact}.tflite").model
        (folder / f"{name}.tflite").write_bytes(model)
    proto = onnx.load(bundle / "fp32.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, folder / "foreign.onnx")
    (folder / "labels.txt").write_text("\n".join(read_manifest(bundle).labels))
    np.save(folder / "images.npy", split.images)
    np.save(folder / "classes.npy", split.labels)
    write_own_images(folder, split.images.squeeze())
    return folder


def write_own_images(folder: Path, images: np.ndarray) -> None:
    """Write flowers, a folder of 120 images, and two that something is wrong with."""
    for name, each in (("flowers", 40), ("spoilt", 3), ("mixed", 3)):
        for at, kind in enumerate(("daisy", "rose", "tulip")):
            (folder / name / kind).mkdir(parents=True)
            for number in range(each):
                pixels = images[at * each + number]
                Image.fromarray(pixels).save(folder / name / kind / f"{number}.png")
    whole = (folder / "spoilt" / "daisy" / "0.png").read_bytes()
    (folder / "spoilt" / "daisy" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "spoilt" / "rose" / "text.png").write_text("no image")
    Image.fromarray(images[0]).resize((48, 32)).save(folder / "mixed" / "tulip" / "large.png")


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda value: getattr(value, "stem", value))
def test_a_command_of_the_docs_is_understood(page: Path, line: str) -> None:
    if line.startswith("hemline "):
        require_understood(line)
    if line.startswith("make "):
        require_target(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_cheap_commands_of_a_page_end_as_it_says(
    page: Path, place: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line may end in `# exit code N`; the page then also shows the message."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("HEMLINE_DATA", str(data_folder))
    text = page.read_text()
    for line in re.findall(r"^hemline .*$", text, re.MULTILINE):
        if not any(re.match(cheap, line) for cheap in CHEAP) or re.match(FETCHED, line):
            continue
        command, file = redirected(line)
        words = shlex.split(command)[1:]
        expected = re.search(r"# exit code (\d)", line)
        result = CliRunner().invoke(cli, words)
        error = result.exception
        code = error.exit_code if isinstance(error, HemlineError) else result.exit_code
        assert code == (int(expected[1]) if expected else 0), (line, result.output, error)
        if file is not None:
            Path(file).write_text(result.stdout)
        if isinstance(error, HemlineError):
            assert f"error: {str(error).partition(': ')[0]}" in text, line


@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p.read_text())], ids=str)
def test_the_python_of_a_page_runs(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    for code in python_blocks(page.read_text()):
        exec(code, {})  # noqa: S102 — the page's own code


def test_every_option_in_the_docs_exists() -> None:
    known = {"--help", "--version", "--sch"}  # the last one stands where a shell completes it
    known |= {"--codec", "--width", "--height", "--framerate", "--flush"}  # of rpicam-vid
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        group = command.commands.values() if isinstance(command, click.Group) else [command]
        for each in (cli, *group):
            assert each is not None
            known |= {o for p in each.params for o in (*p.opts, *p.secondary_opts)}
    for name in HANDED_OVER.values():
        known |= set(runtime_parser(name)._option_string_actions)
    for page in PAGES:
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text())) <= known, page


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "readme"])
def test_every_command_has_its_place_in_the_docs(name: str) -> None:
    assert any(line.startswith(f"hemline {name}") for _, line in LINES)
