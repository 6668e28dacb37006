"""What can be said of boards without one: addresses, names, wheels, and what is not believed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hemline.bench.devices.addresses import open_device
from hemline.bench.devices.equality import equality_of
from hemline.bench.devices.inspection import RuntimeFit
from hemline.bench.devices.registry import (
    Entry,
    add_entry,
    read_registry,
    registry_path,
    remove_entry,
)
from hemline.bench.devices.ssh import on_board
from hemline.bench.devices.ssh.address import parse_address
from hemline.bench.devices.ssh.board_wheels import board_wheels
from hemline.bench.devices.ssh.connection import Connection
from hemline.bench.devices.ssh.connection_failures import failure
from hemline.bench.devices.ssh.device import SshDevice
from hemline.bench.devices.ssh.store import Store, _write_tar, pushable
from hemline.bench.devices.ssh.survey import Survey, read_survey
from hemline.bench.devices.ssh.untrusted import npy_bytes, plain, read_output
from hemline.bench.devices.table import DEVICES
from hemline.cli import cli
from hemline.contract.specs import OutputSpec
from hemline.errors import (
    BackendError,
    DeviceError,
    FileFormatError,
    GateError,
    HemlineError,
    JobError,
    UnknownNameError,
    UsageError,
)
from hemline.progress import report_to
from hemline.signing.signature import require_signature, sign, write_keys

TWO = OutputSpec(size=2, dtype="float32")
BOARD = Survey(
    machine="aarch64",
    pointer_bits=64,
    python="3.11.2",
    libc="glibc 2.36",
    numpy=None,
    folder="/home/pi/.cache/hemline",
    writable=True,
    free_bytes=1 << 30,
    files={},
    environments=(),
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pi@board", ("-l", "pi", "--", "board")),
        ("pi@board.local:2222", ("-p", "2222", "-l", "pi", "--", "board.local")),
        ("board", ("--", "board")),
        ("me@company.org@host", ("-l", "me@company.org", "--", "host")),
        ("pi@[fe80::1%eth0]:22", ("-p", "22", "-l", "pi", "--", "fe80::1%eth0")),
        ("pi@192.168.0.7", ("-l", "pi", "--", "192.168.0.7")),
    ],
)
def test_an_address_becomes_words_for_ssh(text: str, words: tuple[str, ...]) -> None:
    address = parse_address(text)
    assert address.words == words
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@board",
        "pi@",
        "-oProxyCommand=touch x",
        "pi@-oProxyCommand=x",
        "-l@board",
        "pi@a board",
        "pi@board;reboot",
        "pi@$(reboot)",
        "pi@'board'",
        'pi@"board"',
        "pi@board:0",
        "pi@board:65536",
        "pi@board:99999999999999999999",
        "pi@board:22:22",
        "pi@board\n",
        "pi@fe80::1",
        "p i@board",
        "pi@" + "b" * 300,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address: write it as ssh:user@host"):
        parse_address(text)


def test_words_for_a_board_are_quoted_for_its_shell() -> None:
    words = ("printf", "%s|", "it's", "a b", 'a"b', ";", "$(x)", "-x", "`x`", "*", "")
    remote = Connection(parse_address("pi@board")).command(words)[-1]
    done = subprocess.run(["sh", "-c", remote], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{word}|" for word in words[2:])


def test_ssh_is_asked_for_no_password_no_agent_and_a_known_key() -> None:
    command = Connection(parse_address("pi@board")).command(("true",))
    wanted = {"-oBatchMode=yes", "-oForwardAgent=no", "-oStrictHostKeyChecking=yes"}
    assert wanted <= set(command)
    assert command.index("--") == len(command) - 3


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("No ED25519 host key is known for x\nHost key verification failed.", "compare the finger"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", r"ssh-keygen -R '\[board\]:2222'"),
        ("pi@board: Permission denied (publickey).", "`ssh-copy-id -p 2222 pi@board`"),
        ("Could not resolve hostname board: no", "does not resolve"),
        ("connect to host board port 22: Connection timed out", "whether the board is on"),
        ("", r"it gave no reason\): try `ssh -p 2222 pi@board`"),
        ("\x1b[2J something else", "something else"),
    ],
)
def test_a_failure_of_ssh_says_what_to_do(said: str, told: str) -> None:
    error = failure(said, parse_address("pi@board:2222"))
    assert isinstance(error, DeviceError)
    assert str(error).isprintable()
    with pytest.raises(DeviceError, match=told):
        raise error


def test_names_are_written_beside_what_the_user_wrote(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text('# my boards\n[old]\naddress = "ssh:pi@old"  # in the cellar')
    entry = Entry(name="pi4", address="ssh:pi@board:2222", folder='/a "b"/ü\\', python="python3.11")
    add_entry(path, entry)
    assert read_registry(path)["pi4"] == entry
    with pytest.raises(UsageError, match="already has pi4"):
        add_entry(path, entry)
    add_entry(path, Entry(name="new", address="ssh:board"))
    remove_entry(path, "old")
    assert list(read_registry(path)) == ["pi4", "new"]
    remove_entry(path, "pi4")
    remove_entry(path, "new")
    assert path.read_text() == "# my boards\n"


@pytest.mark.parametrize(
    "text",
    ['pi4 = {address = "ssh:pi@x"}\n', 'pi4.address = "ssh:pi@x"\n[b]\naddress = "ssh:b"\n'],
)
def test_a_name_that_cannot_be_taken_out_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"not a separate table \[pi4\]: remove it by hand"):
        remove_entry(path, "pi4")
    assert path.read_text() == text


@given(folder=st.text(st.characters(blacklist_categories=("C",)), max_size=30))
def test_any_visible_folder_can_be_read_again(
    folder: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("registry") / "devices.toml"
    try:
        entry = Entry(name="pi4", address="ssh:pi@board", folder=folder)
    except UsageError:
        assert not folder.isprintable()
        return
    add_entry(path, entry)
    assert read_registry(path) == {"pi4": entry}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[pi4", "not valid TOML"),
        ("pi4 = 1", "must be a table with an address"),
        ("[pi4]\n", "must be a table with an address"),
        ('[pi4]\naddress = "ssh:pi@board"\nport = 22', r"pi4\.port: the fields are address"),
        ('[pi4]\naddress = "ssh:pi@board;x"', "is not an address"),
        ('[pi4]\naddress = "local"', "is not an address"),
        ('["a b"]\naddress = "ssh:pi@board"', "is not a name"),
        ('[pi4]\naddress = "ssh:pi@board"\npython = "-c x"', "is not a command for Python"),
    ],
)
def test_a_wrong_file_of_names_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=told):
        read_registry(path)


@pytest.mark.parametrize("name", ["local", "a b", "-x", "", "a.b", "a" * 41])
def test_a_board_gets_no_name_that_misleads(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        add_entry(tmp_path / "devices.toml", Entry(name=name, address="ssh:pi@board"))


def test_a_name_that_nobody_gave_is_told_with_the_nearest() -> None:
    add_entry(registry_path(), Entry(name="kitchen", address="ssh:pi@board"))
    with pytest.raises(UnknownNameError, match="did you mean 'kitchen'"):
        open_device("kitchn")
    assert open_device("kitchen").name == "kitchen"
    assert open_device("ssh:pi@board").name == "ssh:pi@board"


def test_every_kind_of_device_says_what_it_is_in_one_line() -> None:
    assert all(kind.summary and "\n" not in kind.summary for kind in DEVICES.values())


def run_hemline(*words: str) -> str:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_names_are_listed_and_removed_without_asking_a_board(tmp_path: Path) -> None:
    path = tmp_path / "boards.toml"
    assert "add one with `hemline device add`" in run_hemline("device", "list", "--file", str(path))
    add_entry(path, Entry(name="pi4", address="ssh:pi@board", python="python3.11"))
    rows = [
        line.split() for line in run_hemline("device", "list", "--file", str(path)).splitlines()
    ]
    assert rows[2] == ["pi4", "ssh:pi@board", "python3.11"]
    addresses = {row[0] for row in rows[3:]}
    assert {"local", "emulated:pi3", "emulated:pi4", "emulated:pi5", "tflm"} <= addresses
    listed = json.loads(run_hemline("device", "list", "--file", str(path), "--json"))
    assert listed == [
        {"name": "pi4", "address": "ssh:pi@board", "folder": "", "python": "python3.11"}
    ]
    run_hemline("device", "remove", "pi4", "--file", str(path))
    assert read_registry(path) == {}


@pytest.mark.parametrize(
    ("changes", "runtime", "told"),
    [
        ({"machine": "riscv64"}, "litert", "no wheels for riscv64 with 64 bits"),
        ({"machine": "x86_64", "pointer_bits": 32}, "litert", "no wheels for x86_64 with 32 bits"),
        ({"libc": ""}, "litert", "another C library"),
        ({"pointer_bits": 32}, "tflite-runtime", "apt-get install python3-numpy"),
        (
            {"pointer_bits": 32, "numpy": "2.1.0"},
            "tflite-runtime",
            r"does not work with numpy 2\.1",
        ),
    ],
)
def test_a_runtime_that_a_board_cannot_run_has_a_reason(
    changes: dict[str, Any], runtime: str, told: str
) -> None:
    with pytest.raises(BackendError, match=told):
        board_wheels(runtime, "2.3.0", replace(BOARD, **changes))


def test_a_python_that_no_wheel_can_be_for_is_a_reason() -> None:
    survey = json.dumps({**asdict(BOARD), "python": "3.13+"})
    with pytest.raises(BackendError, match=r"'3\.13\+' is not a Python version"):
        board_wheels("litert", "2.3.0", read_survey(survey.encode(), "pi4"))


LITERT = RuntimeFit(runtime="litert", version="2.3.0", reason="it is too old")


def test_a_board_that_no_runtime_fits_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    board = SshDevice("pi@board")
    monkeypatch.setattr(board, "fitting", lambda: (LITERT,))
    with pytest.raises(BackendError, match=r"board can run no .*: litert \(it is too old\)"):
        board.runtimes()


def test_a_board_reports_from_every_thread_to_whoever_opened_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.npy"
    path.write_bytes(bytes(2_000_000))
    told: list[str] = []
    with report_to(told.append):
        board = SshDevice("board")
    board.store = Silent()  # type: ignore[assignment]
    monkeypatch.setattr(Connection, "alive", True)
    thread = threading.Thread(target=board.push, args=(pushable(path),))
    thread.start()
    thread.join()
    assert told == ["ssh:board: pushing 2.0 MB"]


class Silent:
    """A board that has nothing and takes everything."""

    def missing(self, wanted: Any) -> Any:
        return wanted

    def push(self, wanted: Any) -> None: ...


class Liar(Connection):
    """A board that answers this, whatever it is asked."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__(parse_address("pi@board"))
        self._answers = list(answers)

    def call(self, *_: Any, **__: Any) -> tuple[int, bytes, str]:
        return 0, self._answers.pop(0), ""


