"""Artifacts of several models in one comparison, judged on the same images."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hemline.bench.choosing import choice_of, write_choice
from hemline.bench.comparison import Comparison, candidates
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import compared, names_of
from hemline.bench.report.commands import _say_stored
from hemline.bench.report.plot import draw
from hemline.bench.report.verdict import explain, recommend
from hemline.bench.same_images import require_same_images
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.budget import Budget
from hemline.contract.evaluation_set import load_split, save_split
from hemline.contract.manifest import MANIFEST_NAME, Manifest, read_manifest
from hemline.contract.record import (
    RECORDS_NAME,
    Accuracy,
    Latency,
    append_records,
    read_records,
)
from hemline.errors import GateError, UnknownNameError, UsageError
from hemline.progress import report_to
from hemline.remedies import described


def model_named(name: str, bundle: Path, folder: Path, *, times: int) -> Subject:
    """Return a copy of a bundle as that of another model, whose files take `times` as long."""
    shutil.copytree(bundle, folder)
    manifest = replace(read_manifest(folder), model=name)
    schema.save(folder / MANIFEST_NAME, manifest)
    records = [
        replace(record, cell=replace(record.cell, model=name))
        for record in read_records(folder / RECORDS_NAME)
    ]
    timed = [
        replace(each, payload=Latency(rounds_ns=((times * each.cell.size_bytes,),)))
        for each in records
        if isinstance(each.payload, Accuracy) and not each.cell.is_source
    ]
    (folder / RECORDS_NAME).unlink()
    append_records(folder / RECORDS_NAME, (*records, *timed))
    return Subject(bundle=folder, manifest=manifest)


@pytest.fixture
def subjects(bundle: Path, tmp_path: Path) -> tuple[Subject, Subject]:
    """Return a model and one that takes half the time, whose classes are numbered backwards."""
    slow = model_named("slow", bundle, tmp_path / "slow-bundle", times=2)
    quick = model_named("quick", bundle, tmp_path / "quick-bundle", times=1)
    return slow, quick


@pytest.fixture
def comparison(subjects: tuple[Subject, Subject]) -> Comparison:
    return compared(subjects)


def test_each_row_keeps_its_model_and_each_model_its_source(comparison: Comparison) -> None:
    assert [model.name for model in comparison.models] == ["slow", "quick"]
    assert {row.model.name for row in comparison.rows} == {"slow", "quick"}
    assert len(comparison.rows) == 2 * len([r for r in comparison.rows if r.cell.model == "slow"])
    assert all(row.model.source is not None for row in comparison.rows)
    assert comparison.title == "slow and quick"


def test_two_bundles_of_one_model_are_named_by_their_folders(
    subjects: tuple[Subject, Subject],
) -> None:
    slow, quick = subjects
    twin = replace(quick, manifest=replace(quick.manifest, model="slow"))
    assert names_of([slow, twin]) == ["slow (slow-bundle)", "slow (quick-bundle)"]
    deeper = replace(twin, bundle=slow.bundle / "slow-bundle")
    assert names_of([slow, deeper]) == [f"slow ({each.bundle})" for each in (slow, deeper)]


def fastest(subject: Subject) -> str:
    """Return the file that was planted as the fastest: the smallest."""
    return min(subject.manifest.artifacts, key=lambda each: each.size_bytes).name


def test_the_choice_is_written_into_the_bundle_that_it_is_in(
    subjects: tuple[Subject, Subject],
) -> None:
    name = fastest(subjects[0])
    slow, quick = (str(each.bundle) for each in subjects)
    words = ["choose", slow, quick, "--max-drop", "100"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.output.startswith(f"Ship {name} of quick with ")
    result = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    document = json.loads(result.stdout)
    assert (document["model"], document["artifact"]) == ("quick", name)
    assert read_manifest(Path(quick)).recommended == name
    assert read_manifest(Path(slow)).recommended is None


def test_a_model_that_was_not_timed_here_is_left_out_and_named(comparison: Comparison) -> None:
    rows = tuple(
        replace(row, payloads=(row.test,)) if row.model.name == "quick" else row
        for row in comparison.rows
    )
    here = replace(comparison, rows=rows)
    chosen = recommend(here, Budget(max_drop_points=100))
    assert chosen.model.name == "slow"
    reasons = explain(here, Budget(max_drop_points=100), chosen)
    assert reasons[-1] == f"Left out: no file of quick passed and was measured on {here.where}."


def test_where_nothing_fits_the_model_that_was_not_measured_comes_first(
    subjects: tuple[Subject, Subject], comparison: Comparison
) -> None:
    rows = tuple(
        replace(row, payloads=(row.test,)) if row.model.name == "quick" else row
        for row in comparison.rows
    )
    here = replace(comparison, rows=rows)
    with pytest.raises(GateError) as error:
        choice_of(subjects, here, Budget(max_kb=1))
    first, *files = described(error.value).splitlines()
    assert first == (
        f"no file of quick passed and was measured on {here.where}; no artifact fits the budget:"
    )
    slow = [row for row in rows if row.model.name == "slow"]
    assert len(files) == len(slow) + 1
    assert all(
        re.fullmatch(r"  slow \S+ in \S+ has \d+ kB \(budget 1\)", line) for line in files[:-1]
    )
    assert files[-1] == f"run `hemline bench {subjects[1].bundle}` first"


def test_a_file_left_out_for_validation_images_tells_what_it_loses_on_test(
    comparison: Comparison,
) -> None:
    """A loss of 1 of 33 validation images stands beside a table of test images without a loss."""
    models = comparison.models[:1]
    rows = [
        replace(
            row,
            validation=replace(
                row.validation, images=33, correct=33, agreement=33, keras_correct=33
            ),
        )
        for row in comparison.rows
        if row.model.name == "slow"
    ]
    test = replace(rows[1].test, correct=rows[1].test.keras_correct)
    rows[1] = replace(rows[1], test=test, validation=replace(rows[1].validation, correct=32))
    here = replace(comparison, models=models, rows=tuple(rows))
    chosen = recommend(here, Budget())
    assert (
        f"Left out: {rows[1].cell.artifact} in {rows[1].cell.runtime} loses 1 of 33 validation "
        "images (3.03 points; 0.5 allowed, less than one image). On test it loses none of "
        f"{test.images:,}."
    ) in explain(here, Budget(), chosen)


def test_a_name_that_is_no_emulated_board_is_not_something_unmeasured(
    subjects: tuple[Subject, Subject],
) -> None:
    with pytest.raises(UnknownNameError, match="unknown emulated Raspberry Pi"):
        compared(subjects, "emulated:pi-4")


def test_each_device_keeps_its_own_choice(
    subjects: tuple[Subject, Subject], comparison: Comparison
) -> None:
    """A comparison on this machine used to overwrite what was chosen for a board."""
    board = replace(
        comparison,
        device="pi4",
        rows=tuple(replace(r, cell=replace(r.cell, device="pi4")) for r in comparison.rows),
    )
    dynamic = Budget(max_drop_points=None, artifacts=("dynamic.tflite",))
    there = choice_of(subjects, board, dynamic)
    write_choice(there)
    write_choice(choice_of(subjects, comparison, replace(dynamic, artifacts=("fp32.tflite",))))
    manifest = read_manifest(there.file.parent)
    found = {name: manifest.recommendation(name) for name in ("local", "pi4")}
    assert {name: each and each.artifact for name, each in found.items()} == {
        "local": "fp32.tflite", "pi4": "dynamic.tflite",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("device", "following"),
    [("browser", "pack {} --for web --device browser"), ("local", "classify {}/int8.tflite IMAGE")],
)
def test_the_next_command_is_about_the_device_that_was_chosen_for(
    subjects: tuple[Subject, Subject],
    comparison: Comparison,
    device: str,
    following: str,
) -> None:
    int8 = Budget(max_drop_points=None, artifacts=("int8.tflite",))
    choice = choice_of(subjects, comparison, int8)
    choice = replace(choice, candidate=replace(choice.candidate, device=device))
    said = list[str]()
    with click.Context(click.Command("choose")), report_to(said.append):
        _say_stored([choice])
    assert said[-1] == f"next: hemline {following.format(choice.file.parent)}"


def test_the_tables_and_lines_have_the_model_where_there_are_several(
    subjects: tuple[Subject, Subject], tmp_path: Path
) -> None:
    slow, quick = (str(each.bundle) for each in subjects)
    run = CliRunner()
    lines = run.invoke(cli, ["table", slow, quick], catch_exceptions=False).stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "artifact"]
    assert [line.split()[:2] for line in lines[2:4]] == [["slow", "keras"], ["slow", "fp32.tflite"]]
    alone = run.invoke(cli, ["table", slow], catch_exceptions=False).stdout
    assert alone.split()[0] == "artifact"
    rows = run.invoke(cli, ["table", slow, quick, "--json"], catch_exceptions=False).stdout
    documents = [json.loads(line) for line in rows.splitlines()]
    assert [(each["model"], each["artifact"]) for each in documents[:2]] == [
        ("slow", "keras"), ("quick", "keras"),
    ]  # fmt: skip
    assert {"test_lost", "test_won", "test_p_value", "median_us"} <= documents[-1].keys()
    export = str(tmp_path / "table.csv")
    run.invoke(cli, ["table", slow, quick, "--export-csv", export], catch_exceptions=False)
    assert (tmp_path / "table.csv").read_text().startswith("model,artifact,size (kB)")


def test_the_loss_is_counted_from_the_most_accurate_model(comparison: Comparison) -> None:
    def poor(accuracy: Accuracy) -> Accuracy:
        return replace(accuracy, correct=90, keras_correct=91, images=100)

    rows = tuple(
        replace(row, validation=poor(row.validation)) if row.model.name == "quick" else row
        for row in comparison.rows
    )
    worse = replace(comparison, rows=rows)
    best = max(each.validation.keras_correct or 0 for each in rows if each.model.name == "slow")
    share = best / rows[0].validation.images
    losses = {each.drop_points for each in candidates(worse) if each.model == "quick"}
    assert len(losses) == 1
    assert losses.pop() == pytest.approx(100 * share - 90)
    assert recommend(worse, Budget(max_drop_points=1)).model.name == "slow"
    alone = replace(worse, models=worse.models[1:], rows=rows[len(rows) // 2 :])
    assert {each.drop_points for each in candidates(alone)} == {1.0}


def test_of_files_alone_the_loss_is_counted_from_the_most_accurate_file(
    comparison: Comparison,
) -> None:
    """Beside a model with a source, whose figures are of other images, it is not known."""
    slow, quick = (replace(model, source=None) for model in comparison.models)
    files = tuple(
        replace(
            row,
            model=slow if row.model.name == "slow" else quick,
            validation=replace(row.validation, correct=at, keras_correct=at, images=100),
        )
        for row, at in zip(comparison.rows, range(50, 90, 2), strict=False)
    )
    found = candidates(replace(comparison, models=(slow, quick), rows=files))
    assert found[-1].drop_points == 0
    assert found[0].drop_points == 2 * (len(files) - 1)
    mixed = (replace(files[0], model=comparison.models[0]), *files[1:])
    beside = candidates(replace(comparison, rows=mixed))
    assert [each.drop_points for each in beside[1:]] == [None] * (len(files) - 1)


def test_a_model_that_is_more_accurate_is_named(
    subjects: tuple[Subject, Subject], comparison: Comparison
) -> None:
    rows = tuple(
        replace(row, test=replace(row.test, correct=150)) if row.model.name == "quick" else row
        for row in comparison.rows
    )
    better = replace(comparison, rows=rows)
    chosen = recommend(better, Budget(max_drop_points=100))
    assert chosen.model.name == "quick"
    reasons = explain(better, Budget(max_drop_points=100), chosen)
    assert (
        f"slow is more accurate: 100.00 % on test with {fastest(subjects[0])} · litert, "
        "in 2.0 × the time." in reasons
    )


@pytest.mark.slow
def test_one_picture_has_the_points_of_all_models(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "both.png"
    draw(comparison, path, chosen=comparison.rows[-1:])
    with Image.open(path) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 50


def seen_by(subject: Subject, pixels: np.ndarray, labels: np.ndarray) -> Subject:
    """Return a subject that was judged on these images and labels."""
    bundle, manifest = subject.bundle, subject.manifest
    logits = np.zeros((len(labels), 10), np.float32)
    hashes = save_split(bundle, "test", images=pixels, labels=labels, logits=logits)
    return replace(
        subject, manifest=replace(manifest, evaluation_sha256=manifest.evaluation_sha256 | hashes)
    )


def test_the_same_images_at_another_size_and_with_classes_in_another_order_are_the_same(
    subjects: tuple[Subject, Subject], manifest: Manifest
) -> None:
    slow, quick = subjects
    require_same_images(subjects)
    split = load_split(slow.bundle, "test", manifest.evaluation_sha256)
    assert split.labels is not None
    larger = np.repeat(np.kron(split.images, np.ones((1, 2, 2, 1), np.uint8)), 3, axis=3)
    names = tuple(name.upper().replace(" ", "_") for name in manifest.labels[::-1])
    other = seen_by(quick, larger, 9 - split.labels)
    other = replace(other, manifest=replace(other.manifest, labels=names))
    require_same_images([slow, other])


def test_other_images_labels_and_none_at_all_are_refused(
    subjects: tuple[Subject, Subject],
) -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 20)
    blocks = np.random.default_rng(0).integers(0, 256, (200, 4, 4, 1), np.uint8)
    pixels = np.kron(blocks, np.ones((1, 7, 7, 1), np.uint8))
    larger = np.kron(blocks, np.ones((1, 9, 9, 1), np.uint8))
    slow, quick = seen_by(subjects[0], pixels, labels), subjects[1]
    require_same_images([slow, seen_by(quick, larger, labels)])
    for images, known in (
        (np.roll(pixels, 1, axis=0), labels),
        (np.roll(larger, 1, axis=0), labels),
        (pixels, np.roll(labels, 1)),
        (pixels[:100], labels[:100]),
    ):
        with pytest.raises(UsageError, match="on other images") as caught:
            require_same_images([slow, seen_by(quick, images, known)])
        advice = described(caught.value)
        assert f"(--data {slow.bundle} uses the test images of that bundle)" in advice
    labelled = seen_by(quick, pixels, labels).manifest
    hashes = dict(labelled.evaluation_sha256)
    del hashes["evaluation/test-labels.npy"]
    unlabelled = replace(quick, manifest=replace(labelled, evaluation_sha256=hashes))
    require_same_images([unlabelled, unlabelled])  # latency and size can be compared
    with pytest.raises(UsageError, match="on other images"):
        require_same_images([slow, unlabelled])
