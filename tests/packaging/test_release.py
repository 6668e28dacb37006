"""A release: the wheel has every file, works alone, and the checksums are those of its files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from release import changes_of, check, write_sums

from hemline.errors import HemlineError
from hemline.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = "# Changelog\n\n## Unreleased\n\n- More.\n\n## 1.2.0 (2027-01-01)\n\n- First.\n"
# no Make of the checks may set an environment up: that is where these tests run
AS_IT_IS = [f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.hemline-ready"]


def make(*arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", *AS_IT_IS, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a small committed checkout with a changelog."""
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_the_changes_of_a_version_are_those_below_its_heading() -> None:
    assert changes_of(CHANGELOG, "1.2.0") == "\n\n- First.\n"
    assert changes_of(CHANGELOG, "1.2") == ""
    assert not changes_of("## 1.2.0\n## 1.1.0\n- Old.\n", "1.2.0").strip()


def test_a_version_without_changes_cannot_be_released(checkout: Path) -> None:
    check(checkout, "1.2.0")
    with pytest.raises(HemlineError, match="no text below a heading '## 1.3.0'"):
        check(checkout, "1.3.0")


def test_a_changed_tree_cannot_be_released(checkout: Path) -> None:
    (checkout / "new.py").touch()
    with pytest.raises(HemlineError, match="not committed, such as new.py"):
        check(checkout, "1.2.0")


def test_a_folder_that_is_not_a_checkout_cannot_be_released(tmp_path: Path) -> None:
    with pytest.raises(HemlineError, match="is not a git checkout"):
        check(tmp_path)


def test_the_checksums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"wheel")
    write_sums(tmp_path)
    write_sums(tmp_path)  # the file of the checksums is not in itself
    told = (tmp_path / "SHA256SUMS").read_text()
    assert told == f"{hashlib.sha256(b'wheel').hexdigest()}  a.whl\n"
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_every_file_that_is_not_python_is_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    names = subprocess.run(
        ["git", "ls-files", "hemline", "train", "export", "runtime", "bench"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    data = {name for name in names if not name.endswith(".py")}
    packed = {
        str(path.relative_to(ROOT))
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.removeprefix("hemline.").replace(".", "/")).glob(pattern)
        if path.is_file()
    }
    assert data == packed


@pytest.mark.slow
def test_make_dist_builds_a_wheel_that_works_alone(bundle: Path) -> None:
    runtime = ROOT / "dist" / "hemline-runtime.pyz"
    make("runtime")
    told = make("dist", f"BUNDLE={bundle}")
    assert f"hemline-{VERSION}-py3-none-any.whl" in told
    assert "without TensorFlow" in told
    assert runtime.is_file()
