"""The precision of a training: measured, only where there is a choice, and kept when resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hemline.data.datasets import Images
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import TrainRequest
from hemline.train.tensorflow import quiet_keras

quiet_keras()

from hemline.train import training  # noqa: E402 — after TensorFlow's noise
from hemline.train.fitting import precision  # noqa: E402
from hemline.train.fitting.precision import Workload, faster_precision, resolve_precision  # noqa: E402


def timers(**step_seconds: float) -> tuple[Callable[[str], Callable[[int], float]], list[str]]:
    """Return what makes timers of a known speed, and the list of what was timed."""
    asked: list[str] = []

    def timer_of(policy: str) -> Callable[[int], float]:
        asked.append(policy)
        return lambda steps: steps * step_seconds[policy]

    return timer_of, asked


@pytest.mark.parametrize(
    ("bfloat16", "chosen"),
    [(0.02, "mixed_bfloat16"), (0.04, "float32"), (0.0375, "float32"), (0.06, "float32")],
    ids=["twice as fast", "as fast", "7 % faster", "slower"],
)
def test_bfloat16_must_clearly_gain(bfloat16: float, chosen: str) -> None:
    timer_of, _ = timers(float32=0.04, mixed_bfloat16=bfloat16)
    assert faster_precision(timer_of, steps=5_000) == chosen


def test_a_short_training_is_not_measured() -> None:
    timer_of, asked = timers(float32=0.01, mixed_bfloat16=0.001)
    assert faster_precision(timer_of, steps=500) == "float32"
    assert asked == ["float32"]


@pytest.mark.parametrize(
    ("trained", "here", "expected"),
    [
        (["mixed_bfloat16"], True, "mixed_bfloat16"),
        (["mixed_bfloat16"], False, "float32"),
        (["mixed_bfloat16", "float32"], True, "float32"),
        ([], True, "float32"),
    ],
)
def test_teachers_compute_in_what_they_were_trained_in(
    trained: list[str], here: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: here)
    cards: Any = [SimpleNamespace(trained=SimpleNamespace(precision=each)) for each in trained]
    assert precision.teacher_precision(cards) == expected


@pytest.fixture
def workload(tiny_model: Any) -> Workload:
    return Workload(model=tiny_model, recipe=Recipe(batch=24, epochs=3), images=96)


def test_nothing_is_measured_where_there_is_no_choice(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "faster_precision", None)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert resolve_precision(workload) == "float32"
    for named in ("float32", "mixed_bfloat16"):
        asked = replace(workload, recipe=replace(workload.recipe, precision=named))
        assert resolve_precision(asked) == named


@pytest.mark.slow
def test_real_steps_are_timed_in_both(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_WORTH_SECONDS", 0.0)
    monkeypatch.setattr(precision, "_ROUND_SECONDS", 0.01)
    seen: list[tuple[float, float]] = []
    real = precision.faster_precision

    def watched(timer_of: Callable[[str], Callable[[int], float]], *, steps: int) -> str:
        assert steps == 3 * 4
        for policy in ("float32", "mixed_bfloat16"):
            timer = timer_of(policy)
            timer(2)
            seen.append((timer(1), timer(20)))
        return real(timer_of, steps=steps)

    monkeypatch.setattr(precision, "faster_precision", watched)
    assert resolve_precision(workload) in ("float32", "mixed_bfloat16")
    assert all(one > 0 and twenty > 2 * one for one, twenty in seen), "more steps take longer"


@pytest.mark.slow
def test_an_interrupted_run_goes_on_in_the_precision_that_it_began_in(
    tiny_row: Any, images: Images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = TrainRequest(
        model=tiny_row,
        recipe=Recipe(epochs=2, batch=50, validation=100),
        recipe_name="test",
        seed=1,
        folder=tmp_path / "run",
    )

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    def go_on(*_: Any) -> None:
        pass

    monkeypatch.setattr(training, "resolve_precision", lambda _: "mixed_bfloat16")
    with pytest.raises(KeyboardInterrupt):
        training.train(request, images, on_epoch=stop)
    monkeypatch.setattr(training, "resolve_precision", lambda _: "float32")
    card = training.train(request, images, on_epoch=go_on)
    assert (card.trained.precision, len(card.trained.history)) == ("mixed_bfloat16", 2)
    other = replace(request, folder=tmp_path / "other")
    assert training.train(other, images, on_epoch=go_on).trained.precision == "float32"