def test_a_board_that_does_not_confirm_a_file_is_told(sent: Path) -> None:
    survey = json.dumps(asdict(BOARD)).encode()
    odd = b'{"stored": []}\n{"stored": {}}\n[1]\n{"name": "x"}'
    store = Store(Liar(survey, odd), "pi4", folder="", python="python3")
    with pytest.raises(HemlineError, match="damaged after the transfer to pi4"):
        store.push([pushable(sent)])


def test_complaints_of_a_board_without_end_are_read_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nhead -c 1000000 /dev/zero >&2\necho >&2\necho so long >&2\nexit 3\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    connection = Connection(parse_address("pi@board"))
    assert connection.call(("x",), most_bytes=10) == (3, b"", "so long")


def test_a_board_of_64_bits_with_a_system_of_32_gets_wheels_of_32() -> None:
    assert replace(BOARD, pointer_bits=32).platform == "armv7l"


def on_this_board(folder: Path, *words: str, given: bytes = b"") -> tuple[int, list[Any]]:
    """Run what runs on boards here; return its exit code and what it answered."""
    done = subprocess.run(
        [sys.executable, "-I", on_board.__file__, words[0], str(folder), *words[1:]],
        input=given,
        capture_output=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_survey_of_this_machine_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "not there"
    code, (document,) = on_this_board(folder, "survey")
    survey = read_survey(b"welcome\n" + json.dumps(document).encode(), "pi4")
    assert code == 0
    assert survey.folder == str(folder)
    assert survey.python == ".".join(map(str, sys.version_info[:3]))
    assert survey.writable
    assert not folder.exists()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"machine": "aarch64"}).encode(),
    ],
)
def test_a_survey_that_is_none_is_one_line(answer: bytes) -> None:
    with pytest.raises(DeviceError, match="pi4 returned no valid survey") as caught:
        read_survey(answer, "pi4")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "relative"},
        {"folder": "/a\x1b[2J"},
        {"files": {"a": -1}},
        {"free_bytes": 10**30},
        {"python": 3},
        {"python": "x"},
        {"python": "2.7.18"},
        {"python": "3." + "1" * 300},
        {"python": "3.1١"},
        {"numpy": "²"},
        {"numpy": "1." * 100},
        {"more": 1},
    ],
)
def test_a_survey_that_is_odd_is_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    _, (document,) = on_this_board(tmp_path, "survey")
    with pytest.raises(DeviceError) as caught:
        read_survey(json.dumps({**document, **change}).encode(), "pi4")
    assert str(caught.value).isprintable()


