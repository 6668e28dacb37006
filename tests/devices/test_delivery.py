"""Deliver a file to boards: three sshds on loopback ports, one after the other, wrong and away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from loopback_sshd import Board, NoSshdError, let_in, running_board, write_ssh
from required import missing

from hemline.bench.devices.checking import Check
from hemline.bench.devices.delivery import require_correct
from hemline.bench.devices.equality import Equality
from hemline.bench.devices.registry import Entry, add_entry, registry_path
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, read_manifest
from hemline.contract.record import Accuracy, pack_predictions
from hemline.contract.stamp import read_stamped, stamp_tflite
from hemline.errors import GateError, HemlineError
from hemline.files import sha256_of
from hemline.signing.signature import write_keys
from hemline.user_folders import cache_folder

NAMES = ("pi1", "pi2", "pi3")
PLACE = "app/model.tflite"


@pytest.fixture
def boards(
    tmp_path: Path, warm_cache: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Board, ...]]:
    """Return three boards that unpack wheels once, and have the names pi1, pi2 and pi3."""
    with contextlib.ExitStack() as stack:
        try:
            folders = [tmp_path / name for name in NAMES]
            started = [stack.enter_context(running_board(f, cache_folder())) for f in folders]
        except NoSshdError as error:
            missing("ssh", str(error))
        write_ssh(started[0], tmp_path / "here" / "ssh")
        monkeypatch.setenv("PATH", f"{tmp_path}/here{os.pathsep}{os.environ['PATH']}")
        for name, board in zip(NAMES, started, strict=True):
            let_in(board, started[0])
            board.cache.mkdir(parents=True)
            (tmp_path / "environments").mkdir(exist_ok=True)
            (board.cache / "environments").symlink_to(tmp_path / "environments")
            add_entry(registry_path(), Entry(name=name, address=f"ssh:{board.address}"))
        yield tuple(started)


def with_other_reference(bundle: Path, copy: Path) -> Path:
    """Return a copy of a bundle whose source model gives every class the logits of the next."""
    shutil.copytree(bundle, copy)
    path = copy / "evaluation" / "validation-logits.npy"
    np.save(path, np.roll(np.load(path), 1, axis=1))
    manifest = read_manifest(copy)
    hashes = {**manifest.evaluation_sha256, f"evaluation/{path.name}": sha256_of(path)}
    schema.save(copy / MANIFEST_NAME, dataclasses.replace(manifest, evaluation_sha256=hashes))
    return copy


def run(*words: object, code: int = 0) -> tuple[list[dict[str, object]], str]:
    """Run `hemline device …`; return its JSON lines and what it printed on standard error."""
    result = CliRunner().invoke(cli, ["device", *map(str, words), "--json"])
    error = result.exception
    if isinstance(error, HemlineError):
        assert error.exit_code == code, error
        return [], str(error)
    assert result.exit_code == code, (result.output, error)
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def statuses(lines: list[dict[str, object]]) -> list[object]:
    return [line["status"] for line in lines]


def files_there(board: Board) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted((board.home / "app").glob("*"))}


@pytest.mark.devices
def test_a_file_goes_to_three_boards_and_back_in_one_command(
    boards: tuple[Board, ...], bundle: Path, tmp_path: Path
) -> None:
    to = ("--device", "pi1", "--device", "pi2,pi3", "--to", PLACE)
    first, second = bundle / "fp32.tflite", bundle / "int8.tflite"
    lines, _ = run("push", first, *to)
    assert [line["device"] for line in lines] == list(NAMES)
    assert statuses(lines) == ["installed"] * 3
    assert all(line["images"] and line["correct"] is not None for line in lines)
    assert all(files_there(board) == {"model.tflite": sha256_of(first)} for board in boards)
    lines, _ = run("push", second, *to, "--after", "echo restarted >> log")
    there = {"model.tflite": sha256_of(second)}
    assert all(files_there(board) == there for board in boards)
    assert {line["installed"]["previous_sha256"] for line in lines} == {sha256_of(first)}
    assert all((board.home / "log").read_text() == "restarted\n" for board in boards)
    assert statuses(run("push", second, *to)[0]) == ["unchanged"] * 3
    assert all(files_there(board) == there for board in boards)
    lines, _ = run("rollback", *to, "--after", "echo again >> log")
    assert statuses(lines) == ["rolled back"] * 3
    assert all(files_there(b)["model.tflite"] == sha256_of(first) for b in boards)
    assert all((board.home / "log").read_text() == "restarted\nagain\n" for board in boards)
    run("rollback", *to)
    assert all(files_there(board) == there for board in boards)


@pytest.mark.devices
def test_the_rest_is_skipped_when_the_first_board_fails_and_every_board_keeps_its_file(
    boards: tuple[Board, ...], bundle: Path, tmp_path: Path
) -> None:
    to = ("--device", "pi1,pi2,pi3", "--to", PLACE)
    good = bundle / "fp32.tflite"
    run("push", good, *to)
    wrong = with_other_reference(bundle, tmp_path / "wrong") / "int8.tflite"
    lines, said = run("push", wrong, *to, code=3)
    assert statuses(lines) == ["failed", "skipped", "skipped"]
    assert "int8.tflite in litert on pi1: failed (" in said
    assert all(files_there(board) == {"model.tflite": sha256_of(good)} for board in boards)


@pytest.mark.devices
def test_a_board_where_the_restart_fails_gets_its_file_back(
    boards: tuple[Board, ...], bundle: Path
) -> None:
    old, new = bundle / "fp32.tflite", bundle / "int8.tflite"
    to = ("--device", "pi1,pi2", "--to", PLACE)
    good = f"sha256sum app/model.tflite | grep -q {sha256_of(old)}"
    restart = f"echo restart >> log; {good} || {{ echo no >&2; exit 7; }}"
    run("push", old, *to, "--after", restart)
    lines, said = run("push", new, *to, "--after", restart, code=1)
    assert statuses(lines) == ["failed", "skipped"]
    assert "(exit code 7): no; the previous file is back" in said
    assert files_there(boards[0])["model.tflite"] == sha256_of(old)
    assert (boards[0].home / "log").read_text() == "restart\n" * 3  # old, new, old again
    assert (boards[1].home / "log").read_text() == "restart\n"


@pytest.mark.devices
def test_a_file_of_other_labels_is_only_replaced_on_purpose(
    boards: tuple[Board, ...], bundle: Path
) -> None:
    file, to = bundle / "int8.tflite", ("--device", "pi1", "--to", PLACE)
    (place := boards[0].home / PLACE).parent.mkdir()
    stamped = read_stamped(file)
    labels = tuple(f"other {label}" for label in stamped.stamp.labels)
    other = dataclasses.replace(stamped.stamp, labels=labels)
    place.write_bytes(stamp_tflite(stamped.model, other))
    before = sha256_of(place)
    lines, said = run("push", file, *to, code=3)
    assert statuses(lines) == ["failed"]
    assert f"{PLACE} on pi1 has other labels or another image size than {file}; replace" in said
    assert sha256_of(place) == before
    assert statuses(run("push", file, *to, "--force")[0]) == ["installed"]
    lines, said = run("rollback", *to, "--after", "false", code=1)
    assert statuses(lines) == ["rolled back, command failed"]
    assert lines[0]["installed"]["sha256"] == before == sha256_of(place)
    assert "'false' failed (exit code 1)" in said


@pytest.mark.devices
def test_a_board_that_is_away_stops_no_other_one_of_the_rest(
    boards: tuple[Board, ...], bundle: Path
) -> None:
    file = bundle / "int8.tflite"
    boards[1].process.terminate()
    boards[1].process.wait()
    lines, said = run("push", file, "--device", "pi1,pi2,pi3", "--to", PLACE, code=1)
    assert statuses(lines) == ["installed", "failed", "installed"]
    assert "127.0.0.1" in said
    to = ("--device", "pi2,pi3", "--to", PLACE)
    assert statuses(run("push", file, *to, code=1)[0]) == ["failed", "skipped"]
    lines, _ = run("push", file, *to, "--canary", "0", code=1)
    assert statuses(lines) == ["failed", "unchanged"]


def checked(correct: int, correct_here: int, same_labels: int) -> Check:
    accuracy = Accuracy(
        split="validation",
        images=500,
        correct=correct,
        agreement=500,
        keras_correct=450,
        predictions=pack_predictions(np.zeros(500, np.intp)),
    )
    equality = Equality(
        images=500,
        same_labels=same_labels,
        logits=5000,
        unequal=100,
        largest_difference=0.1,
        largest_steps=1,
    )
    payload = SimpleNamespace(payload=accuracy)
    return Check(
        artifact="int8.tflite",
        runtime="litert",
        version="2.3.0",
        device="pi1",
        status="passed",
        reason="",
        equality=equality,
        correct_here=correct_here,
        records=(payload,),  # type: ignore[arg-type]
    )


def test_an_accuracy_that_is_lower_than_by_chance_fails_a_board() -> None:
    assert require_correct(checked(450, 450, 500)).correct == 450
    assert require_correct(checked(443, 450, 493)).correct == 443  # 7 of 7 lost: p = 0.016
    assert require_correct(checked(442, 450, 480)).correct == 442  # 14 of 20: p = 0.12
    assert require_correct(checked(460, 450, 490)).correct == 460
    said = "int8.tflite classifies 442 of 500 images correctly on pi1, and 450 on this machine"
    with pytest.raises(GateError, match=said):
        require_correct(checked(442, 450, 492))  # 8 of 8 lost: p = 0.008


def test_a_place_is_for_files_of_a_bundle_on_a_board(bundle: Path, tmp_path: Path) -> None:
    file = bundle / "int8.tflite"
    said = run("push", file, "--device", "pi1", "--to", "model.onnx", code=2)[1]
    assert "'model.onnx' does not end in .tflite" in said
    said = run("push", file, "--device", "emulated:pi4", "--to", PLACE, code=2)[1]
    assert "no file can be installed on emulated:pi4: name boards over ssh" in said
    assert "unknown device 'pi1'" in run("rollback", "--device", "pi1", "--to", PLACE, code=2)[1]
    write_keys(tmp_path / "key")
    to = ("--device", "ssh:pi@board", "--to", PLACE, "--key", tmp_path / "key.pub")
    assert "int8.tflite is not signed" in run("push", file, *to, code=3)[1]
    copy = shutil.copytree(bundle, tmp_path / "copy") / "int8.tflite"
    shutil.copy(bundle / "fp32.tflite", copy)
    away = ("--device", "ssh:pi@board.invalid", "--to", PLACE)
    assert "is not the file that manifest.json describes" in run("push", copy, *away, code=1)[1]
    assert "'pi1' is named twice" in run("push", file, *to[2:], "--device", "pi1,pi1", code=2)[1]
    lone = shutil.copy(file, tmp_path / "lone.tflite")
    assert "is not a bundle" in run("push", lone, "--device", "pi1", "--to", PLACE, code=1)[1]
