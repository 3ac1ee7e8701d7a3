"""Key files: who can read them, what damage does, and what a passphrase is worth."""

from __future__ import annotations

import hashlib
import os
import pathlib
import stat
import subprocess
import sys
from typing import Any

import pytest

from tacit.errors import KeyFileError, UsageError
from tacit.remote import keyring as module
from tacit.remote.keyring import Entry, Keyring, Secrets, keyring_folder

URL, MODEL, PLAN = "https://provider.example:8443", "diagnosis", "ab" * 32
WORDS = "correct horse"
SECRETS = Secrets(b"owner's secret" * 300, bytes(range(32)))
EVALUATION = b"evaluation keys" * 1000


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal with the smallest cost that is still read."""
    monkeypatch.setattr(module, "SCRYPT_LOG_N", 14)


def save(ring: Keyring, *, plan: str = PLAN, evaluation: bytes = EVALUATION, model: str = MODEL) -> Entry:
    return ring.save(
        SECRETS, evaluation, url=URL, model=model, plan=plan, layout="latency", offer=(PLAN, "cd" * 32)
    )


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("passphrase", [None, WORDS])
def test_what_is_saved_is_read_again(tmp_path: pathlib.Path, passphrase: str | None) -> None:
    folder = tmp_path / "a" / "keys"
    entry = save(Keyring(folder, passphrase=passphrase))
    again = Keyring(folder, passphrase=passphrase)
    assert again.entries() == again.entries(URL, MODEL) == [entry]
    assert again.secrets_of(entry) == SECRETS
    assert again.entries(URL, "other") == []
    assert entry.is_sealed == (passphrase is not None)
    assert entry.keys_sha256 == hashlib.sha256(EVALUATION).hexdigest()
    assert again.evaluation_path(entry).read_bytes() == EVALUATION


def test_only_the_user_can_read(tmp_path: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        ring = Keyring(tmp_path / "keys")
        entry = save(ring)
    finally:
        os.umask(before)
    assert mode(ring.folder) == 0o700
    assert {mode(path) for path in ring.folder.iterdir()} == {0o600}
    assert entry.path.stat().st_nlink == 1
    assert not [path for path in ring.folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def test_nothing_secret_shows(tmp_path: pathlib.Path) -> None:
    entry = save(Keyring(tmp_path / "keys", passphrase=WORDS))
    assert SECRETS.owner not in entry.path.read_bytes()
    assert SECRETS.client not in entry.path.read_bytes()
    assert "owner's" not in f"{SECRETS!r} {entry!r} {Keyring(tmp_path / 'keys', passphrase=WORDS)!r}"
    assert WORDS not in repr(Keyring(tmp_path / "keys", passphrase=WORDS))


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644])
def test_files_that_others_can_read_are_refused(tmp_path: pathlib.Path, bits: int) -> None:
    ring = Keyring(tmp_path / "keys")
    entry = save(ring)
    entry.path.chmod(bits)
    with pytest.raises(KeyFileError, match="open to others"):
        ring.entries(URL, MODEL)


def test_folders_that_others_can_enter_are_refused(tmp_path: pathlib.Path) -> None:
    ring = Keyring(tmp_path / "keys")
    save(ring)
    ring.folder.chmod(0o750)
    for action in (ring.entries, lambda: save(ring)):
        with pytest.raises(KeyFileError, match="open to others") as caught:
            action()
        assert "chmod 700" in caught.value.hint


def test_links_are_not_followed(tmp_path: pathlib.Path) -> None:
    ring = Keyring(tmp_path / "keys")
    entry = save(ring)
    moved = tmp_path / "elsewhere"
    entry.path.rename(moved)
    entry.path.symlink_to(moved)
    with pytest.raises(KeyFileError):
        ring.entries(URL, MODEL)


def test_a_wrong_or_missing_passphrase_opens_nothing(tmp_path: pathlib.Path) -> None:
    entry = save(Keyring(tmp_path / "keys", passphrase=WORDS))
    with pytest.raises(KeyFileError, match="another passphrase"):
        Keyring(tmp_path / "keys", passphrase=WORDS + ".").secrets_of(entry)
    with pytest.raises(KeyFileError, match="sealed by a passphrase"):
        Keyring(tmp_path / "keys").secrets_of(entry)
    with pytest.raises(UsageError):
        Keyring(tmp_path / "keys", passphrase="")


def test_facts_of_a_sealed_key_cannot_be_exchanged(tmp_path: pathlib.Path) -> None:
    """The facts are associated data: a key cannot be passed off as that of another provider."""
    ring = Keyring(tmp_path / "keys", passphrase=WORDS)
    entry = save(ring)
    fields = module.open_envelope(entry.path.read_bytes(), "key file")
    fields["url"] = "https://attacker.example:8443"
    entry.path.write_bytes(module.seal("key file", fields))
    with pytest.raises(KeyFileError, match="does not open"):
        ring.secrets_of(ring.read(entry.path)[0])


@pytest.mark.parametrize("log_n", [0, 13, 21, 63, -1, "17", None])
def test_absurd_costs_are_refused_before_they_are_paid(tmp_path: pathlib.Path, log_n: object) -> None:
    ring = Keyring(tmp_path / "keys", passphrase=WORDS)
    entry = save(ring)
    fields = module.open_envelope(entry.path.read_bytes(), "key file")
    fields["sealed"]["log_n"] = log_n
    entry.path.write_bytes(module.seal("key file", fields))
    with pytest.raises(KeyFileError):
        ring.secrets_of(entry)


@pytest.mark.parametrize("passphrase", [None, WORDS])
def test_damage_is_a_typed_error(tmp_path: pathlib.Path, passphrase: str | None) -> None:
    ring = Keyring(tmp_path / "keys", passphrase=passphrase)
    entry = save(ring)
    good = entry.path.read_bytes()
    for bad in (
        b"",
        good[:-1],
        good + b"\0",
        b"\xff" * 100,
        *(flipped(good, at) for at in range(0, len(good), 97)),
    ):
        entry.path.write_bytes(bad)
        with pytest.raises(KeyFileError):
            ring.secrets_of(ring.entries(URL, MODEL)[0])


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_damaged_key_of_another_place_disturbs_nobody(tmp_path: pathlib.Path) -> None:
    ring = Keyring(tmp_path / "keys")
    entry = save(ring)
    save(ring, model="other").path.write_bytes(b"damage")
    save(ring, model=f"{MODEL}-ckks").path.write_bytes(b"damage")
    assert ring.entries(URL, MODEL) == [entry]
    with pytest.raises(KeyFileError):
        ring.entries()
    found = ring.survey()
    assert found.entries == [entry]
    assert len(found.damaged) == 2
    for one in found.damaged:
        ring.discard(one.path)
    assert ring.entries() == [entry]


def test_keys_of_several_plans_and_what_removing_removes(tmp_path: pathlib.Path) -> None:
    ring = Keyring(tmp_path / "keys")
    first, second = save(ring), save(ring, plan="cd" * 32, evaluation=b"other")
    assert {entry.plan for entry in ring.entries(URL, MODEL)} == {PLAN, "cd" * 32}
    ring.remove(first)
    assert ring.entries() == [second]
    assert sorted(path.suffix for path in ring.folder.iterdir()) == [".evaluation", ".key"]


def test_evaluation_keys_without_a_key_are_swept(tmp_path: pathlib.Path) -> None:
    ring = Keyring(tmp_path / "keys")
    assert ring.sweep() == []
    kept, lost = save(ring), save(ring, plan="cd" * 32, evaluation=b"other")
    lost.path.write_bytes(b"damaged")
    left = ring.evaluation_path(lost)
    assert ring.sweep() == []  # somebody may be about to write its key
    for path in ring.folder.glob("*.evaluation"):
        os.utime(path, (1, 1))
    (ring.folder / "notes.txt").write_text("mine")
    assert ring.sweep() == [left]
    assert ring.evaluation_path(kept).exists() and not left.exists()
    assert (ring.folder / "notes.txt").exists()


def test_files_that_another_process_removes_meanwhile_are_passed_over(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`remove` takes no lock: a file may go between the list of the folder and the look at it."""
    ring = Keyring(tmp_path / "keys")
    kept = save(ring)
    gone, left = (ring.folder / f"{letter * 64}.evaluation" for letter in "ab")
    for path in (gone, left):
        path.write_bytes(b"other")
        os.utime(path, (1, 1))
    look = pathlib.Path.lstat

    def lstat(path: pathlib.Path) -> os.stat_result:
        if path == gone:
            path.unlink()
        return look(path)

    with monkeypatch.context() as other:
        other.setattr(pathlib.Path, "lstat", lstat)
        assert ring.sweep() == [left]
    assert not gone.exists() and not left.exists() and ring.evaluation_path(kept).exists()


