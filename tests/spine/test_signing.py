"""Signatures of files and folders: valid, missing, of another key, and of what was changed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.errors import FileFormatError, GateError, HemlineError, UsageError
from hemline.signing.signature import require_signature, sign, signature_path, write_keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the keys a and b."""
    folder = tmp_path_factory.mktemp("keys")
    for name in "ab":
        write_keys(folder / name)
    return folder


@pytest.fixture
def pack(tmp_path: Path, keys: Path) -> Path:
    """Return a signed folder."""
    folder = tmp_path / "pack"
    (folder / "licences").mkdir(parents=True)
    (folder / "int8.tflite").write_bytes(b"model")
    (folder / "licences" / "it's.txt").write_text("MIT")
    (folder / ".hidden").write_text("1")
    assert sign(folder, keys / "a") == folder / "model.sig"
    return folder


def run(*words: object) -> str:
    """Run hemline; return its output and, if it failed, its exit code and message."""
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if isinstance(result.exception, HemlineError):
        return f"{result.exception.exit_code}: {result.exception}"
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_signed_folder_is_valid_wherever_it_is_and_whoever_locked_it(
    pack: Path, keys: Path
) -> None:
    moved = shutil.move(pack, pack.with_name("elsewhere"))
    (moved / ".lock").touch()
    require_signature(moved, keys / "a.pub")
    with pytest.raises(GateError, match="was not signed with the private key of .*b.pub"):
        require_signature(moved, keys / "b.pub")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda p: (p / "int8.tflite").write_bytes(b"other"), "changed: int8.tflite"),
    "added": (lambda p: (p / "x").mkdir() or (p / "x" / "a").touch(), "added: x/a"),
    "git": (lambda p: (p / ".git").mkdir() or (p / ".git" / "a").touch(), "added: .git/a"),
    "removed": (lambda p: (p / ".hidden").unlink(), "removed: .hidden"),
    "renamed": (
        lambda p: (p / ".hidden").rename(p / "shown"),
        "added: shown; removed: .hidden",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_refused_with_what_was_changed(
    pack: Path, keys: Path, change: str
) -> None:
    act, told = CHANGES[change]
    act(pack)
    with pytest.raises(GateError) as caught:
        require_signature(pack, keys / "a.pub")
    assert str(caught.value) == f"{pack} was changed after it was signed ({told})"


def test_what_is_not_a_file_is_not_signed_and_not_accepted(pack: Path, keys: Path) -> None:
    (pack / "int8.tflite").rename(pack.parent / "int8.tflite")
    (pack / "int8.tflite").symlink_to(pack.parent / "int8.tflite")
    for target in (pack, pack / "int8.tflite"):
        with pytest.raises(FileFormatError, match="int8.tflite is a link or a device"):
            sign(target, keys / "a", force=True)
    with pytest.raises(FileFormatError, match="int8.tflite is a link or a device"):
        require_signature(pack, keys / "a.pub")
    (pack / "int8.tflite").unlink()
    os.mkfifo(pack / "int8.tflite")
    with pytest.raises(FileFormatError, match="int8.tflite is a link or a device"):
        require_signature(pack, keys / "a.pub")


def test_nothing_hides_in_what_a_signature_leaves_out(pack: Path, keys: Path) -> None:
    (pack / ".lock").mkdir()
    (pack / ".lock" / "run.sh").touch()
    with pytest.raises(FileFormatError, match="lock is not a lock of hemline: remove it"):
        require_signature(pack, keys / "a.pub")
    shutil.rmtree(pack / ".lock")
    (pack / "licences" / "model.sig").touch()
    with pytest.raises(GateError, match=r"\(added: licences/model.sig\)"):
        require_signature(pack, keys / "a.pub")


def test_a_file_has_its_signature_beside_it(tmp_path: Path, keys: Path) -> None:
    file = tmp_path / "pack.tar.gz"
    file.write_bytes(b"archive")
    with pytest.raises(GateError, match=r"is not signed: there is no .*pack\.tar\.gz\.sig"):
        require_signature(file, keys / "a.pub")
    assert sign(file, keys / "a") == signature_path(file) == tmp_path / "pack.tar.gz.sig"
    require_signature(file, keys / "a.pub")
    with pytest.raises(UsageError, match=r"sig is there already"):
        sign(file, keys / "b")
    sign(file, keys / "b", force=True)
    require_signature(file, keys / "b.pub")
    file.write_bytes(b"archivf")
    with pytest.raises(GateError, match="was changed after it was signed$"):
        require_signature(file, keys / "b.pub")


def test_a_signature_that_was_changed_or_cut_is_refused(pack: Path, keys: Path) -> None:
    path = pack / "model.sig"
    whole = path.read_bytes()
    bundle = json.loads(whole)
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    assert json.loads(payload)["predicateType"] == "https://model_signing/signature/v1.0"
    forged = payload.replace(b"int8.tflite", b"int9.tflite")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(forged).decode()
    for content in (json.dumps(bundle).encode(), whole[:500], b"", b"{}", b"\xff", b"[" * 10000):
        path.write_bytes(content)
        with pytest.raises(GateError) as caught:
            require_signature(pack, keys / "a.pub")
        told = str(caught.value)
        assert told.endswith(("is damaged, or not a signature", "with the private key of "
                              f"{keys / 'a.pub'}"))  # fmt: skip


def test_a_private_key_is_for_its_owner_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    assert write_keys(path) == tmp_path / "release.key.pub"
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    for each in (path, tmp_path / "release.key.pub"):
        with pytest.raises(UsageError, match="release.key.* is there already"):
            write_keys(path)
        assert not each.unlink()
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.pub", "is a public key: name the private key"),
        ("nothing", "cannot read .*nothing"),
        ("int8.tflite", "is not a private key of an elliptic curve in PEM"),
    ],
)
def test_what_is_not_a_key_is_refused_before_anything_is_written(
    pack: Path, keys: Path, name: str, told: str
) -> None:
    key = pack / name if name.endswith("tflite") else keys / name
    before = (pack / "model.sig").read_bytes()
    with pytest.raises(HemlineError, match=told):
        sign(pack, key, force=True)
    assert (pack / "model.sig").read_bytes() == before
    if name == "a.pub":
        key, told = keys / "a", "is a private key: name the public key"
    with pytest.raises(HemlineError, match=told.replace("a private key of", "a public key of")):
        require_signature(pack, key)


