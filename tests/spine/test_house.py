"""The rules of the house: who may import whom, what loads fast, what a user sees."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from string import Formatter

import click
import pytest

from hemline.cli import COMMANDS, cli
from hemline.remedies import REMEDIES

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("train", "export", "runtime", "bench")
MAY_IMPORT: dict[str, set[str]] = {
    "hemline": set(),
    "runtime": set(),
    "train": set(),
    "export": {"train", "runtime"},
    "bench": {"runtime"},
}
COMPOSING = {"cli.py", "api.py", "commands.py"}  # these may import every stage, inside functions
SOURCES = [(stage, path) for stage in ("hemline", *STAGES) for path in (ROOT / stage).rglob("*.py")]


def imported(tree: ast.AST, *, everywhere: bool) -> set[str]:
    """Return the modules that a file imports, at its top level only or anywhere."""
    nodes = ast.walk(tree) if everywhere else ast.iter_child_nodes(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def stages_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("hemline.")} & set(STAGES)


@pytest.mark.parametrize(
    ("stage", "path"), SOURCES, ids=lambda value: getattr(value, "name", value)
)
def test_a_stage_imports_only_what_it_may(stage: str, path: Path) -> None:
    names = imported(ast.parse(path.read_text()), everywhere=path.name not in COMPOSING)
    assert stages_of(names) <= MAY_IMPORT[stage] | {stage}


def module_of(stage: str, path: Path) -> str:
    parts = path.relative_to(ROOT / stage).with_suffix("").parts
    inner = parts[:-1] if path.name == "__init__.py" else parts
    return ".".join(("hemline", *(() if stage == "hemline" else (stage,)), *inner))


def import_graph() -> dict[str, set[str]]:
    """Return the modules that each module imports, inside functions and for type checkers too."""
    modules = {module_of(stage, path): path for stage, path in SOURCES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= inner & modules.keys() or {node.module}
        graph[name] = found & modules.keys()
    return graph


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that import each other, directly or through others."""
    reached: dict[str, set[str]] = {}
    for name in graph:
        waiting, found = set(graph[name]), set[str]()
        while waiting:
            found.add(each := waiting.pop())
            waiting |= graph[each] - found
        reached[name] = found
    circular = {
        frozenset(other for other in found if name in reached[other])
        for name, found in reached.items()
        if name in found
    }
    return [set(each) for each in circular]


def test_no_modules_import_each_other() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [{"a", "b", "c"}]
    assert cycles(import_graph()) == []


@pytest.mark.parametrize(
    "path",
    [path for stage, path in SOURCES if stage == "runtime" or path.parent.name == "pictures"],
    ids=lambda path: path.name,
)
def test_the_runtime_needs_numpy_and_one_backend_only(path: Path) -> None:
    allowed = {"hemline", "numpy", "__future__", *sys.stdlib_module_names}
    if path.name == "commands.py":
        allowed.add("click")
    if path.name in ("images.py", "album.py"):
        allowed.add("PIL")
    if path.name == "jpeg.py":  # works without it
        allowed.add("simplejpeg")
    if path.name == "camera.py":
        allowed.add("cv2")
    if path.parent.name == "service":  # an extra
        allowed |= {"fastapi", "starlette", "uvicorn", "anyio"}
    if path.parent.name == "similar":  # an extra
        allowed |= {"usearch", "PIL", "pyarrow"}
    if path.parent.name == "scoring":  # an extra
        allowed |= {"pyarrow", "ray"}
    assert imported_packages(path.read_text()) <= allowed


def test_onnx_runtime_is_imported_only_where_it_reports_nothing() -> None:
    """Elsewhere hemline.runtime.backends imports it by its name, and sets the same variable."""
    importers = {
        stage for stage, path in SOURCES if "onnxruntime" in imported_packages(path.read_text())
    }
    assert importers == {"export"}
    code = "import os; os.environ.pop('ORT_DISABLE_TELEMETRY', 0); import hemline.export as e; "
    code += "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    subprocess.run([sys.executable, "-c", code], check=True)


