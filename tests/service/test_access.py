"""Who asks: tokens, certificates, or everybody by name; rates in bounded memory; what a server needs to listen."""

from __future__ import annotations

import pathlib
import secrets
import stat
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from tacit.errors import AccessDeniedError, BusyError, DataError, InvalidParameterError, RateLimitError
from tacit.service.access import Access, Principal, owner_of
from tacit.service.exposure import check_exposure, is_local_host, is_local_page
from tacit.service.rate import RateLimiter, Rates
from tacit.service.tokens import TokenFile, add_token, new_token, token_line
from tests.net.authority import Authority


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def bearer(token: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def listed(tmp_path: pathlib.Path) -> tuple[pathlib.Path, str, str]:
    """A file of tokens, and those of alice and bob."""
    path, alice, bob = tmp_path / "tokens", new_token(), new_token()
    add_token(path, "alice", alice)
    add_token(path, "bob", bob)
    return path, alice, bob


def test_a_token_names_its_principal(listed: tuple[pathlib.Path, str, str]) -> None:
    path, alice, bob = listed
    access = Access(tokens=path)
    assert access.identify(bearer(alice)) == Principal("token:alice", "token:alice")
    assert access.identify({"authorization": f"bearer  {bob} "}).identity == "token:bob"
    assert not access.is_open


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {}",
        "{}",
        "Bearer {}x",
        "Bearer x{}",
        "Bearer {} {}",
        "Bearer " + "x" * 9999,
        "Bearer \udcff",
    ],
)
def test_anything_else_is_refused(listed: tuple[pathlib.Path, str, str], wrong: str) -> None:
    path, alice, _ = listed
    header = wrong.replace("{}", alice)
    with pytest.raises(AccessDeniedError) as refusal:
        Access(tokens=path).identify({"authorization": header} if header else {})
    assert alice not in str(refusal.value) + refusal.value.hint


def test_a_digest_is_not_a_token(listed: tuple[pathlib.Path, str, str]) -> None:
    """Who reads the file learns nothing that lets them in."""
    path, alice, _ = listed
    text = path.read_text()
    assert alice not in text
    access = Access(tokens=path)
    for word in text.replace("sha256:", " sha256: ").split():
        with pytest.raises(AccessDeniedError):
            access.identify(bearer(word))


def test_tokens_come_and_go_while_the_server_runs(listed: tuple[pathlib.Path, str, str]) -> None:
    path, alice, bob = listed
    clock = Clock()
    access = Access(tokens=path, clock=clock)
    access.identify(bearer(alice))
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if not line.startswith("alice"))
    )
    clock.now += 1.1
    with pytest.raises(AccessDeniedError):
        access.identify(bearer(alice))
    carol = new_token()
    add_token(path, "carol", carol)
    clock.now += 1.1
    assert access.identify(bearer(carol)).identity == "token:carol"
    assert access.identify(bearer(bob)).identity == "token:bob"


@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_a_list_that_cannot_be_read_lets_nobody_in(
    listed: tuple[pathlib.Path, str, str], damage: str
) -> None:
    path, alice, _ = listed
    clock, whole = Clock(), path.read_text()
    access = Access(tokens=path, clock=clock)
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(whole[:-20])
    clock.now += 1.1
    for _ in range(3):
        with pytest.raises(BusyError):
            access.identify(bearer(alice))
    path.write_text(whole)
    assert access.identify(bearer(alice)).identity == "token:alice"


ZEROS, ONES = "0" * 64, "1" * 64


