"""Files that somebody took from the store by hand, and a disk that fails: typed errors, and nothing stays stuck."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil

import pytest

from tacit.errors import BusyError, MissingKeyError, OffsetError, StoreFailedError
from tacit.service.store import Store
from tests.service.test_store import LIMITS, MODEL, OTHER, OWNER, PLAN, begin, digest_of, files, read, send


def of_bytes(folder: pathlib.Path) -> pathlib.Path:
    """The one file of keys."""
    (found,) = (path for path in files(folder) if path.suffix == ".keys")
    return found


def failing(*_: object, **__: object) -> int:
    raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "store"


@pytest.mark.parametrize("how", ["removed", "cut", "a link"])
def test_keys_that_are_gone_from_the_disk_are_missing_and_come_again(folder: pathlib.Path, how: str) -> None:
    data = os.urandom(500)
    told: list[tuple[str, str]] = []
    with Store(folder, LIMITS) as store:
        store.on_removed(lambda owner, digest: told.append((owner, digest)))
        digest = send(store, data)
        path = of_bytes(folder)
        if how == "cut":
            path.write_bytes(data[:499])
        else:
            path.unlink()
        if how == "a link":
            path.symlink_to("/dev/null")
        with pytest.raises(MissingKeyError, match="gone from the disk") as error:
            read(store, digest)
        assert "upload" in error.value.hint
        assert told == [(OWNER, digest)]
        assert (store.totals()["count"], store.totals()["bytes"]) == (0, 0)
        with pytest.raises(MissingKeyError):
            store.state(OWNER, digest)
        assert not files(folder)
        assert read(store, send(store, data)) == data


def test_an_upload_whose_part_is_gone_begins_anew(folder: pathlib.Path) -> None:
    data = os.urandom(500)
    with Store(folder, LIMITS) as store:
        with begin(store, data) as part:
            part.write(data[:300])
        of_bytes(folder).unlink()
        with pytest.raises(OffsetError, match="gone") as error:
            begin(store, data, 300)
        assert error.value.offset == 0
        assert store.totals()["count"] == 0
        assert read(store, send(store, data)) == data


def test_an_upload_that_goes_at_its_end_begins_anew(folder: pathlib.Path) -> None:
    data = os.urandom(500)
    with Store(folder, LIMITS) as store:
        with begin(store, data) as part:
            part.write(data)
            of_bytes(folder).unlink()
        with pytest.raises(OffsetError) as error, store.verify(OWNER, digest_of(data)):
            pass
        assert error.value.offset == 0
        with begin(store, data) as part:
            part.write(data)
        with store.verify(OWNER, digest_of(data)) as lease:
            lease.path.unlink()
            with pytest.raises(StoreFailedError):
                store.admit(lease)
        assert not store.state(OWNER, digest_of(data)).complete
        with pytest.raises(OffsetError):
            begin(store, data, len(data))
        assert read(store, send(store, data)) == data


@pytest.mark.parametrize("call", ["pwrite", "read", "open", "fsync", "statvfs"])
def test_a_disk_that_fails_is_named(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    data, old = os.urandom(500), os.urandom(100)
    with Store(folder, LIMITS) as store:
        kept = send(store, old, OTHER)
        with monkeypatch.context() as disk:
            disk.setattr(os, call, failing)
            with pytest.raises(StoreFailedError, match="input/output error") as error:
                send(store, data)
            assert "operator" in error.value.hint
        assert read(store, kept, OTHER) == old
        with pytest.raises(MissingKeyError):
            store.state(OWNER, digest_of(data))
        assert read(store, send(store, data)) == data


def test_a_piece_that_the_disk_does_not_take_is_sent_again(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(500)
    with Store(folder, LIMITS) as store:
        with begin(store, data) as part:
            part.write(data[:100])
            with monkeypatch.context() as disk:
                disk.setattr(os, "pwrite", failing)
                disk.setattr(os, "ftruncate", failing)
                with pytest.raises(StoreFailedError):
                    part.write(data[100:])
        assert store.state(OWNER, digest_of(data)).offset == 100
        with begin(store, data, 100) as part:
            part.write(data[100:])
        with store.verify(OWNER, digest_of(data)) as lease:
            store.admit(lease)
        assert read(store, digest_of(data)) == data


def test_a_folder_that_is_gone_is_named(folder: pathlib.Path) -> None:
    with Store(folder, LIMITS) as store:
        digest = send(store, b"keys")
        shutil.rmtree(folder)
        with pytest.raises(MissingKeyError):
            read(store, digest)
        with pytest.raises(StoreFailedError, match="no such file"):
            send(store, b"keys")
        assert store.totals()["count"] == 0


def test_files_that_cannot_be_removed_leave_the_index(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(folder, LIMITS) as store:
        digest = send(store, b"keys")
        with monkeypatch.context() as disk:
            disk.setattr(pathlib.Path, "unlink", failing)
            with pytest.raises(StoreFailedError):
                store.remove(OWNER, digest)
        with pytest.raises(MissingKeyError), store.lease(OWNER, digest, model=MODEL, plan=PLAN):
            pass


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize(("place", "call"), [(os, "open"), (pathlib.Path, "lstat")], ids=["open", "lstat"])
def test_a_server_that_is_short_of_something_keeps_what_it_has(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, place: object, call: str, number: int
) -> None:
    """A shortage of descriptors or of memory passes. It is nothing that the disk did."""

    def short(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    data, old = os.urandom(500), os.urandom(100)
    with Store(folder, LIMITS) as store:
        kept = send(store, old, OTHER)
        with begin(store, data) as part:
            part.write(data)
        with monkeypatch.context() as process:
            process.setattr(place, call, short)
            with pytest.raises(BusyError), store.verify(OWNER, digest_of(data)):
                pass
            if call == "lstat":
                with pytest.raises(BusyError), store.lease(OTHER, kept, model=MODEL, plan=PLAN):
                    pass
            with pytest.raises(BusyError):
                begin(store, data, len(data))
        assert store.state(OWNER, digest_of(data)).offset == len(data)
        with store.verify(OWNER, digest_of(data)) as lease:
            store.admit(lease)
        assert read(store, digest_of(data)) == data
        assert read(store, kept, OTHER) == old