def imported_packages(source: str) -> set[str]:
    return {name.split(".")[0] for name in imported(ast.parse(source), everywhere=True)}


def loaded_by(code: str) -> set[str]:
    report = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True, cwd="/"
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"tensorflow", "keras", "click", "PIL", "matplotlib", "onnxruntime", "sklearn", "scipy"}


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    assert not loaded_by("import hemline.runtime") & (HEAVY | {"ai_edge_litert", "tflite_runtime"})


def test_importing_the_runtime_loads_what_a_file_needs_only_with_the_file() -> None:
    """The import takes 0.02 of numpy's own; with these it took 0.14."""
    later = {"dataclasses", "logging", "tempfile", "hemline.contract.stamp"}
    found = loaded_by("from hemline.runtime import Classifier") - loaded_by("import numpy")
    assert not found & later


@pytest.mark.parametrize("module", sorted({command.module for command in COMMANDS.values()}))
def test_a_command_module_loads_without_what_its_work_needs(module: str) -> None:
    assert not loaded_by(f"import {module}") & (HEAVY - {"click"} | {"rich", "optuna", "pooch"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_shows_what_each_says_of_itself(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert COMMANDS[name].summary == command.get_short_help_str(limit=200)


def test_help_loads_nothing_heavy() -> None:
    code = """
from hemline.cli import cli
cli.main(["--help"], standalone_mode=False)
"""
    assert not loaded_by(code) & (HEAVY - {"click"} | {"numpy", "rich", "optuna", "pooch"})


def test_a_stage_is_one_module_object() -> None:
    """The folders have bare names too: nobody may import hemline.train a second time as train."""
    code = "import hemline.train.recipes.recipe, hemline.export.schemes, hemline.bench.report.table"
    assert not loaded_by(code) & set(STAGES)


def test_the_lock_pins_every_package_with_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in pin and pin.endswith("\\") for pin in pins)
    assert text.count("--hash=sha256:") >= len(pins)
    names = {pin.split("==")[0] for pin in pins}
    assert {"tensorflow", "tf2onnx", "onnxruntime", "tflite-runtime", "numpy", "click"} <= names


def test_bare_make_prints_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("export", "compare", "test", "lint", "clean"):
        assert f"make {target} " in done.stdout


def test_no_source_names_a_path_of_a_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml", "Makefile", ".ci/*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    for name in listed:
        path = ROOT / name
        if path.is_file() and path != Path(__file__).resolve():
            assert f"{os.sep}root{os.sep}" not in path.read_text(), name


def test_every_remedy_that_an_error_names_has_a_text_for_its_facts() -> None:
    used = 0
    for _, path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "remedy":
                name, facts = ast.literal_eval(node.args[0]), {k.arg for k in node.keywords}
                fields = {field for _, field, _, _ in Formatter().parse(REMEDIES[name]) if field}
                assert fields <= facts, f"{path}: the remedy {name!r} lacks {fields - facts}"
                used += 1
    assert used


def test_an_error_of_the_library_names_no_flag_and_no_command() -> None:
    """Those stand in remedies.py; modules that define options may name them."""
    command_line = {"click", "argparse"}
    for _, path in SOURCES:
        tree = ast.parse(path.read_text())
        if imported(tree, everywhere=False) & command_line:
            continue
        for node in ast.walk(tree):
            texts = ast.walk(node) if isinstance(node, ast.Raise) else ()
            for text in texts:
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    ours = re.sub(r"pip install .*", "", text.value)
                    found = re.search(r"(^|[\s(])--[a-z]|`(hemline|make) ", ours)
                    assert found is None, f"{path}:{text.lineno}: {text.value}"


def test_what_asks_whether_an_export_is_up_to_date_loads_no_converter() -> None:
    """A second export with nothing changed takes no two seconds, of which TensorFlow takes five."""
    code = (
        "import sys, hemline.export.bundle; "
        "print(*sorted({'tensorflow', 'keras', 'onnx', 'tf2onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
