"""The development certificate: for loopback only, owner-only, renewed in time, never half-made."""

from __future__ import annotations

import datetime
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tacit.errors import KeyFileError, TlsError
from tacit.net import development, tls
from tests.net.test_tls import handshake
from tests.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_clients_trust_it(host: str) -> None:
    made = development.dev_certificate()
    server = tls.server_context(made.cert, made.key)
    assert handshake(tls.client_context(host=host), server, host) == (None, None)


@pytest.mark.parametrize(
    "host", ["example.org", "10.0.0.1", "localhost.example.org", "127.0.0.1.example.org"]
)
def test_nobody_else_trusts_it(host: str) -> None:
    made = development.dev_certificate()
    authority = x509.load_pem_x509_certificate(made.ca.read_bytes())
    context = tls.client_context(host=host)
    assert authority.subject.rfc4514_string() not in str(context.get_ca_certs())
    error, _ = handshake(context, tls.server_context(made.cert, made.key), host)
    assert isinstance(tls.explain(error or ValueError(), host), TlsError)


def test_its_authority_issues_no_authorities(tmp_path: Path) -> None:
    made = development.dev_certificate(tmp_path / "dev")
    authority = x509.load_pem_x509_certificate(made.ca.read_bytes())
    facts = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert facts.critical and facts.value.ca and facts.value.path_length == 0


def test_its_authority_cannot_vouch_for_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a client that trusts the authority refuses a certificate of it for another name: name constraints."""
    real = x509.SubjectAlternativeName
    monkeypatch.setattr(
        x509, "SubjectAlternativeName", lambda names: real([*names, x509.DNSName("example.org")])
    )
    made = development.dev_certificate(tmp_path / "forged")
    server = tls.server_context(made.cert, made.key)
    for host in ("example.org", "localhost"):
        error, _ = handshake(tls.client_context(host=host, ca=made.ca), server, host)
        assert error is not None
        assert "may not vouch for" in str(tls.explain(error, host))


def test_files_are_of_their_owner_only_and_no_authority_key_is_kept() -> None:
    made = development.dev_certificate()
    folder = made.ca.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    authority = x509.load_pem_x509_certificate(made.ca.read_bytes())
    keys = [path for path in folder.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert keys == [made.key]
    assert load_pem_private_key(made.key.read_bytes(), None).public_key() != authority.public_key()


def test_it_is_kept_until_it_is_about_to_end() -> None:
    now = datetime.datetime.now(datetime.UTC)
    first = development.dev_certificate(now=now)
    before = first.cert.read_bytes()
    assert first.made
    assert not development.dev_certificate(now=now + datetime.timedelta(days=20)).made
    assert first.cert.read_bytes() == before
    assert development.dev_certificate(now=now + datetime.timedelta(days=24)).made
    assert first.cert.read_bytes() != before
    assert len(x509.load_pem_x509_certificates(first.ca.read_bytes())) == 2, "the old authority went too soon"
    later = datetime.timedelta(days=200)
    development.dev_certificate(now=now + later)
    assert len(x509.load_pem_x509_certificates(first.ca.read_bytes())) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "open"])
def test_damaged_files_are_made_again(damage: str, tmp_path: Path) -> None:
    made = development.dev_certificate()
    if damage == "open":
        made.key.chmod(0o644)
    elif damage == "other":
        made.ca.write_bytes(development.dev_certificate(tmp_path / "else").ca.read_bytes())
    else:
        made.cert.write_bytes(made.cert.read_bytes()[:400] if damage == "cut" else b"")
    again = development.dev_certificate()
    assert again.made
    assert handshake(
        tls.client_context(host="localhost"), tls.server_context(again.cert, again.key), "localhost"
    ) == (
        None,
        None,
    )
    assert not development.dev_certificate().made


def test_a_folder_of_others_is_refused(config: Path) -> None:
    folder = config / "tacit" / "dev"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(KeyFileError, match="only you can use"):
        development.dev_certificate()
    folder.rmdir()
    (config / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(config / "elsewhere")
    with pytest.raises(KeyFileError):
        development.dev_certificate()
    folder.unlink()
    folder.write_bytes(b"")
    with pytest.raises(KeyFileError):
        development.dev_certificate()


def test_many_at_once_make_one() -> None:
    made: list[development.DevCertificate] = []
    threads = [threading.Thread(target=lambda: made.append(development.dev_certificate())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sum(one.made for one in made) == 1
    assert len(made) == 8


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
)
def test_loopback_hosts(host: str) -> None:
    assert development.is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "128.0.0.1", "127.1", "::ffff:10.0.0.1"],  # noqa: S104
)
def test_other_hosts(host: str) -> None:
    assert not development.is_loopback(host)


def test_environment_is_respected(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert development.authority_path() == config / "tacit" / "dev" / "authority.pem"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert development.authority_path().parts[-4:] == (".config", "tacit", "dev", "authority.pem")
