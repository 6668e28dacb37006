"""The one-file runtime on the Pythons that devices have, beside the one that these tests run in.

HEMLINE_REQUIRE=python3.12 makes a Python that is missing a failure instead of a skip.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from required import missing

from hemline.data.datasets import Images
from hemline.environments.environment import (
    Interpreter,
    Requirement,
    RuntimeTarget,
    add_environment,
    find_interpreter,
    target_of,
)
from hemline.errors import FetchError, UsageError
from hemline.runtime.one_file import reached_modules, runtime_file

pytestmark = pytest.mark.devices

PYTHONS = (pytest.param("3.10", marks=pytest.mark.smoke), "3.12", "3.13")
ARTIFACTS = {"litert": "int8.tflite", "onnxruntime": "int8.onnx"}


@pytest.fixture(params=PYTHONS)
def interpreter(request: pytest.FixtureRequest) -> Interpreter:
    try:
        return find_interpreter(request.param)
    except UsageError as error:
        missing(f"python{request.param}", str(error))


@pytest.fixture(params=list(ARTIFACTS))
def target(
    interpreter: Interpreter, request: pytest.FixtureRequest, warm_cache: None
) -> RuntimeTarget:
    """Return a runtime's newest version for a Python, in an environment in the user's cache."""
    try:
        folder, record, _ = add_environment(
            Requirement.parse(request.param), interpreter, runtime_file()
        )
    except FetchError as error:
        missing(f"python{'.'.join(interpreter.version.split('.')[:2])}", str(error))
    return target_of(folder, record, runtime_file())


def run(target: RuntimeTarget, *arguments: object) -> list[dict[str, object]]:
    """Run the one-file runtime in the environment; return the documents that it prints."""
    command = [*target.command[:-1], *map(str, arguments), "--json"]  # without "jobs"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_runtime_tests_itself_and_classifies(
    target: RuntimeTarget, bundle: Path, images: Images, tmp_path: Path
) -> None:
    artifact = bundle / ARTIFACTS[target.runtime]
    (report,) = run(target, "selftest", artifact)
    assert (report["passed"], report["runtime"]) == (True, target.runtime)
    names = []
    for at, image in enumerate(images.test_images[:8]):
        names.append(tmp_path / f"{at}.npy")
        np.save(names[-1], image)
    answers = run(target, "classify", artifact, *names)
    assert [answer["index"] for answer in answers] == images.test_labels[:8].tolist()


def test_every_module_of_the_runtime_is_written_for_that_python(interpreter: Interpreter) -> None:
    """Parse each source with that Python; an import needs numpy, and the test above has it."""
    paths = sorted(str(path) for path in reached_modules().values())
    code = "import ast, sys; [ast.parse(open(p, encoding='utf-8').read(), p) for p in sys.argv[1:]]"
    subprocess.run([interpreter.path, "-W", "error", "-c", code, *paths], check=True)
