"""Strangers: named sets and folders, always in the same two halves, and the figures of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hemline.contract.specs import InputSpec
from hemline.data.strangers import GENERATED, Strangers, load_strangers, own_classes
from hemline.errors import DataError, UnknownNameError
from hemline.pictures.generated import varied_images
from hemline.remedies import described
from hemline.statistics import accepted_strangers, auroc

SPEC = InputSpec(height=12, width=10, channels=3, dtype="float32")


def load(name: object) -> Strangers:
    return load_strangers(str(name), SPEC, "stretch")


@pytest.mark.parametrize("name", GENERATED)
def test_generated_sets_are_always_the_same_and_their_halves_share_no_image(name: str) -> None:
    first, again = load(name), load(name)
    np.testing.assert_array_equal(first.second, again.second)
    assert first.first.shape[1:] == SPEC.shape
    assert first.first.dtype == np.uint8
    halves = [{each.tobytes() for each in half} for half in (first.first, first.second)]
    assert not halves[0] & halves[1]
    # 1,000 fair coins: 5 standard deviations are 79
    assert abs(len(first.first) - len(first.second)) < 0.2 * sum(map(len, halves))


def test_an_image_stays_in_its_half_whatever_else_is_in_the_set(tmp_path: Path) -> None:
    images = varied_images((12, 10, 3), 200)
    np.savez(tmp_path / "all.npz", x=images)
    np.savez(tmp_path / "some.npz", x=np.concatenate([images[150::-1], images[:20]]))
    every, some = load(tmp_path / "all.npz"), load(tmp_path / "some.npz")
    assert {x.tobytes() for x in some.first} <= {x.tobytes() for x in every.first}
    assert len(some.first) + len(some.second) == 151, "copies count once"


def test_a_folder_of_pictures_is_converted_as_the_model_wants(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for at, image in enumerate(varied_images((20, 30, 1), 100)):
        np.save(tmp_path / "below" / f"{at}.npy", image)
    (tmp_path / "below" / "._1.png").write_bytes(b"what macOS keeps beside a file")
    assert load(tmp_path).second.shape[1:] == SPEC.shape


def test_strangers_that_are_of_the_models_classes_are_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "boot").mkdir(parents=True)
    (tmp_path / "train" / "chair").mkdir()
    names = (str(tmp_path), "noise", "fashion-mnist", str(tmp_path / "train" / "chair"))
    assert [*own_classes(names, ("bag", "boot", "Coat"))] == [
        f"note: {tmp_path} has classes of the model (boot): strangers are of none",
        "note: fashion-mnist has classes of the model (Coat): strangers are of none",
    ]


def test_of_many_strangers_those_that_are_taken_are_spread_evenly(tmp_path: Path) -> None:
    images = np.zeros((4001, 12, 10, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(4001), 256)
    np.savez(tmp_path / "sorted.npz", x=images)
    found = load(tmp_path / "sorted.npz")
    taken = np.concatenate([found.first, found.second])[:, 0, 0, :2].astype(int) @ [256, 1]
    assert sorted(taken) == list(range(0, 4001, 3))


def test_too_few_strangers_and_unknown_names_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=varied_images((12, 10, 3), 30))
    with pytest.raises(DataError, match="has 30 different images: strangers are measured on at"):
        load(tmp_path / "few.npz")
    with pytest.raises(UnknownNameError) as told:
        load("digit")
    assert described(told.value) == (
        "unknown set of strangers 'digit': did you mean 'digits'? or name a folder or an .npz of "
        "images"
    )


def test_auroc_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(2)
    known, strangers = random.integers(0, 9, 300), random.integers(3, 12, 200)  # with equal values
    truth = np.r_[np.zeros(300), np.ones(200)]
    expected = roc_auc_score(truth, np.r_[known, strangers])
    assert auroc(known, strangers) == pytest.approx(expected, abs=1e-12)


def test_accepted_strangers_are_those_within_the_limit_of_95_percent() -> None:
    known = np.arange(100)  # 95 of them are at most 94, and so the limit is 95 or below
    assert accepted_strangers(known, np.array([10, 94, 95, 96, 200])) == 0.6
    assert accepted_strangers(known, known + 1000) == 0.0
