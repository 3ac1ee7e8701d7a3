"""What an address may be."""

from __future__ import annotations

import pytest

from tacit.errors import InvalidParameterError
from tacit.remote.address import read_address


@pytest.mark.parametrize(
    ("url", "model", "origin", "named"),
    [
        ("https://provider.example/diagnosis", None, "https://provider.example:443", "diagnosis"),
        ("https://Provider.Example:8443/", None, "https://provider.example:8443", ""),
        ("https://provider.example:8443", "diagnosis", "https://provider.example:8443", "diagnosis"),
        ("https://provider.example/diagnosis", "diagnosis", "https://provider.example:443", "diagnosis"),
        ("https://provider.example/a/b/diagnosis", None, "https://provider.example:443/a/b", "diagnosis"),
        ("https://provider.example/a", "diagnosis", "https://provider.example:443/a", "diagnosis"),
        ("https://[::1]:8443/m", None, "https://[::1]:8443", "m"),
        ("http://127.0.0.1:80/m", None, "http://127.0.0.1:80", "m"),
        ("http://localhost/m", None, "http://localhost:80", "m"),
    ],
)
def test_addresses(url: str, model: str | None, origin: str, named: str) -> None:
    address = read_address(url, model)
    assert (address.origin, address.model) == (origin, named)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("provider.example/diagnosis", "https://"),
        ("ftp://provider.example/diagnosis", "https://"),
        ("https:///diagnosis", "https://"),
        ("https://user:secret@provider.example/m", "password"),
        ("https://provider.example/m?token=secret", "path"),
        ("https://provider.example/m#x", "path"),
        ("https://provider.example:99999/m", "not valid"),
        ("https://provider.example/../m", "path"),
        ("https://provider.example/m%2e%2e/%0a", "model"),
        ("https://provider .example/m", "address"),
        ("http://provider.example/m", "plain HTTP"),
        ("http://127.0.0.1.example/m", "plain HTTP"),
        ("http://10.0.0.1/m", "plain HTTP"),
    ],
)
def test_what_is_no_address_is_refused(url: str, word: str) -> None:
    with pytest.raises(InvalidParameterError, match=word) as caught:
        read_address(url)
    assert "secret" not in f"{caught.value} {caught.value.hint}"