def test_a_key_that_another_process_removes_meanwhile_is_not_damaged(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring(tmp_path / "keys")
    kept, gone = save(ring), save(ring, plan="cd" * 32)
    read = Keyring.read

    def slow(self: Keyring, path: pathlib.Path) -> tuple[Entry, dict[str, Any]]:
        if path == gone.path:
            path.unlink()
        return read(self, path)

    monkeypatch.setattr(Keyring, "read", slow)
    assert ring.entries() == [kept]


def test_new_evaluation_keys_take_the_place_of_the_old(tmp_path: pathlib.Path) -> None:
    ring = Keyring(tmp_path / "keys", passphrase=WORDS)
    entry = ring.with_evaluation(save(ring), b"new")
    assert ring.evaluation_path(entry).read_bytes() == b"new"
    assert ring.secrets_of(entry) == SECRETS
    assert len(list(ring.folder.glob("*.evaluation"))) == 1


def test_a_full_disk_leaves_the_old_key(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring(tmp_path / "keys")
    entry = save(ring)
    before = entry.path.read_bytes()

    def full(place: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(KeyFileError, match="no space left"):
        save(ring, evaluation=b"new")
    assert entry.path.read_bytes() == before
    assert ring.secrets_of(entry) == SECRETS


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keyring_folder() == tmp_path / "tacit" / "keys"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keyring_folder() == tmp_path / ".config" / "tacit" / "keys"


def test_two_processes_wait_for_each_other(tmp_path: pathlib.Path) -> None:
    script = (
        "import sys, time; from tacit.remote.keyring import Keyring\n"
        "with Keyring(sys.argv[1]).lock():\n"
        "    print('in', flush=True); time.sleep(0.5); print('out', flush=True)"
    )
    ring = Keyring(tmp_path / "keys")
    command = [sys.executable, "-c", script, str(ring.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with ring.lock():
            assert other.stdout.readline() == "out\n"
    assert other.returncode == 0
