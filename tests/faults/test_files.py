"""Damaged files end with one line that names the file; nothing is believed that was altered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hemline.contract.checkpoint import CARD_NAME, MODEL_NAME
from hemline.contract.manifest import MANIFEST_NAME

Damage = Callable[[Path], None]
slow = pytest.mark.slow


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def first_line_cut(path: Path) -> None:
    path.write_bytes(b"{\n" + path.read_bytes())


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def set_field(part: str | None = None, **changes: object) -> Damage:
    """Return what changes fields of the (last) JSON document of a file, or of one part of it."""

    def change(path: Path) -> None:
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        document = json.loads(lines[-1])
        changed = changes if part is None else {part: {**document[part], **changes}}
        lines[-1] = json.dumps({**document, **changed})
        path.write_text("\n".join(lines) + "\n")

    return change


def endless(path: Path) -> None:
    """Give a number that JSON can write and no computer can hold."""
    text = path.read_text()
    start = text.index('"temperature": ') + len('"temperature": ')
    path.write_text(f"{text[:start]}1e999{text[text.index(',', start) :]}")


def no_images(path: Path) -> None:
    """Make the last record one of no images at all."""
    payload = json.loads(path.read_text().splitlines()[-1])["payload"]
    set_field(payload={**payload, "images": 0, "correct": 0, "agreement": 0})(path)


BACKWARDS = {
    "seed": 0,
    "limit": None,
    "validation_indices": [5, 3],
    "validation_sha256": "",
}
NEWER = set_field(schema=99)
OTHER_KIND = set_field(kind="recipe")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (CARD_NAME, cut, "card.json is not valid JSON"),
        pytest.param(CARD_NAME, empty, "card.json is not valid JSON", marks=slow),
        (CARD_NAME, remove, "is not a checkpoint: it has no card.json; train one first"),
        pytest.param(
            CARD_NAME,
            make_a_folder,
            "is not a checkpoint: it has no card.json; train one first",
            marks=slow,
        ),
        (CARD_NAME, NEWER, "card.json has card schema 99, this Hemline reads versions up to"),
        pytest.param(
            CARD_NAME, OTHER_KIND, "card.json: kind must be 'card', not 'recipe'", marks=slow
        ),
        pytest.param(
            CARD_NAME,
            set_field("model", temperature=-1.0),
            "card.json: model: temperature must be",
            marks=slow,
        ),
        (
            CARD_NAME,
            set_field("training", scores=[]),
            "card.json: training: it has no accuracy for",
        ),
        pytest.param(CARD_NAME, endless, "1e999 is too large for a number", marks=slow),
        (CARD_NAME, set_field("training", split=BACKWARDS), "validation_indices must ascend"),
        pytest.param(
            CARD_NAME,
            set_field("training", seed=10**400),
            "card.json: training.seed must be at most",
            marks=slow,
        ),
        pytest.param(
            CARD_NAME,
            set_field("model", sha256="0" * 64),
            "does not match its card",
            marks=slow,
        ),
        pytest.param(MODEL_NAME, cut, "checkpoint.keras does not match its card", marks=slow),
        (MODEL_NAME, alter, "checkpoint.keras does not match its card"),
        pytest.param(MODEL_NAME, empty, "checkpoint.keras does not match its card", marks=slow),
        pytest.param(MODEL_NAME, remove, "checkpoint.keras: no such file", marks=slow),
        pytest.param(MODEL_NAME, make_a_folder, "checkpoint.keras: is a directory", marks=slow),
    ],
)
def test_a_damaged_checkpoint_is_not_exported(
    hemline, checkpoint_copy: Path, data_folder: Path, name: str, damage: Damage, message: str
) -> None:
    damage(checkpoint_copy / name)
    ended = hemline.run(
        "-q", "export", "--checkpoint", checkpoint_copy, "-o", "new", "--data", data_folder
    )
    assert message in ended.error
    assert ended.code == 1
    assert [path.name for path in hemline.folder.glob("new/*")] in ([], [".lock"])


@pytest.mark.parametrize(
    "command",
    ["table", *(pytest.param(name, marks=slow) for name in ("verify", "bench", "choose"))],
)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "manifest.json is not valid JSON"),
        (remove, "is not a bundle: it has no manifest.json; run `hemline export` first"),
        (NEWER, "manifest.json has manifest schema 99, this Hemline reads versions up to"),
        pytest.param(
            OTHER_KIND, "manifest.json: kind must be 'manifest', not 'recipe'", marks=slow
        ),
        pytest.param(
            set_field(artifacts="int8"), "manifest.json: artifacts must be a list", marks=slow
        ),
    ],
)
def test_a_damaged_manifest_is_told(
    hemline, copy: Path, command: str, damage: Damage, message: str
) -> None:
    damage(copy / MANIFEST_NAME)
    ended = hemline.run(command, copy)
    assert message in ended.error
    assert ended.code == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (first_line_cut, "line 1 is not valid JSON"),
        pytest.param(set_field(payload=None), "payload.kind must be one of", marks=slow),
        (NEWER, "has record schema 99, this Hemline reads versions up to"),
        pytest.param(OTHER_KIND, "kind must be 'record', not 'recipe'", marks=slow),
        (set_field(payload={"kind": []}), "payload.kind must be one of"),
        (no_images, "payload: 0 correct and 0 alike of 0"),
    ],
)
@pytest.mark.parametrize("command", ["table", pytest.param("bench --quick", marks=slow)])
def test_damaged_records_are_told(
    hemline, copy: Path, command: str, damage: Damage, message: str
) -> None:
    damage(copy / "records.jsonl")
    ended = hemline.run("-q", *command.split(), copy)
    assert message in ended.error
    assert ended.code == 1


def test_records_that_end_in_the_middle_of_a_line_are_told(hemline, copy: Path) -> None:
    cut(copy / "records.jsonl")
    ended = hemline.run("table", copy)
    warning, error = ended.errors
    assert warning.endswith("the last line is incomplete and was skipped")
    assert error.startswith("error: the records lack the source model's predictions")
    assert ended.code == 1


@pytest.mark.parametrize("name", ["int8.tflite", pytest.param("int8.onnx", marks=slow)])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "has no Hemline stamp; copy it again if it is truncated"),
        (alter, "was modified: its bytes differ from the stamped hash"),
        pytest.param(empty, "has no Hemline stamp", marks=slow),
        (remove, "no such file"),
        (make_a_folder, "is not a bundle: it has no manifest.json"),
    ],
)
def test_a_damaged_artifact_is_not_opened(
    hemline, copy: Path, name: str, damage: Damage, message: str
) -> None:
    damage(copy / name)
    ended = hemline.run("classify", copy / name, "a.png")
    assert message in ended.error
    assert name in ended.error
    assert ended.code == 1


@pytest.mark.parametrize("damage", [cut, remove])
@pytest.mark.parametrize("command", ["verify", pytest.param("bench --quick", marks=slow)])
def test_a_bundle_with_a_damaged_artifact_says_what_to_do(
    hemline, copy: Path, command: str, damage: Damage
) -> None:
    damage(copy / "fp16.tflite")
    ended = hemline.run("-q", *command.split(), copy)
    assert "fp16.tflite" in ended.error
    assert ended.code == 1


@pytest.mark.parametrize(
    "command", ["verify", *(pytest.param(name, marks=slow) for name in ("bench --quick", "choose"))]
)
def test_swapped_artifacts_are_not_taken_for_each_other(hemline, copy: Path, command: str) -> None:
    (copy / "int8.tflite").write_bytes((copy / "fp16.tflite").read_bytes())
    ended = hemline.run("-q", *command.split(), copy)
    assert "int8.tflite is not the file that manifest.json describes" in ended.error
    assert "run `hemline export` again" in ended.error
    assert ended.code == 1


def test_an_artifact_called_by_another_format_is_told_or_opened_as_what_it_is(
    hemline, copy: Path
) -> None:
    (copy / "int8.onnx").rename(copy / "renamed.tflite")
    assert "has no Hemline stamp" in hemline.run("inspect", copy / "renamed.tflite").error
    (copy / "int8.tflite").rename(copy / "renamed.onnx")  # its first bytes say what it is
    assert hemline.run("inspect", copy / "renamed.onnx").code == 0
    (copy / "fp32.onnx").rename(copy / "renamed.bin")
    assert "neither a .tflite nor an .onnx" in hemline.run("inspect", copy / "renamed.bin").error


def test_a_name_with_a_way_out_of_the_bundle_is_refused(hemline, copy: Path) -> None:
    text = (copy / MANIFEST_NAME).read_text().replace('"int8.tflite"', '"../int8.tflite"')
    (copy / MANIFEST_NAME).write_text(text)
    assert "points outside the bundle" in hemline.run("bench", copy).error


@slow
def test_lost_records_are_made_again(hemline, copy: Path) -> None:
    (copy / "records.jsonl").unlink()
    assert "has no records; run `hemline verify" in hemline.run("table", copy).error
    assert hemline.run("verify", copy).code == 0
    assert hemline.run("table", copy).code == 0


def test_a_manifest_of_a_newer_hemline_is_not_overwritten(
    hemline, checkpoint: Path, copy: Path, data_folder: Path
) -> None:
    NEWER(copy / MANIFEST_NAME)
    before = (copy / MANIFEST_NAME).read_bytes()
    ended = hemline.run(
        "-q", "export", "--checkpoint", checkpoint, "-o", copy, "--data", data_folder
    )
    assert "upgrade Hemline" in ended.error
    assert (copy / MANIFEST_NAME).read_bytes() == before


@slow
def test_a_runtime_that_only_a_newer_hemline_knows_does_no_harm(hemline, copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST_NAME).read_text())
    verdicts = manifest["artifacts"][0]["verdicts"]
    verdicts.append({**verdicts[0], "runtime": "quantum", "inputs_sha256": "0"})
    verdicts[0]["inputs_sha256"] = "0"  # so that something is to be verified
    (copy / MANIFEST_NAME).write_text(json.dumps(manifest))
    assert hemline.run("verify", copy).code == 0
    assert hemline.run("-q", "bench", copy, "--rounds", "1").code == 0
    assert "quantum" in (copy / MANIFEST_NAME).read_text()


@pytest.mark.parametrize("content", [None, b""])
def test_a_data_folder_without_data_is_told(hemline, content: bytes | None) -> None:
    folder = hemline.folder / "data"
    folder.mkdir()
    if content is not None:
        (folder / "train-images-idx3-ubyte").write_bytes(content)
    for command in ("train -o new", "data fetch"):
        ended = hemline.run("-q", *command.split(), "--data", folder)
        assert "-ubyte" in ended.error
        assert str(folder) in ended.error
        assert ended.code == 1