def packed(*paths: Path) -> bytes:
    stream = io.BytesIO()
    _write_tar([pushable(path) for path in paths], stream)
    return stream.getvalue()


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    return random_file(tmp_path / "sent.npy", seed=1)


def random_file(path: Path, seed: int) -> Path:
    path.write_bytes(np.random.default_rng(seed).bytes(1000))
    return path


def test_files_are_stored_under_their_hash(tmp_path: Path, sent: Path) -> None:
    name = pushable(sent).name
    code, answers = on_this_board(tmp_path / "b", "receive", given=packed(sent, sent))
    assert (code, answers) == (0, [{"stored": name}] * 2)
    (stored,) = (tmp_path / "b" / "store").iterdir()
    assert (stored.name, stored.read_bytes()) == (name, sent.read_bytes())


@pytest.mark.parametrize("kept", [513, 1400, 1536])
def test_a_file_that_was_cut_off_is_not_stored_but_those_before_it_are(
    tmp_path: Path, sent: Path, kept: int
) -> None:
    """A file of 1,000 bytes has a header of 512, then its bytes and padding up to 1,536."""
    second = random_file(tmp_path / "second.npy", seed=2)
    given = packed(sent, second)[: 1536 + kept - 1]
    code, answers = on_this_board(tmp_path / "b", "receive", given=given)
    whole = kept > 1512  # all bytes, though not all of the padding
    names = [pushable(sent).name, *([pushable(second).name] if whole else [])]
    assert (code, answers) == (0, [{"stored": name} for name in names])
    assert {path.name for path in (tmp_path / "b" / "store").iterdir()} == set(names)


