"""Find the cheapest remedy with which an 8-bit file meets a budget, and export it.

Remedies are judged by simulation on validation images. Files are made of one that loses little
enough, and are measured; a kill leaves the bundle as it was, and the next run goes on.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from hemline import files
from hemline.contract import schema
from hemline.contract.budget import Budget, Candidate, choose, over_budget, over_drop
from hemline.contract.manifest import MANIFEST_NAME, Artifact, Manifest, read_manifest
from hemline.contract.steps import Step
from hemline.data.datasets import Images
from hemline.errors import (
    FileFormatError,
    GateError,
    HemlineError,
    InterruptedWorkError,
    StorageError,
)
from hemline.export.budget.attempts import BUDGET_NAME, Attempt, Attempts
from hemline.export.budget.judging import Judge, Judged, with_ranges
from hemline.export.budget.rungs import RUNGS, Rung, described
from hemline.export.bundle import ExportRequest, export_bundle, export_inputs, recipe_of
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.quantization.quantized import Quantized
from hemline.export.verification import verify_bundle

# gives the time of every file of a bundle in every runtime where it passed, on the device
Measure = Callable[[Manifest], tuple[Candidate, ...]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How a search ended.

    manifest: of the bundle.
    attempts: what was tried, in order.
    candidates: all files of the bundle, as they were measured.
    chosen: the fastest file that fits; None where none does.
    """

    manifest: Manifest
    attempts: tuple[Attempt, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A bundle with the files of a remedy, and their times.

    failed: which files failed in a supported runtime, and how; empty where all passed.
    """

    manifest: Manifest
    candidates: tuple[Candidate, ...]
    failed: str


class BudgetSearch:
    """One search for one budget, in one bundle."""

    def __init__(
        self, request: ExportRequest, images: Images, budget: Budget, measure: Measure, say: Say
    ) -> None:
        """`request` names the files that are made in any case, and thereby the formats.

        Raises DataError and UsageError as export_bundle does.
        """
        options = replace(request.options, max_drop_points=budget.max_drop_points)
        formats = {row.format for row in request.schemes}
        self._rows = {rung.name: rung.rows(formats) for rung in RUNGS}
        self._rungs = [rung for rung in RUNGS if self._rows[rung.name]]
        self._request, self._images = replace(request, options=options), images
        self._budget, self._measure, self._say = budget, measure, say
        self._inputs = export_inputs(self._making(self._rungs), images)
        self._planned: dict[str, Quantized] = {}
        self._attempts: list[Attempt] = []

    def run(self) -> Found:
        """Try remedies until one fits, and bring the bundle up to date with that or the nearest."""
        known = self._known()
        made = None
        for rung in self._rungs:
            attempt = known.get(rung.name) or self._try(rung)
            if attempt is None:
                continue
            self._attempts.append(attempt)
            self._save()
            if attempt.reason:
                continue
            made = self._make(attempt)
            if chosen := self._choose(made, rung):
                return self._found(made, chosen)
            if rung.scheme == "int8" and not made.failed:
                break  # no remedy makes such a file smaller or faster
        made = made or self._make(self._nearest())
        with contextlib.suppress(GateError):
            return self._found(made, choose(made.candidates, self._budget))
        return self._found(made, None)

    # --- trying

    def _try(self, rung: Rung) -> Attempt | None:
        """Judge the variants of a remedy and return the best; None where it has none."""
        started = time.monotonic()
        best = self._best()
        before = None if best is None else best.options
        usual = self._request.options.post_training
        judged, reason = [], ""
        with Judge(self._request, self._inputs, self._say) as judge:
            for options in rung.variants(before or usual, usual):
                self._say(f"try {rung.name}: {described(options, before)}")
                try:
                    judged.append(judge.judge(self._rows[rung.name][0], options))
                except (InterruptedWorkError, StorageError):
                    raise
                except HemlineError as error:
                    reason = str(error)
        if not judged and not reason:
            return None
        seconds = time.monotonic() - started
        if not judged:
            return _failed(rung, usual, seconds, reason)
        return self._attempt(rung, min(judged, key=lambda each: each.drop_points), seconds)

    def _attempt(self, rung: Rung, judged: Judged, seconds: float) -> Attempt:
        best, drop = self._best(), judged.drop_points
        over = over_drop(drop, self._budget)
        if over is None or all(drop < _drop(each) for each in self._attempts):
            inputs = with_ranges(self._inputs, judged.options)
            made_from = inputs.planned_from(self._rows[rung.name][0])
            self._planned = {files.fingerprint(made_from): judged.quantized}
        own = judged.quantized.steps[-1:] if rung.scheme != "int8" else ()
        before = None if best is None else best.options
        return Attempt(
            rung=rung.name,
            scheme=rung.scheme,
            detail=own[0].detail if own else described(judged.options, before),
            options=judged.options,
            drop_points=drop,
            gain_points=None if best is None else _drop(best) - drop,
            seconds=seconds,
            reason=over or "",
        )

    def _best(self) -> Attempt | None:
        """Return the best way to find ranges so far."""
        found = (each for each in _judged(self._attempts) if each.scheme == "int8")
        return min(found, key=_drop, default=None)

    def _nearest(self) -> Attempt:
        """Return what loses least; raises HemlineError where nothing could be made."""
        if not (judged := _judged(self._attempts)):
            raise HemlineError(f"no 8-bit file can be made: {self._attempts[0].reason}")
        return min(judged, key=_drop)

    # --- making

    def _make(self, attempt: Attempt) -> _Made:
        """Export the files of a remedy beside the others, verify and measure them."""
        rung = next(each for each in self._rungs if each.name == attempt.rung)
        request = self._making([rung], attempt.options)
        manifest = export_bundle(request, self._images, say=self._say, planned=self._planned)
        manifest, failed = self._verified(request, manifest)
        steps = self._steps()
        own = ("int8", rung.scheme)
        artifacts = tuple(
            _with_steps(each, steps) if steps and each.scheme in own else each
            for each in manifest.artifacts
        )
        manifest = replace(manifest, artifacts=artifacts)
        schema.save(request.bundle / MANIFEST_NAME, manifest)
        verdicts = (verdict for each in manifest.artifacts for verdict in each.verdicts)
        passed = any(verdict.status == "passed" for verdict in verdicts)
        candidates = self._measure(manifest) if passed else ()
        return _Made(manifest=manifest, candidates=candidates, failed=failed)

    def _verified(self, request: ExportRequest, manifest: Manifest) -> tuple[Manifest, str]:
        """Return the manifest with verdicts, and what failed: another remedy may pass."""
        try:
            return verify_bundle(request.bundle, manifest, say=self._say), ""
        except GateError as error:  # the verdicts were written before it was raised
            return read_manifest(request.bundle), str(error)

    def _making(
        self, rungs: Iterable[Rung], options: PostTrainingOptions | None = None
    ) -> ExportRequest:
        """Return the request for the files of some rungs and those that are made in any case."""
        request = self._request
        if options is not None:
            request = replace(request, options=replace(request.options, post_training=options))
        wanted = [row for rung in rungs for row in self._rows[rung.name]]
        return replace(request, schemes=tuple(dict.fromkeys((*request.schemes, *wanted))))

    def _steps(self) -> tuple[Step, ...]:
        """Return how ranges are better found than usually, with what that brings."""
        best, usual = self._best(), self._request.options.post_training
        if best is None or best.options == usual:
            return ()
        first = self._attempts[0].drop_points
        gain = None if first is None else first - _drop(best)
        return (Step(name=best.rung, detail=described(best.options, usual), gain_points=gain),)

    def _choose(self, made: _Made, rung: Rung) -> Candidate | None:
        """Return the fastest file of a remedy that fits; else note why none does."""
        names = {row.file_name for row in self._rows[rung.name]}
        own = [each for each in made.candidates if each.artifact in names]
        with contextlib.suppress(GateError):
            return choose(own, self._budget)
        reasons = (over_budget(each, self._budget) for each in own)
        reason = next(reasons, None) or made.failed or "failed in all its runtimes"
        self._attempts[-1] = replace(self._attempts[-1], reason=reason)
        return None

    def _found(self, made: _Made, chosen: Candidate | None) -> Found:
        manifest = made.manifest
        if chosen is not None:
            because = f"It is the fastest of those that fit {self._budget.text}."
            manifest = replace(manifest, recommended=chosen.artifact, recommended_because=because)
            schema.save(self._request.bundle / MANIFEST_NAME, manifest)
        return Found(
            manifest=manifest,
            attempts=tuple(self._attempts),
            candidates=made.candidates,
            chosen=chosen,
        )

    # --- remembering

    def _known(self) -> dict[str, Attempt]:
        """Return what an earlier run with the same inputs found to be too little, by rung."""
        path = self._request.bundle / BUDGET_NAME
        with contextlib.suppress(FileFormatError):
            before = schema.load(Attempts, path)
            if before.inputs_sha256 == self._inputs_sha256:
                return {each.rung: each for each in _judged(before.attempts)}
        return {}

    def _save(self) -> None:
        document = Attempts(
            inputs_sha256=self._inputs_sha256,
            budget=self._budget,
            attempts=tuple(self._attempts),
        )
        schema.save(self._request.bundle / BUDGET_NAME, document)

    @functools.cached_property
    def _inputs_sha256(self) -> str:
        """Return the fingerprint of all that the attempts depend on."""
        request = self._making(self._rungs)
        recipes = [recipe_of(row, request, self._inputs) for row in request.schemes]
        return files.fingerprint({"recipes": recipes, "budget": schema.to_document(self._budget)})


def _failed(rung: Rung, options: PostTrainingOptions, seconds: float, reason: str) -> Attempt:
    return Attempt(
        rung=rung.name,
        scheme=rung.scheme,
        detail="",
        options=options,
        drop_points=None,
        gain_points=None,
        seconds=seconds,
        reason=reason,
    )


def _with_steps(artifact: Artifact, steps: tuple[Step, ...]) -> Artifact:
    """Return an artifact with the steps of its ranges, and its own where it has some with gains."""
    own = () if artifact.scheme == "int8" else artifact.steps
    return replace(
        artifact, steps=(*steps, *(s for s in own if s.gain_points is not None and s not in steps))
    )


def _judged(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [each for each in attempts if each.drop_points is not None]


def _drop(attempt: Attempt) -> float:
    return float("inf") if attempt.drop_points is None else attempt.drop_points
