"""`hemline sign`, and what other commands do with --key."""

from __future__ import annotations

from pathlib import Path

import click

from hemline.arguments import FILE, PATH, flag
from hemline.console import next_step, require_package
from hemline.errors import UsageError
from hemline.files import read_bytes


@click.command()
@click.argument("target", metavar="[FILE|FOLDER]", required=False, type=PATH)
@click.option("--key", type=FILE, help="Private key: elliptic curve, PEM.")
@click.option("--new-key", type=FILE, help="Write a new private key here, and its public key.")
@flag("--force", "Replace a signature.")
def sign(target: Path | None, key: Path | None, new_key: Path | None, force: bool) -> None:
    """Sign a file, a bundle or a pack.

    The signature of a file is written to FILE.sig, that of a folder to model.sig inside it.
    `hemline verify --key` checks it.
    """
    from hemline.signing.signature import require_unsigned, write_keys
    from hemline.signing.signature import sign as sign_target

    _require_packages()
    if target is not None:
        require_unsigned(target, force)
    if new_key is not None and key is None:
        public = write_keys(new_key)
        click.echo(f"{new_key}: private key, keep it to yourself\n{public}: public key, to verify")
        key = new_key
    elif target is None or key is None or new_key is not None:
        raise UsageError("name what to sign, and a private key: --key, or --new-key to make one")
    if target is not None:
        encrypted = b"ENCRYPTED" in read_bytes(key)
        password = click.prompt(f"password of {key}", hide_input=True) if encrypted else ""
        click.echo(sign_target(target, key, password=password.encode() or None, force=force))
        public = key.with_name(f"{key.name}.pub")
        next_step("verify", target, "--key", public if public.exists() else "PUBLIC_KEY")


def require_signed(target: Path, key: Path) -> None:
    """Raise GateError unless a file or a folder has a valid signature of a public key's owner."""
    from hemline.signing.signature import require_signature

    _require_packages()
    require_signature(target, key)


def _require_packages() -> None:
    for package in ("model_signing", "OpenSSL"):
        require_package(package, "signatures need: pip install model-signing pyopenssl")
