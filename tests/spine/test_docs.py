"""What README.md and docs/ say is true: every command is understood, and most are run.

Each line of a shell block is parsed by its program. The cheap ones run with every test; `make
test-slow` runs each page from its first line to its last on a small data set.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
import tomllib
from click.testing import CliRunner
from documents import (
    COMPLETION,
    HANDED_OVER,
    PAGES,
    ROOT,
    Command,
    commands_of,
    device_commands,
    python_blocks,
    require_understood,
    runtime_parser,
)
from PIL import Image

from hemline.cli import COMMANDS, cli
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import read_manifest
from hemline.contract.stamp import read_stamped
from hemline.errors import HemlineError

LINES = [command for page in PAGES for command in commands_of(page)]
# pages that show no command, and why
WITHOUT_COMMANDS = {
    "performance": "its figures come from `make performance`",
    "scope": "it says what Hemline does not do",
    "structure": "it shows where things are",
}
# What no test runs from a page, and where the same thing is tested.
NOT_RUN = {
    r"make ": ".ci/run runs export, compare and test; tests/packaging builds",
    r"hemline data sample": "its pictures are there: the fixture `place` runs it",
    r"hemline data fetch": "downloads: tests/spine/test_fetch.py",
    r"hemline runtimes (add|remove)": "downloads: tests/spine/test_environments.py",
    r".* --runtime \S+==[\d.]+( |$)": "a downloaded version: tests/spine/test_environments.py",
    r"hemline serve": "runs until it is stopped: tests/runtime/test_service.py",
    r"hemline device (add|check|remove)": "needs a board: tests/devices/test_ssh.py",
    r"hemline device (push|rollback)": "needs boards: tests/devices/test_delivery.py",
    r"hemline (bench|choose|table) .*--device (?!pi$)": "a board or a stand-in: tests/devices",
    r"hemline verify .*--device browser": "needs a browser: tests/devices/test_browser_device.py",
    r"hemline tune --ray \S+:": "needs a cluster: tests/train/test_side_by_side.py",
    r"hemline compare-datasets(?!.* --data)": "downloads MNIST: the lines with a folder are run",
    r"hemline gate .*--max-slowdown": "a busy machine is no evidence: tests/bench/test_gate.py",
    r"hemline evaluate train/zoo": "the checkpoint in the repository has seen the real data only",
    r"hemline train .*--teacher": "a teacher of the same split: tests/train/test_distillation.py",
    r"hemline train (vgg16|mobilenetv2$)": "downloads weights: tests/train/test_transfer.py",
}
# What runs in a moment on the small bundle.
CHEAP = (
    r"hemline data (check|show)",
    r"hemline (table|choose|inspect|plan|selftest|recipe) (?!artifacts/hem-50k-photos)",
    r"hemline classify (?!artifacts/(photos|my_model))",
    r"hemline ((runtimes|device) list|doctor)",
    r"hemline tune .*--show-space",
    r"hemline gate (?!.*--max-slowdown)",
)
# What is added to a line so that it takes seconds: the last of two equal options counts.
SHORTER = {
    "train": "--epochs 1 --validation 10 --force",
    "tune": "--epochs 1 --trials 2 --limit 300 --validation 100 --restart",
    "compare-datasets": "--epochs 1 --limit 300 --validation 100 --seeds 1",
    "baseline": "--limit 600",
    "bench": "--quick",
    "compare": "--quick",
}


def written(page: Path) -> bool:
    return page.stem not in WITHOUT_COMMANDS


def runs(command: Command) -> bool:
    """Say whether the slow tests run a line; one that is to be refused is always run."""
    if not command.line.startswith("hemline "):
        return False
    return command.exit_code != 0 or not any(re.match(each, command.line) for each in NOT_RUN)


def cheap(command: Command) -> bool:
    refused = command.exit_code != 0
    return runs(command) and (refused or any(re.match(each, command.line) for each in CHEAP))


@pytest.fixture(scope="module")
def place(
    bundle: Path,
    embedding_bundle: Path,
    checkpoint: Path,
    data_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder that looks like the one in which the pages' commands are typed."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("hem-50k", "hem-50k-photos", "hem-50k-before"):
        shutil.copytree(bundle, folder / "artifacts" / name)
    measured = CliRunner().invoke(cli, ["bench", "--quick", str(folder / "artifacts" / "hem-50k")])
    assert measured.exit_code == 0, measured.output
    shutil.copytree(embedding_bundle, folder / "artifacts" / "with-embedding")
    for name in ("hem-50k", "second"):
        shutil.copytree(checkpoint, folder / "checkpoints" / name)
    (folder / "empty").mkdir()
    split = load_split(bundle, "test", read_manifest(bundle).evaluation_sha256)
    sample = ["data", "sample", "--output", str(folder)]
    sampled = CliRunner().invoke(cli, sample, env={"HEMLINE_DATA": str(data_folder)})
    assert sampled.exit_code == 0, sampled.output
    Image.fromarray(split.images[0].squeeze()).resize((280, 280)).save(folder / "photo.jpg")
    (folder / "cut.tflite").write_bytes((bundle / "int8.tflite").read_bytes()[:40_000])
    shutil.copytree(ROOT / "train" / "zoo" / "hem-50k", folder / "train" / "zoo" / "hem-50k")
    for name, artifact in (("foreign", "int8"), ("fp16", "fp16")):
        model = read_stamped(bundle / f"{artifact}.tflite").model
        (folder / f"{name}.tflite").write_bytes(model)
    proto = onnx.load(bundle / "fp32.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, folder / "foreign.onnx")
    onnx.save(proto, folder / "my_model.onnx")
    (folder / "labels.txt").write_text("\n".join(read_manifest(bundle).labels))
    np.save(folder / "images.npy", split.images)
    np.save(folder / "classes.npy", split.labels)
    write_data(folder, data_folder, split.images.squeeze())
    return folder


@pytest.fixture(scope="module")
def models_of_photos(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model made elsewhere for the classes of photos/, float and int8."""
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("models")
    paths = sorted((place / "photos").glob("*/*"))
    kinds = sorted({path.parent for path in paths})
    images = np.stack([np.asarray(Image.open(path), np.float32) for path in paths])[..., None] / 255
    labels = np.array([kinds.index(path.parent) for path in paths])
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(len(kinds), activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=10, verbose=0)
    model.export(folder / "saved", verbose=False)
    for name in ("float", "int8"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
        if name == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images)
        (folder / f"model-{name}.tflite").write_bytes(converter.convert())
    shutil.rmtree(folder / "saved")
    return folder