def test_a_file_whose_hash_is_not_its_name_is_not_kept(tmp_path: Path, sent: Path) -> None:
    content = bytearray(packed(sent))
    content[1000] ^= 1
    code, answers = on_this_board(tmp_path / "b", "receive", given=bytes(content))
    assert (code, answers) == (0, [])
    assert list((tmp_path / "b" / "store").iterdir()) == []


@pytest.mark.parametrize("kept", [0, 30])
def test_an_archive_that_was_cut_off_at_once_stores_nothing(
    tmp_path: Path, sent: Path, kept: int
) -> None:
    code, answers = on_this_board(tmp_path / "b", "receive", given=packed(sent)[:kept])
    assert (code, answers) == (0, [])


def test_an_archive_names_no_user(sent: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(sent))) as archive:
        (member,) = archive.getmembers()
    assert (member.uname, member.gname, member.uid, member.gid, member.mtime) == ("", "", 0, 0, 0)


def test_half_an_environment_is_never_there(tmp_path: Path, sent: Path) -> None:
    wheel = tmp_path / "damaged.whl"
    wheel.write_bytes(sent.read_bytes())
    on_this_board(tmp_path / "b", "receive", given=packed(wheel))
    code, answers = on_this_board(tmp_path / "b", "unpack", "key", "numpy", pushable(wheel).name)
    assert code == 1
    assert "not a zip file" in answers[0]["error"]
    assert list((tmp_path / "b" / "environments").iterdir()) == []