@pytest.mark.parametrize(
    "text",
    [
        "alice",
        "alice sha256:12",
        f"alice md5:{ZEROS}",
        f"alice sha256:{'G' * 64}",
        f"a b sha256:{ZEROS}",
        f"../x sha256:{ZEROS}",
        f"a sha256:{ZEROS}\nb sha256:{ZEROS}",
        f"a sha256:{ZEROS}\na sha256:{ONES}",
        "\x00",
        f"é sha256:{ZEROS}",
    ],
)
def test_a_malformed_list_does_not_start(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(InvalidParameterError, match="line"):
        TokenFile(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidParameterError, match="not a file of tokens"):
        TokenFile(path)
    with pytest.raises(DataError):
        TokenFile(tmp_path / "absent")


def test_writing_the_list(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "tokens"
    add_token(path, "alice", "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("# comment\n\n" + path.read_text().rstrip("\n"))
    add_token(path, "bob", "two")
    assert TokenFile(path).name_of("two") == "bob"
    assert TokenFile(path).name_of("one") == "alice"
    with pytest.raises(InvalidParameterError, match="already"):
        add_token(path, "bob", "three")
    for name in ("", "a b", "-a", "a" * 65, "a\n"):
        with pytest.raises(InvalidParameterError, match="name has"):
            token_line(name, "x")
    with pytest.raises(DataError):
        add_token(tmp_path / "no" / "tokens", "a", "b")
    assert new_token() != new_token()
    assert len(new_token()) == 49


def test_certificates(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path)

    def der(stem: str, *subject: str) -> bytes:
        cert, _ = authority.issue(stem, client=True, subject=subject)
        return load_pem_x509_certificate(cert.read_bytes()).public_bytes(Encoding.DER)

    access = Access(certificates=True)
    assert (
        access.identify({}, certificate=der("a", "alice@example.org")).identity
        == "certificate:alice@example.org"
    )
    for wrong in (None, b"", b"x", der("b", "a", "b"), der("c", "two words"), der("d", "token:alice")):
        with pytest.raises(AccessDeniedError):
            access.identify({}, certificate=wrong)


def test_both_are_needed_where_both_are_asked_for(
    tmp_path: pathlib.Path, listed: tuple[pathlib.Path, str, str]
) -> None:
    path, alice, _ = listed
    cert, _ = Authority(tmp_path).issue("machine", client=True)
    der = load_pem_x509_certificate(cert.read_bytes()).public_bytes(Encoding.DER)
    access = Access(tokens=path, certificates=True)
    assert access.identify(bearer(alice), certificate=der).identity == "token:alice"
    with pytest.raises(AccessDeniedError, match="certificate"):
        access.identify(bearer(alice))
    with pytest.raises(AccessDeniedError, match="token"):
        access.identify({}, certificate=der)


def test_nothing_is_open_by_omission() -> None:
    with pytest.raises(InvalidParameterError, match="nothing says who"):
        Access()
    access = Access(open_=True)
    assert access.is_open
    found = access.identify({"authorization": "Bearer whatever"}, address="10.1.2.3")
    assert found == Principal("open", "open 10.1.2.3")


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "unix", True),
    ],
)
def test_open_accounts_are_networks(address: str, other: str, same: bool) -> None:
    access = Access(open_=True)
    accounts = {access.identify({}, address=found).account for found in (address, other)}
    assert (len(accounts) == 1) is same


def test_owners_differ_by_principal_and_by_secret() -> None:
    secret = secrets.token_bytes(32)
    alice, bob = Principal("token:alice", "a"), Principal("token:bob", "b")
    owners = {
        owner_of(alice, secret), owner_of(bob, secret), owner_of(alice, secrets.token_bytes(32)),
        owner_of(Principal("certificate:alice", "a"), secret), owner_of(Principal("open", "open 10.0.0.1"), secret),
    }  # fmt: skip
    assert len(owners) == 5
    assert all(len(owner) == 64 for owner in owners)
    assert owner_of(alice, secret) == owner_of(Principal("token:alice", "another account"), secret)
    assert owner_of(Principal("a" + "b", ""), b"c" + secret[1:]) != owner_of(
        Principal("a", ""), b"b" + secret[1:]
    )


def test_rates() -> None:
    clock = Clock()
    limiter = RateLimiter(Rates(per_s=2, burst=4), clock=clock)
    for _ in range(4):
        limiter.take("a")
    with pytest.raises(RateLimitError) as refusal:
        limiter.take("a")
    assert refusal.value.retry_after_s == pytest.approx(0.5)
    limiter.take("b")
    clock.now += 0.5
    limiter.take("a")
    with pytest.raises(RateLimitError):
        limiter.take("a")
    clock.now += 1000
    limiter.take("a", 4)
    with pytest.raises(RateLimitError):
        limiter.take("a")