def write_data(folder: Path, data_folder: Path, images: np.ndarray) -> None:
    """Write the data sets that the pages name: MNIST, folders of pictures, an .npz."""
    shutil.copytree(data_folder, folder / "mnist")
    for name in ("spoilt", "mixed"):
        for at, kind in enumerate(("daisy", "rose", "tulip")):
            (folder / name / kind).mkdir(parents=True)
            for number in range(3):
                picture = Image.fromarray(images[at * 3 + number])
                picture.save(folder / name / kind / f"{number}.png")
    whole = (folder / "spoilt" / "daisy" / "0.png").read_bytes()
    (folder / "spoilt" / "daisy" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "spoilt" / "rose" / "text.png").write_text("no image")
    Image.fromarray(images[0]).resize((48, 32)).save(folder / "mixed" / "tulip" / "large.png")
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (200, 32, 32, 3), np.uint8)
    np.savez(folder / "cifar.npz", x=colours, y=np.arange(200) % 10)


def run(command: Command, *, more: str = "") -> None:
    """Run a line in this process; it must end as its comment says, with a message of the page."""
    result = CliRunner().invoke(cli, [*command.words, *more.split()])
    error = result.exception
    code = error.exit_code if isinstance(error, HemlineError) else result.exit_code
    assert code == command.exit_code, (str(command), result.output, error)
    if command.file is not None:
        Path(command.file).write_text(result.stdout)
    if isinstance(error, HemlineError):
        first = str(error).splitlines()[0].partition(": ")[0]
        assert f"error: {first}" in command.page.read_text(), command