@given(st.text())
def test_a_text_of_a_board_is_one_visible_line(text: str) -> None:
    shown = plain(text, 50)
    assert shown.isprintable()
    assert len(shown) <= 50


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_logits_that_are_no_numbers_are_apart(odd: float, dtype: Any) -> None:
    artifact: Any = SimpleNamespace(output=SimpleNamespace(dtype=dtype, scale=0.1))
    here = np.zeros((3, 10), np.float32)
    there = here.copy()
    there[1, 2] = odd
    for other in (here, there):
        found = equality_of(artifact, there, other)
        assert found.largest_steps is None
        assert str(found) in ("nan apart", "inf apart")


def test_logits_that_fit_are_taken() -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert (read_output(npy(array), 3, TWO, "pi4") == array).all()
    assert len(npy(array)) <= npy_bytes(3, TWO)


def test_only_a_tap_may_have_more_dimensions() -> None:
    tap = replace(TWO, name="pooled", role="tap", size=4)
    array = np.arange(12, dtype=np.float32).reshape(3, 2, 1, 2)
    assert (read_output(npy(array), 3, tap, "pi4") == array).all()
    with pytest.raises(
        JobError, match=r"returned pooled as float32 \(3, 2, 1, 2\), not .* \(3, 5\)"
    ):
        read_output(npy(array), 3, replace(tap, size=5), "pi4")
    with pytest.raises(
        JobError, match=r"returned logits as float32 \(3, 2, 1, 2\), not .* \(3, 4\)"
    ):
        read_output(npy(array), 3, replace(TWO, size=4), "pi4")


@given(at=st.integers(0, 151), value=st.integers(0, 255))
def test_altered_logits_are_an_array_or_one_line(at: int, value: int) -> None:
    content = bytearray(npy(np.zeros((3, 2), np.float32)))
    content[at] = value
    try:
        array = read_output(bytes(content), 3, TWO, "pi4")
    except JobError as error:
        assert str(error).isprintable()  # noqa: PT017 — either outcome is right
    else:
        assert (array.dtype, array.shape) == (np.float32, (3, 2))


