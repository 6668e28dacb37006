"""Check that this checkout can be released, and write the checksums of the files of a release.

python tools/release.py check
python tools/release.py sums FOLDER
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hemline.errors import FileFormatError, HemlineError, UsageError
from hemline.files import read_bytes, sha256_of, write_bytes
from hemline.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
SUMS_NAME = "SHA256SUMS"


def check(root: Path, version: str = VERSION) -> None:
    """Raise HemlineError unless the tree is committed and the changelog describes the version."""
    status = ["git", "-C", str(root), "status", "--porcelain"]
    try:
        changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise HemlineError(f"{root} is not a git checkout, or git is missing") from error
    if changed:
        first = changed.splitlines()[0][3:]
        raise HemlineError(f"the tree has changes that are not committed, such as {first}")
    if not changes_of(read_bytes(root / "CHANGELOG.md").decode(), version).strip():
        raise FileFormatError(f"CHANGELOG.md has no text below a heading '## {version}'")


def changes_of(changelog: str, version: str) -> str:
    """Return the text of a version's section in a changelog; empty where there is none."""
    sections = re.split(r"^## (.*)$", changelog, flags=re.MULTILINE)
    texts = dict(zip(sections[1::2], sections[2::2], strict=True))
    return next((texts[name] for name in texts if name.split()[:1] == [version]), "")


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file of a folder, in the form that `sha256sum --check` reads."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS_NAME)
    lines = [f"{sha256_of(path)}  {path.name}\n" for path in paths]
    write_bytes(folder / SUMS_NAME, "".join(lines).encode())


def main(arguments: list[str]) -> None:
    """Run one command."""
    match arguments:
        case ["check"]:
            check(ROOT)
        case ["sums", folder]:
            write_sums(Path(folder))
        case _:
            raise UsageError(str(__doc__))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HemlineError as error:
        sys.exit(f"error: {error}")