def test_rates_take_bounded_memory_and_spare_nobody() -> None:
    clock = Clock()
    limiter = RateLimiter(Rates(per_s=1, burst=2), clock=clock, capacity=100)
    refused = 0
    for index in range(1000):
        try:
            limiter.take(f"account {index}")
        except RateLimitError:
            refused += 1
    assert len(limiter) <= 101
    assert refused == 1000 - 100 - 2, "beyond the capacity, accounts share one bucket"
    limiter.take("account 0")
    with pytest.raises(RateLimitError):
        limiter.take("account 0")
    clock.now += 2
    limiter.take("new")
    assert len(limiter) == 1


@pytest.mark.parametrize(
    "rates", [(0, 1), (-1, 1), (1, 0.5), (float("inf"), 1), (float("nan"), 1), (1, float("inf"))]
)
def test_rates_are_numbers_that_mean_something(rates: tuple[float, float]) -> None:
    with pytest.raises(InvalidParameterError):
        Rates(*rates)


def test_admission_counts_the_account(listed: tuple[pathlib.Path, str, str]) -> None:
    path, alice, bob = listed
    access = Access(tokens=path, rates=Rates(per_s=1, burst=1), clock=Clock())
    access.admit(access.identify(bearer(alice)))
    with pytest.raises(RateLimitError):
        access.admit(access.identify(bearer(alice)))
    access.admit(access.identify(bearer(bob)))


EVERYWHERE = "0.0.0.0"  # noqa: S104 what the tests are about


@pytest.mark.parametrize(
    ("host", "given", "words"),
    [
        ("127.0.0.1", "", None),
        ("localhost", "open", None),
        ("::1", "tokens", None),
        ("127.0.0.1", "plain", None),
        ("127.0.0.1", "plain cert", "leave out"),
        ("127.0.0.1", "plain client_ca", "leave out"),
        (EVERYWHERE, "", "`--cert`"),
        (EVERYWHERE, "plain", "listen on 127.0.0.1"),
        (EVERYWHERE, "cert", "`--tokens FILE`"),
        (EVERYWHERE, "tokens", "`--cert`"),
        (EVERYWHERE, "cert open", None),
        (EVERYWHERE, "cert tokens", None),
        (EVERYWHERE, "cert client_ca", None),
        (EVERYWHERE, "cert tokens open", "one of them"),
        ("example.org", "", "`--cert`"),
        ("::", "cert", "`--tokens FILE`"),
    ],
)
def test_what_a_server_needs_to_listen(host: str, given: str, words: str | None) -> None:
    said = given.split()

    def check() -> None:
        check_exposure(
            host,
            cert="cert" in said,
            tokens="tokens" in said,
            client_ca="client_ca" in said,
            open_="open" in said,
            plain_http="plain" in said,
        )

    if words is None:
        check()
        return
    with pytest.raises(InvalidParameterError) as refusal:
        check()
    assert words in refusal.value.hint


@pytest.mark.parametrize(
    ("header", "local"),
    [
        ("localhost", True),
        ("LocalHost:8443", True),
        ("127.0.0.1:8443", True),
        ("[::1]:8443", True),
        ("[::1]", True),
        ("", False),
        ("evil.example:8443", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:80", False),
        ("evil.example:127.0.0.1", False),
        ("10.0.0.1", False),
        ("[2001:db8::1]:8443", False),
    ],
)
def test_names_of_this_machine(header: str, local: bool) -> None:
    assert is_local_host(header) is local


@pytest.mark.parametrize(
    ("headers", "local"),
    [
        ({}, True),
        ({"origin": "https://localhost:8443", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://[::1]:8443"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://localhost.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"origin": "https://localhost", "sec-fetch-site": "Cross-Site"}, False),
    ],
)
def test_pages_of_this_machine(headers: dict[str, str], local: bool) -> None:
    assert is_local_page(headers) is local
