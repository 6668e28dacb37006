"""The functions of hemline.api: light to import, silent, and those that the commands call."""

from __future__ import annotations

import inspect
import json
import pydoc
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest

from hemline import api
from hemline.bars import show_progress
from hemline.errors import HemlineError
from hemline.progress import REPORT, Progress, duration, report_to


def test_the_api_has_these_names() -> None:
    assert api.__all__ == [
        "BenchResult", "Budget", "ChooseResult", "ExportResult", "ImportResult", "IndexResult",
        "PackOptions", "PackResult", "PixelScale", "ScoringResult", "SimilarResult", "TrainResult",
        "VerifyResult", "bench", "choose", "export", "images", "import_model", "index", "pack",
        "report_to", "score", "similar", "train", "verify",
    ]  # fmt: skip
    assert all(inspect.getdoc(getattr(api, name)) for name in api.__all__)


def test_importing_the_api_loads_nothing_that_its_work_needs() -> None:
    code = """
import json, sys
from hemline.api import train, import_model, export, verify, bench, choose, pack
import hemline.train
assert not callable(hemline.train)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"tensorflow", "keras", "numpy", "click", "rich", "PIL", "matplotlib", "onnx", "scipy"}
    assert not heavy & set(json.loads(done.stdout))
    with_runtime = code.replace("choose, pack", "choose, pack, score, index, similar")
    done = subprocess.run(
        [sys.executable, "-c", with_runtime], capture_output=True, text=True, check=True
    )
    assert heavy & set(json.loads(done.stdout)) == {"numpy"}  # the runtime's only need


@pytest.mark.parametrize(
    "name",
    [
        *("train", "import_model", "export", "verify", "bench", "choose", "pack"),
        *("score", "index", "similar"),
    ],
)
def test_every_parameter_is_typed_and_documented(name: str) -> None:
    function = getattr(api, name)
    text = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        if parameter.name not in ("path", "paths"):
            assert f"\n{parameter.name}: " in text, parameter.name
    assert "Raises " in text


def test_your_images_are_read_as_asked() -> None:
    options = api.images("photos", size=32, channels=1, labels=["a", "b"])
    assert (options.reading.size, options.reading.channels) == ((32, 32), 1)
    assert options.reading.labels == ("a", "b")
    assert api.images("photos", size=(24, 32)).reading.size == (24, 32)


def test_labels_and_pixels_are_accepted_in_every_usual_form(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    for labels in ("a,b", ["a", "b"], tmp_path / "labels.txt", str(tmp_path / "labels.txt")):
        assert api.images("photos", labels=labels).reading.labels == ("a", "b")
    unit = api.PixelScale.of_range(0, 1)
    for pixels in ("0..1", (0, 1), [0.0, 1.0], unit):
        assert api.PixelScale.of(pixels) == unit
    assert api.PixelScale.of("-1..1").range == (-1, 1)


@pytest.mark.parametrize("pixels", ["0-1", "1", (0, 1, 2), (1, 0), "0..inf", 1])
def test_a_wrong_pixel_range_is_a_clear_error(pixels: Any) -> None:
    with pytest.raises(HemlineError, match="a pixel range (is LOW..HIGH|must increase)"):
        api.PixelScale.of(pixels)
    with pytest.raises(HemlineError, match="a pixel range (is LOW..HIGH|must increase)"):
        api.import_model("model.onnx", pixels=pixels)


def test_what_only_a_model_file_has_is_refused_for_another_model() -> None:
    with pytest.raises(HemlineError, match="hem-50k is not imported: omit labels, pixels"):
        api.export("hem-50k", pixels="0..1")
    with pytest.raises(HemlineError, match="labels are names, not 1"):
        api.images("photos", labels=[1, 2])  # type: ignore[list-item]


def test_progress_goes_to_who_asks_for_it_and_nowhere_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    with report_to(said.append), Progress("training", 2) as progress:
        progress.show("half", done=1, line="epoch 1/2")
        progress.say("done")
    with Progress("training", 2) as progress:
        progress.show("half", done=1, line="epoch 1/2")
    assert said == ["epoch 1/2", "done"]
    assert capsys.readouterr() == ("", "")


def test_long_work_says_now_and_then_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("hemline.progress.time.monotonic", lambda: now)
    said: list[str] = []
    with report_to(said.append), Progress("verifying", 40) as progress:
        for done in range(41):
            now = 10.0 * done
            progress.show(f"{done} of 40", done=done)
    assert said[:3] == [
        "verifying: 1 of 40, about 6 min left",
        "verifying: 3 of 40, about 6 min left",
        "verifying: 7 of 40, about 6 min left",
    ]
    assert len(said) == 8


def test_what_came_before_the_first_piece_does_not_count_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("hemline.progress.time.monotonic", lambda: now)
    said: list[str] = []
    with report_to(said.append), Progress("training", 5) as progress:
        now = 1030.0
        progress.show(done=1, line="epoch 1/5", seconds=30.0)
        now = 1070.0
        progress.show(done=2, line="epoch 2/5", seconds=40.0)
    assert said == ["epoch 1/5, about 2 min left", "epoch 2/5, about 2 min left"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(40.2, "40 s"), (100, "2 min"), (5000, "83 min"), (7800, "2 h 10 min")]
)
def test_a_time_is_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_quiet_is_known_in_every_thread(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(click.Command("bench")) as context:
        show_progress(context)
        report = REPORT.get()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(report.say, "measuring").result()
            context.obj = {"quiet": True}
            pool.submit(report.say, "measuring again").result()
    assert REPORT.get() != report
    assert capsys.readouterr().err == "measuring\n"


def test_an_export_that_trains_first_says_so_and_how_to_name_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise HemlineError("far enough")

    for at in range(8):
        folder = tmp_path / "photos" / "ab"[at % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{at}.pgm").write_bytes(b"P5 2 2 255\n" + bytes([255 - at] * 4))
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    (tmp_path / "checkpoints" / "mine" / "card.json").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hemline.train.api.run_training", stop)
    said: list[str] = []
    with report_to(said.append), pytest.raises(HemlineError, match="far enough"):
        api.export("mlp", data="photos")
    assert said[0] == (
        "checkpoints/mlp-photos holds no checkpoint (found: checkpoints/mine), so mlp is trained "
        "first; if you have a checkpoint, name it with --checkpoint FOLDER"
    )


def test_a_folder_of_the_same_name_beside_a_script_hides_nothing(tmp_path: Path) -> None:
    """A clone is often named hemline: a script beside it must import the package all the same."""
    (tmp_path / "hemline" / "data").mkdir(parents=True)
    code = "import hemline, hemline.data.custom; print(hemline.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == version("hemline")


def test_help_on_the_module_shows_the_parameters_of_its_functions() -> None:
    text = pydoc.plain(pydoc.render_doc(api))
    functions = ("train", "import_model", "export", "verify", "bench", "choose", "images")
    for name in functions:
        assert re.search(rf"^    {name}\(\w", text, re.MULTILINE) or f"    {name}(\n" in text, name
