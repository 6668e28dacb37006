"""What every command shares: JSON where there is a list, quiet, verbose, completion in a shell."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pty
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hemline.bench.latency_summary import summarize
from hemline.cli import COMMANDS, SECTIONS, cli
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, Manifest
from hemline.contract.record import Latency, read_records
from hemline.errors import GateError
from hemline.export.sources.logged import logged_in_one_line

HEMLINE = Path(sys.executable).with_name("hemline")


@pytest.fixture(scope="module")
def measured(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the bundle with latencies."""
    folder = tmp_path_factory.mktemp("console") / "bundle"
    shutil.copytree(bundle, folder)
    invoke("bench", folder, "--quick", "--rounds", "1")
    return folder


@pytest.fixture
def spoilt(measured: Path, tmp_path: Path) -> Path:
    """Return a copy of a measured bundle whose fastest artifact no longer meets its tolerance."""
    folder = shutil.copytree(measured, tmp_path / "spoilt")
    manifest = schema.load(Manifest, folder / MANIFEST_NAME)
    name = documents("choose", folder, "--max-drop-points", "100")[0]["artifact"]
    artifacts = tuple(
        replace(a, tolerance=1e-9) if a.name == name else a for a in manifest.artifacts
    )
    schema.save(folder / MANIFEST_NAME, replace(manifest, artifacts=artifacts, recommended=name))
    return folder


def invoke(*words: object, check: bool = True) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=not check)
    assert not check or result.exit_code == 0
    return result


def documents(*words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in invoke(*words, "--json").stdout.splitlines()]


def in_shell(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own, where logging goes to the real stderr."""
    return subprocess.run(
        [str(HEMLINE), *words], capture_output=True, text=True, env={**os.environ, **variables}
    )


def test_data_check_tells_each_data_set_as_json(data_folder: Path) -> None:
    (row,) = documents("data", "check", "--data", data_folder)
    assert (row["train_images"], row["test_images"], row["verified"]) == (800, 200, False)
    assert row["shape"] == [28, 28, 1]
    assert len(row["sha256"]) == 4


def test_verify_tells_each_verdict_as_json(measured: Path) -> None:
    rows = documents("verify", measured)
    assert {row["artifact"] for row in rows} >= {"int8.tflite", "int8.onnx"}
    assert {row["status"] for row in rows} == {"passed"}
    assert all(row["scores"] and row["version"] for row in rows)


def test_verify_tells_the_verdicts_of_a_wrong_bundle_too(spoilt: Path) -> None:
    result = invoke("verify", spoilt, "--json", check=False)
    assert isinstance(result.exception, GateError)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["status"] for row in rows} == {"passed", "failed"}


def test_choose_tells_its_choice_as_json(measured: Path) -> None:
    (row,) = documents("choose", measured, "--max-drop-points", "100")
    assert row["reasons"][0].startswith(f"Ship {row['artifact']} with {row['runtime']}")
    assert row["median_us"] > 0


def test_choose_ships_nothing_that_was_found_wrong(spoilt: Path) -> None:
    wrong = schema.load(Manifest, spoilt / MANIFEST_NAME).recommended
    assert invoke("verify", spoilt, check=False).exit_code != 0
    (row,) = documents("choose", spoilt, "--max-drop-points", "100")
    assert row["artifact"] != wrong


def test_table_tells_numbers_and_not_texts_as_json(measured: Path) -> None:
    keras, *rows = documents("table", measured)
    assert keras["artifact"] == "keras"
    latencies = {
        (r.cell.artifact, r.cell.runtime): summarize(r.payload)
        for r in read_records(measured / "records.jsonl")
        if isinstance(r.payload, Latency)
    }
    assert {(row["artifact"], row["runtime"]) for row in rows} == set(latencies)
    for row in rows:
        assert row["median_us"] == latencies[row["artifact"], row["runtime"]].median_us
        assert isinstance(row["size_bytes"], int)


def test_inspect_and_classify_tell_json(measured: Path, tmp_path: Path) -> None:
    stamp = json.loads(invoke("inspect", measured / "int8.onnx", "--json").stdout)
    assert (stamp["kind"], stamp["name"]) == ("stamp", "int8.onnx")
    np.save(tmp_path / "black.npy", np.zeros((28, 28), np.uint8))
    (row,) = documents("classify", measured / "int8.onnx", tmp_path / "black.npy")
    assert set(row) == {"image", "label", "index", "score", "known", "top"}


def test_a_bare_command_line_lists_every_command_in_a_section() -> None:
    done = invoke()
    assert done.exit_code == 0
    assert not done.stderr
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in done.output
        assert command.summary.split()[-1] in done.output


def test_a_bare_group_shows_its_commands_without_an_error() -> None:
    done = in_shell("data")
    assert "or a custom data set; no network." in " ".join(done.stderr.split())
    assert "error" not in done.stderr
    assert "...\n" not in done.stderr.replace("[ARGS]...", "")


@pytest.mark.medium
def test_quiet_leaves_only_errors_on_stderr(data_folder: Path, measured: Path) -> None:
    spoken = in_shell("data", "check", HEMLINE_DATA=str(data_folder))
    assert spoken.stderr.startswith("WARNING: ")
    silent = in_shell("-q", "data", "check", HEMLINE_DATA=str(data_folder))
    assert (silent.stdout, silent.stderr) == (spoken.stdout, "")
    assert invoke("bench", measured, "--quick").stderr
    assert not invoke("-q", "bench", measured, "--quick").stderr
    behind = in_shell("data", "check", "-q", HEMLINE_DATA=str(data_folder))
    assert (behind.stdout, behind.stderr) == (spoken.stdout, "")
    failed = in_shell("-q", "data", "check", "mnist")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: MNIST was not found")
    assert failed.stderr.count("\n") == 1


def test_a_variable_is_blamed_only_for_a_value_that_came_from_it(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert "HEMLINE_DATA" not in in_shell("data", "check", "--data", nowhere).stderr
    told = in_shell("data", "check", HEMLINE_DATA=nowhere).stderr
    assert "(env var: 'HEMLINE_DATA')" in told


@pytest.mark.slow
def test_bench_ends_in_its_table_and_says_where_its_records_are(measured: Path) -> None:
    ended = invoke("bench", measured, "--rounds", "1")
    assert ended.stderr.splitlines()[-2:] == [
        f"records: {measured / 'records.jsonl'}",
        f"next: hemline choose {measured}",
    ]
    assert ended.stdout == invoke("table", measured).stdout


def test_verbose_tells_the_sources_that_were_tried() -> None:
    told = in_shell("-v", "data", "check", "mnist").stderr.splitlines()
    assert told[0].startswith("INFO: cache: no train-images-idx3-ubyte (or .gz) in ")
    assert told[-1].startswith("error: MNIST was not found")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("hemline", "ex"), "plain,export"),
        (("hemline", "export", "--sch"), "plain,--scheme"),
        (("hemline", "data", "ch"), "plain,check"),
        (("hemline", "exprot", "--sch"), ""),
    ],
)
def test_a_shell_completes_commands_and_options(words: tuple[str, ...], offered: str) -> None:
    done = in_shell(
        COMP_WORDS=" ".join(words),
        COMP_CWORD=str(len(words) - 1),
        _HEMLINE_COMPLETE="bash_complete",
    )
    assert (done.stdout.strip(), done.stderr) == (offered, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_has_a_script_for_each_shell(shell: str) -> None:
    done = in_shell(_HEMLINE_COMPLETE=f"{shell}_source")
    assert "_HEMLINE_COMPLETE" in done.stdout
    assert not done.stderr


EPOCHS = """
import click
from hemline.bars import show_progress
from hemline.progress import Progress
show_progress(click.Context(click.Command("train")))
with Progress("training", 4) as progress:
    for epoch in (2, 3, 4):
        progress.show(f"loss 0.{epoch}", done=epoch, line=f"epoch {epoch}/4")
    progress.say("a [line] that stays")
"""


def on_terminal(code: str) -> str:
    """Return what a program writes to a terminal of 100 columns as its stderr."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    shown = b""
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=variables) as child:
        os.close(theirs)
        with contextlib.suppress(OSError):  # the end of a terminal that nobody holds
            while part := os.read(ours, 1 << 16):
                shown += part
    os.close(ours)
    assert child.returncode == 0
    return shown.decode()