def test_a_long_list_of_changes_is_cut_between_two_names(pack: Path, keys: Path) -> None:
    for at in range(100):
        (pack / f"name-{at}").touch()
    with pytest.raises(GateError, match=r"\(added: name-0, name-1, .*name-\d+, …\)$"):
        require_signature(pack, keys / "a.pub")


def test_the_commands_sign_and_verify(tmp_path: Path, pack: Path) -> None:
    key = tmp_path / "release.key"
    assert "public key, to verify" in run("sign", "--new-key", key)
    (pack / "model.sig").unlink()
    assert run("sign", pack, "--key", key) == f"{pack}/model.sig\n"
    said = f"{pack}: signed with the private key of {key}.pub, and unchanged since\n"
    assert run("verify", pack, "--key", f"{key}.pub") == said
    assert run("sign", pack, "--key", key).startswith("2: ")
    assert run("verify", pack / ".hidden", "--key", f"{key}.pub").startswith("3: ")
    assert run("verify", pack, "--key", f"{key}.pub", "--json").startswith("2: --key checks")
    assert "model.sig is there already" in run("sign", pack, "--new-key", tmp_path / "z.key")
    assert not (tmp_path / "z.key").exists()
    (pack / "model.sig").unlink()
    assert run("sign", pack).startswith("2: name what to sign, and a private key")


def test_keys_of_openssl_with_a_password_sign_too(tmp_path: Path, pack: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    script = (
        "openssl ecparam -name secp384r1 -genkey -noout -out plain && "
        "openssl ec -in plain -aes256 -passout pass:secret -out key && "
        "openssl ec -in plain -pubout -out key.pub"
    )
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    words = ["sign", str(pack), "--key", str(tmp_path / "key"), "--force"]
    wrong = CliRunner().invoke(cli, words, input="wrong\n").exception
    assert isinstance(wrong, FileFormatError)
    assert "Incorrect password" in str(wrong)
    assert CliRunner().invoke(cli, words, input="secret\n").exit_code == 0
    require_signature(pack, tmp_path / "key.pub")
