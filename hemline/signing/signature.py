"""Detached signatures: who made a file or a folder, and that nothing in it changed since.

Written and checked by the package model-signing with elliptic-curve keys, in the format of OpenSSF
Model Signing v1.0: a Sigstore bundle over the SHA-256 of every file. Nothing goes over the network.
"""

from __future__ import annotations

import ast
import os
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemline import files
from hemline.errors import FileFormatError, GateError, UsageError, first_line, remedy
from hemline.folders import TemporaryFolder

if TYPE_CHECKING:
    from model_signing.hashing import Config as Hashing

_LONGEST = 300  # characters of changes, in a message
_SIGNATURE = "model.sig"  # in a folder; that of a file is beside it


def signature_path(target: Path) -> Path:
    """Return where the signature of a file or a folder is."""
    return target / _SIGNATURE if target.is_dir() else target.with_name(f"{target.name}.sig")


def write_keys(path: Path) -> Path:
    """Write a new private key (P-256), for its owner alone, and its public key; return that path.

    Raises UsageError where one of the two files is there already.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    public = path.with_name(f"{path.name}.pub")
    for taken in filter(Path.exists, (path, public)):
        raise UsageError(f"{taken} is there already: name another file")
    key, pem = ec.generate_private_key(ec.SECP256R1()), form.Encoding.PEM
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(key.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption()))
    content = key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo)
    files.write_bytes(public, content)
    return public


def require_unsigned(target: Path, force: bool) -> None:
    """Raise UsageError where there is a signature, unless `force` replaces it."""
    if not force and (path := signature_path(target)).exists():
        raise UsageError(f"{path} is there already", remedy=remedy("replace"))


def sign(target: Path, key: Path, *, password: bytes | None = None, force: bool = False) -> Path:
    """Sign a file, or all files of a folder, with a private key in PEM; return the signature.

    Raises UsageError where there is a signature, unless `force` replaces it.
    """
    from model_signing.signing import Config

    path = signature_path(target)
    require_unsigned(target, force)
    use = Config().use_elliptic_key_signer
    config = _with_key(partial(use, private_key=key, password=password), key, "private")
    with TemporaryFolder() as folder:
        made = Path(folder) / _SIGNATURE
        config.set_hashing_config(_hashing(target)).sign(target, made)
        files.write_bytes(path, made.read_bytes())
    return path


def require_signature(target: Path, key: Path) -> None:
    """Raise GateError unless a file or a folder is what the owner of a public key has signed."""
    from model_signing.verifying import Config

    path = signature_path(target)
    if not path.is_file():
        raise GateError(f"{target} is not signed: there is no {path}")
    use = Config().use_elliptic_key_verifier
    config = _with_key(partial(use, public_key=key), key, "public")
    config.set_hashing_config(_hashing(target))
    try:
        config.verify(target, path)
    except OSError:
        raise  # a file that cannot be read
    except Exception as error:  # a crafted signature may break any parser
        raise GateError(_refusal(target, key, str(error))) from error


def _with_key(use: Callable[[], Any], path: Path, kind: str) -> Any:
    content, other = files.read_bytes(path), "public" if kind == "private" else "private"
    if f"{other.upper()} KEY".encode() in content:
        raise FileFormatError(f"{path} is a {other} key: name the {kind} key")
    try:
        return use()
    except Exception as error:  # whatever the parser makes of the file
        reason = first_line(error).partition(".")[0]
        shown = "" if isinstance(error, AttributeError) else f" ({reason})"
        message = f"{path} is not a {kind} key of an elliptic curve in PEM{shown}"
        raise FileFormatError(message) from error


def _hashing(target: Path) -> Hashing:
    """Return how files are hashed; raises FileFormatError for what a signature cannot cover."""
    from model_signing.hashing import Config

    for path in (target, *target.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise FileFormatError(f"{path} is a link or a device: only files can be signed")
    if (lock := target / ".lock").is_dir() or (lock.exists() and lock.stat().st_size):
        raise FileFormatError(f"{lock} is not a lock of hemline: remove it")
    return Config().set_ignored_paths(paths=(_SIGNATURE, lock.name), ignore_git_paths=False)


def _refusal(target: Path, key: Path, reason: str) -> str:
    if "Key mismatch" in reason or not reason:
        return f"{target} was not signed with the private key of {key}"
    what, _, changes = reason.partition("Signature mismatch: ")
    if what or not changes:
        return f"{signature_path(target)} is damaged, or not a signature"
    every = "; ".join(map(_change, ast.literal_eval(changes)))
    shown = textwrap.shorten(every, _LONGEST, placeholder=" …")
    return f"{target} was changed after it was signed" + f" ({shown})" * target.is_dir()


def _change(text: str) -> str:
    """Return a line of model-signing about files, shorter."""
    kind = text.partition(" ")[0]
    if kind == "Hash":
        return f"changed: {text.split(chr(39))[1]}"
    return f"{'added' if kind == 'Extra' else 'removed'}: {text.partition(chr(39) + ': ')[2]}"