def test_progress_is_a_line_for_each_step_where_there_is_no_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", EPOCHS], capture_output=True, text=True)
    assert done.stderr.splitlines() == [
        "epoch 2/4",
        "epoch 3/4",
        "epoch 4/4",
        "a [line] that stays",
    ]


def test_progress_on_a_terminal_is_a_bar_that_leaves_nothing_but_what_was_said() -> None:
    shown = on_terminal(EPOCHS)
    assert "training" in shown
    assert "loss 0.3" in shown
    assert "epoch 2/4" not in shown
    assert "0:00:0" in shown  # the remaining time
    hidden, visible = "\x1b[?25l", "\x1b[?25h"
    assert shown.rindex(visible) > shown.rindex(hidden)
    assert "a [line] that stays" in shown
    assert shown.endswith("\x1b[2K")  # the bar's own line is erased at the end


def test_reading_images_that_fails_gives_the_terminal_its_cursor_back(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for at in range(3):
            (tmp_path / label / f"{at}.pgm").write_bytes(b"P5 2 2 255\n" + bytes([at] * 4))
    (tmp_path / "b" / "2.pgm").write_bytes(b"P5 2 2 255\n")
    code = f"""
import sys
sys.argv = ["hemline", "data", "check", "--data", {str(tmp_path)!r}]
from hemline.cli import main
try:
    main()
except SystemExit:
    pass
"""
    shown = on_terminal(code)
    assert "reading" in shown
    assert "error: " in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_a_package_logs_one_line_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hemline")
    theirs = logging.getLogger("tf2onnx.optimizer")
    with logged_in_one_line("tf2onnx"):
        try:
            raise KeyError("node")
        except KeyError:
            theirs.warning("Failed to apply\n%s", "lstm", exc_info=True)
    assert [record.getMessage() for record in caplog.records] == [
        "tf2onnx.optimizer: Failed to apply lstm"
    ]
    assert "Traceback" not in caplog.text


def test_results_reach_a_file_while_a_bar_is_shown(tmp_path: Path) -> None:
    place = f"import sys; sys.stdout = open({str(tmp_path / 'out')!r}, 'w')\n"
    code = EPOCHS.replace("    progress.say", "    print('a result')\n    progress.say")
    assert "loss 0.3" in on_terminal(place + code)
    assert (tmp_path / "out").read_text() == "a result\n"