@pytest.mark.parametrize("command", LINES, ids=str)
def test_a_command_of_a_page_is_understood(command: Command) -> None:
    require_understood(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_commands_that_run_or_says_why_not(page: Path) -> None:
    if written(page):
        assert any(
            runs(command) or COMPLETION.search(command.line) for command in commands_of(page)
        )
    else:
        assert not commands_of(page)


def test_what_is_not_run_is_there() -> None:
    """A pattern that matches nothing any more would hide the next line it fits by chance."""
    for pattern in (*NOT_RUN, *CHEAP):
        assert any(re.match(pattern, command.line) for command in LINES), pattern


@pytest.fixture
def typed_here(
    place: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Enter a copy of that folder, with nothing in it that another page's commands wrote."""
    folder = Path(shutil.copytree(place, tmp_path / "place"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEMLINE_DATA", str(data_folder))
    return folder


@pytest.mark.usefixtures("typed_here")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(cheap, commands_of(page)))], ids=lambda p: p.stem
)
def test_the_cheap_commands_of_a_page_end_as_it_says(page: Path) -> None:
    """A line may end in `# exit code N`; the page then also shows the message."""
    for command in filter(cheap, commands_of(page)):
        run(command)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(runs, commands_of(page)))], ids=lambda p: p.stem
)
def test_the_commands_of_a_page_run_one_after_the_other(
    page: Path, typed_here: Path, models_of_photos: Path
) -> None:
    shutil.copytree(models_of_photos, typed_here, dirs_exist_ok=True)
    for command in filter(runs, commands_of(page)):
        if command.exit_code != 0:  # the test above ran it, before other lines left their folders
            continue
        run(command, more="" if cheap(command) else SHORTER.get(command.words[0], ""))


@pytest.mark.parametrize(
    "command", [line for line in LINES if COMPLETION.search(line.line)], ids=str
)
def test_the_completion_of_a_shell_is_written(command: Command) -> None:
    found = COMPLETION.search(command.line)
    assert found is not None
    done = subprocess.run(
        [Path(sys.executable).with_name("hemline")],
        env={**os.environ, "_HEMLINE_COMPLETE": f"{found['shell']}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_HEMLINE_COMPLETE={found['shell']}_complete" in done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if device_commands(page)], ids=str)
def test_a_command_for_the_device_is_understood(page: Path) -> None:
    for words in device_commands(page):
        runtime_parser(words[0]).parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_extras_that_a_page_installs_exist(page: Path) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"(?:'hemline|\.whl)\[([\w,]+)\]", page.read_text()):
        assert set(extras.split(",")) <= set(declared["optional-dependencies"])


def test_nothing_tells_a_user_to_install_a_package_that_is_not_published() -> None:
    """Anyone could take the name `hemline` at a package index: only wheels of it are named."""
    stages = ("hemline", "train", "export", "runtime", "bench")
    code = [path for stage in stages for path in (ROOT / stage).rglob("*.py")]
    for path in (*PAGES, *code):
        assert not re.search(r"pip install [^\n]*\bhemline(\[|['\"`\s])", path.read_text()), path


@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_blocks(page.read_text())], ids=lambda page: page.stem
)
@pytest.mark.usefixtures("typed_here")
def test_the_python_of_a_page_runs(page: Path) -> None:
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


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_place_in_the_docs(name: str) -> None:
    shown = [command for command in LINES if command.page.parent.name == "docs"]
    assert any(command.line.startswith(f"hemline {name}") for command in shown)
