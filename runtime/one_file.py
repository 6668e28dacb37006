"""Pack the runtime into one file that runs wherever Python 3.10, numpy 1.24 and a backend are.

python -m hemline.runtime.one_file FOLDER
"""

from __future__ import annotations

import ast
import functools
import io
import sys
import threading
import tokenize
import zipfile
from pathlib import Path

from hemline import files
from hemline.runtime.command_line import COMMANDS

NAME = "hemline-runtime.pyz"
_ROOT = "hemline.runtime.command_line"
_SHEBANG = b"#!/usr/bin/env python3\n"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal files for equal sources
# Python 2 and 3.6 must be able to read both: they end in a line, not in a SyntaxError.
_PYTHON = """import sys

if sys.version_info < (3, 10):
    raise ImportError("this is Python " + sys.version.split()[0] + ": use Python 3.10 or newer")
"""
_NUMPY = """try:
    import numpy
except ImportError as problem:
    reason = str(problem).strip().split("\\n")[0]
    raise ImportError("numpy is missing or broken here (" + reason + "): pip install numpy")
if tuple(map(int, numpy.__version__.split(".")[:2])) < (1, 24):
    raise ImportError("numpy " + numpy.__version__ + " is too old: pip install 'numpy>=1.24'")
"""
_MAIN = f"""import sys

try:
    import hemline.runtime
except ImportError as problem:
    sys.exit("error: " + str(problem))
from {_ROOT} import main

sys.exit(main(sys.argv[1:]))
"""

# of the spine: in an installed Hemline, the stages are in the same folder
_SPINE_FOLDERS = ("contract", "data", "environments", "pictures")
_BUILDING = threading.Lock()  # Python 3.11 parses sources in one thread at a time only
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def runtime_file() -> bytes:
    """Return the runtime as an executable zip of sources; equal sources result in equal bytes."""
    stream = io.BytesIO(_SHEBANG)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(_members().items()):
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return stream.getvalue()


def write_runtime_file(path: Path) -> None:
    """Write the runtime to `path`, whole or not at all; raises HemlineError if it cannot."""
    with _BUILDING:
        content = runtime_file()
    files.write_bytes(path, content)
    path.chmod(path.stat().st_mode | 0o111)


def _members() -> dict[str, bytes]:
    """Return the name and the content of each file in the archive."""
    members = {"__main__.py": _MAIN.encode()}
    for module, path in reached_modules().items():
        name = module.replace(".", "/")
        member = f"{name}/__init__.py" if path.name == "__init__.py" else f"{name}.py"
        described = module in {name for name, _ in COMMANDS.values()}  # by its docstring, in help
        members[member] = _without_prose(path.read_bytes(), keep_first=described)
    # not the spine: what a board is can be read without numpy
    for package, required in (("hemline", _PYTHON), ("hemline/runtime", _NUMPY)):
        members[f"{package}/__init__.py"] = required.encode() + members[f"{package}/__init__.py"]
    return members


def _without_prose(source: bytes, *, keep_first: bool) -> bytes:
    """Blank comments and docstrings, that of the module only on request; line numbers stay.

    A docstring becomes one character: without any, a dataclass would compose one when imported.
    """
    lines = source.decode().split("\n")
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, _DOCUMENTED) or ast.get_docstring(node) is None:
            continue
        text, last = node.body[0], node.body[0].end_lineno or 0
        if not (keep_first and isinstance(node, ast.Module)):
            short = " " * text.col_offset + '"."'
            lines[text.lineno - 1 : last] = [short, *[""] * (last - text.lineno)]
    return "\n".join(lines).encode()


def reached_modules() -> dict[str, Path]:
    """Return the modules that the runtime can come to import, by dotted name.

    Found by their import statements, those inside functions included, and by the "module:name" and
    module strings of tables.
    """
    known = _known_modules()
    reached: dict[str, Path] = {}
    waiting = {_ROOT, "hemline", "hemline.runtime"}
    while waiting:
        name = waiting.pop()
        if name in known and name not in reached:
            reached[name] = known[name]
            waiting |= {*_named_in(known[name]), name.rpartition(".")[0]}
    return reached


def _known_modules() -> dict[str, Path]:
    import hemline
    import hemline.runtime

    modules: dict[str, Path] = {}
    for package, pattern in (
        (hemline, "*.py"),
        *((hemline, f"{folder}/**/*.py") for folder in _SPINE_FOLDERS),
        (hemline.runtime, "**/*.py"),
    ):
        folder = Path(str(package.__file__)).parent
        for path in folder.glob(pattern):
            parts = path.relative_to(folder).with_suffix("").parts
            inner = parts[:-1] if path.name == "__init__.py" else parts
            modules[".".join((package.__name__, *inner))] = path
    return modules


def _named_in(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value.partition(":")[0])
    return names


if __name__ == "__main__":
    write_runtime_file(Path(sys.argv[1]) / NAME)
