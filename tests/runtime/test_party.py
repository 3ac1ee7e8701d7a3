"""Files of parties and jobs: what is wrong in them is named with its key and how to mend it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tacit.errors import DataError, InvalidParameterError, MalformedMessageError, TacitError
from tacit.runtime.job import Job, load_job
from tacit.runtime.party import create, load_party
from tests.runtime import organisations


def test_what_is_made_can_be_read(tmp_path: pathlib.Path) -> None:
    made = organisations.make(tmp_path)
    clinic = made["clinic"]
    assert set(clinic.peers) == {"maker", "third"}
    assert clinic.peers["maker"].pin == made["maker"].pin
    assert clinic.peers["maker"].port == made["maker"].port
    assert clinic.peers["maker"].session_port == made["maker"].session_port
    assert clinic.data == {"rows": tmp_path / "rows.npy"}
    assert (tmp_path / "clinic.key").stat().st_mode & 0o777 == 0o600
    assert len(clinic.rules) == 1 and clinic.rules[0].plans == ("ANY",)


@pytest.mark.parametrize("port", [0, 65535, 99999])
def test_nothing_is_made_for_a_port_that_is_none(tmp_path: pathlib.Path, port: int) -> None:
    with pytest.raises(InvalidParameterError, match="port"):
        create("bank", tmp_path, now=datetime.now(UTC), port=port)
    assert not list(tmp_path.iterdir())


def test_an_identity_is_not_made_twice(tmp_path: pathlib.Path) -> None:
    create("bank", tmp_path, now=datetime.now(UTC))
    before = (tmp_path / "bank.key").read_bytes()
    with pytest.raises(InvalidParameterError, match="is there already"):
        create("bank", tmp_path, now=datetime.now(UTC))
    assert (tmp_path / "bank.key").read_bytes() == before


def swap(old: str, new: str) -> Callable[[str], str]:
    return lambda text: re.sub(old, new, text, count=1, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap("^", "x ="), "is no TOML"),
        (swap('name = "clinic"', ""), "`name` is missing"),
        (swap('name = "clinic"', "name = 7"), "`name` is a text"),
        (swap('name = "clinic"', 'name = "a/b"'), "`name` is not right"),
        (swap("^", 'colour = "red"\n'), "`colour` is no key"),
        (swap('"clinic.pem"', '"none.pem"'), "`identity.certificate` is not right"),
        (swap('"clinic.pem"', '"clinic.key"'), "`identity.certificate` is not right"),
        (swap('"clinic.key"', '"none.key"'), "`identity.key` cannot be read"),
        (swap('"clinic.key"', '"rows.npy"'), "`identity.key` can be read by other users"),
        (swap(r"port = \d+", "port = 0"), "`listen.port` is a whole number"),
        (swap(r"port = \d+", "port = true"), "`listen.port` is a whole number"),
        (
            swap(r"port = \d+\nsession_port = \d+", "port = 9443\nsession_port = 9443"),
            "`listen.session_port`",
        ),
        (swap('address = "[^"]*"', 'address = "somewhere"'), "`peers.maker.address` is a host and a port"),
        (swap('pin = "sha256:', 'pin = "md5:'), "`peers.maker.pin` is not right"),
        (swap(r'pin = "sha256:.', 'colour = "red"\npin = "sha256:0'), "`peers.maker.colour` is no key"),
        (swap('"rows.npy"', '"none.npy"'), "`offers.data.rows` is no file"),
        (swap(r"plans = [^\n]*", ""), r"`accepts\[0\].plans` is missing"),
        (swap(r"plans = [^\n]*", "plans = [1]"), r"`accepts\[0\].plans` is a list of texts"),
        (swap(r"plans = [^\n]*", 'plans = "ANY"'), r"`accepts\[0\].plans` is a list"),
    ],
)
def test_what_is_wrong_in_a_party_is_named(
    tmp_path: pathlib.Path, change: Callable[[str], str], said: str
) -> None:
    organisations.make(tmp_path)
    path = tmp_path / "clinic.toml"
    text = path.read_text()
    changed = change(text)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(InvalidParameterError, match=said) as caught:
        load_party(path)
    assert "clinic.toml" in str(caught.value) and caught.value.hint


def test_one_pin_under_two_names_is_refused(tmp_path: pathlib.Path) -> None:
    made = organisations.make(tmp_path)
    path = tmp_path / "clinic.toml"
    path.write_text(path.read_text().replace(made["third"].pin, made["maker"].pin))
    with pytest.raises(InvalidParameterError, match="one pin under two names"):
        load_party(path)


def test_a_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_party(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protection": "replicated4"}, "`protection` is not right: there is no protocol"),
        ({"parties": ["clinic", "maker"]}, "`parties` has 3 names"),
        ({"parties": ["clinic", "maker", "maker"]}, "`parties` is not right"),
        ({"model": "net"}, "`model` names an owner"),
        ({"outputs": []}, "`outputs` names nobody"),
        ({"outputs": ["bank"]}, "`parties` is not right: `bank` is no computing party"),
        ({"data": "bank/rows"}, "`bank` is no computing party"),
        ({"party": "none.toml"}, "cannot read"),
        ({"model": None}, "`model` is missing"),
        ({"checkpoint_every": -1}, "`checkpoint_every` is a whole number"),
        ({"colour": "red"}, "`colour` is no key"),
        ({"protection": "dealer2", "outputs": ["third"]}, "`third` is no computing party"),
    ],
)
def test_what_is_wrong_in_a_job_is_named(
    tmp_path: pathlib.Path, changes: dict[str, object], said: str
) -> None:
    organisations.make(tmp_path)
    with pytest.raises(TacitError, match=said):
        load_job(organisations.write_job(tmp_path, **changes))


def test_a_job_of_another_party_is_read_strictly(tmp_path: pathlib.Path) -> None:
    organisations.make(tmp_path)
    job, _ = load_job(tmp_path / "job.toml")
    assert Job.of(job.facts()) == job
    for key, value in (
        ("id", "../x"),
        ("every", -1),
        ("every", True),
        ("outputs", []),
        ("parties", ["a"]),
        ("parties", "abc"),
        ("model", 5),
        ("more", 1),
    ):
        with pytest.raises(MalformedMessageError):
            Job.of({**job.facts(), key: value})