def on_a_board(home: Path, *words: str) -> dict[str, Any]:
    """Run a command of on_board.py with a home folder; return what it printed last."""
    done = subprocess.run(
        [sys.executable, "-I", on_board.__file__, *words],
        env={"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == ("error" in printed)
    return printed


def stored(home: Path, content: bytes) -> str:
    """Put a file into the store of a board, and return its name there."""
    name = f"{hashlib.sha256(content).hexdigest()}.tflite"
    (home / "cache" / "store").mkdir(parents=True, exist_ok=True)
    (home / "cache" / "store" / name).write_bytes(content)
    return name


def test_a_file_is_put_in_its_place_and_exchanged_with_the_one_before(tmp_path: Path) -> None:
    cache, place = str(tmp_path / "cache"), tmp_path / "app" / "m.tflite"
    old, new = stored(tmp_path, b"old"), stored(tmp_path, b"new")
    assert on_a_board(tmp_path, "install", cache, old, "app/m.tflite")["installed"] == {
        "sha256": old[:64], "previous_sha256": "", "changed": True,
    }  # fmt: skip
    assert place.stat().st_mode & 0o777 == 0o644  # a service of another user reads it
    place.chmod(0o640)
    on_a_board(tmp_path, "install", cache, new, str(place))
    again = on_a_board(tmp_path, "install", cache, new, "~/app/m.tflite")["installed"]
    assert again == {"sha256": new[:64], "previous_sha256": old[:64], "changed": False}
    assert place.stat().st_mode & 0o777 == 0o640
    back = on_a_board(tmp_path, "roll_back", cache, "app/m.tflite")["installed"]
    assert back == {"sha256": old[:64], "previous_sha256": new[:64], "changed": True}
    assert [path.name for path in place.parent.iterdir()] == ["m.tflite"]
    assert place.read_bytes() == b"old"
    on_a_board(tmp_path, "roll_back", cache, "app/m.tflite")
    assert place.read_bytes() == b"new"
    (kept,) = (tmp_path / "cache" / "previous").glob("*/*")
    kept.write_bytes(b"olf")
    damaged = on_a_board(tmp_path, "roll_back", cache, "app/m.tflite")["error"]
    assert damaged == "the previous file is damaged; the present one stays"
    assert place.read_bytes() == b"new"


def test_a_file_that_was_signed_is_the_same_again_after_a_rollback(tmp_path: Path) -> None:
    cache, pack = str(tmp_path / "cache"), tmp_path / "pack"
    pack.mkdir()
    (pack / "m.tflite").write_bytes(b"old")
    (pack / "SHA256SUMS").write_text(f"{hashlib.sha256(b'old').hexdigest()}  m.tflite\n")
    write_keys(tmp_path / "key")
    sign(pack, tmp_path / "key")
    on_a_board(tmp_path, "install", cache, stored(tmp_path, b"new"), "pack/m.tflite")
    with pytest.raises(GateError, match=r"\(changed: SHA256SUMS; changed: m.tflite\)"):
        require_signature(pack, tmp_path / "key.pub")
    on_a_board(tmp_path, "roll_back", cache, "pack/m.tflite")
    require_signature(pack, tmp_path / "key.pub")
    other = on_a_board(tmp_path, "install", cache, stored(tmp_path, b"x"), "pack/other.tflite")
    assert other["error"] == "the pack there has no file of this name"
    require_signature(pack, tmp_path / "key.pub")


def test_a_place_that_a_file_cannot_take_keeps_what_it_has(tmp_path: Path) -> None:
    cache, place = str(tmp_path / "cache"), tmp_path / "m.tflite"
    name, other = stored(tmp_path, b"old"), stored(tmp_path, b"new")
    on_a_board(tmp_path, "install", cache, name, "m.tflite")
    assert on_a_board(tmp_path, "roll_back", cache, "m.tflite") == {
        "error": "there is no previous file", "place": str(place),
    }  # fmt: skip
    (tmp_path / "cache" / "store" / other).write_bytes(b"damaged")
    damaged = on_a_board(tmp_path, "install", cache, other, "m.tflite")["error"]
    assert damaged.endswith(f"{other} is damaged")
    assert on_a_board(tmp_path, "install", cache, name, "cache")["error"] == "Is a directory"
    below = on_a_board(tmp_path, "install", cache, name, "m.tflite/x.tflite")["error"]
    assert below in ("Not a directory", "File exists")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "m.tflite"]
    assert place.read_bytes() == b"old"


def test_the_list_of_a_packs_files_names_the_one_that_is_installed(tmp_path: Path) -> None:
    sums, zeros = tmp_path / "SHA256SUMS", "0" * 64
    sums.write_text(f"{zeros}  labels.txt\n{zeros}  m.tflite\n{zeros}  old/m.tflite\n")
    name = stored(tmp_path, b"new")
    on_a_board(tmp_path, "install", str(tmp_path / "cache"), name, "m.tflite")
    listed = f"{zeros}  labels.txt\n{name[:64]}  m.tflite\n{zeros}  old/m.tflite\n"
    assert sums.read_text() == listed
    sums.write_text(listed.replace(name[:64], zeros))  # the power was cut before it was written
    on_a_board(tmp_path, "install", str(tmp_path / "cache"), name, "m.tflite")
    assert sums.read_text() == listed
