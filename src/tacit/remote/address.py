"""Where a provider is: the parts of a URL, and what of it an owner may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tacit.errors import InvalidParameterError
from tacit.net.development import is_loopback

__all__ = ["Address", "read_address"]

MODEL_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True)
class Address:
    """``origin``: scheme, host, port and the prefix that a proxy may have put before the service; no final
    slash.

    ``host`` is as in the URL, lower case, without brackets. ``model``: empty where the URL names none.
    """

    origin: str
    scheme: str
    host: str
    port: int
    model: str = ""

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"{self.origin}/{self.model}" if self.model else self.origin


def read_address(url: str, model: str | None = None) -> Address:
    """The address in a URL, whose last path part names the model unless ``model`` does.

    Raises ``InvalidParameterError`` for what is no address, holds a password, or is not HTTPS; plain HTTP is
    for a loopback host only.
    """
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise InvalidParameterError("the 'url' parameter must be the address of a provider", hint=EXAMPLE)
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError:
        raise InvalidParameterError("the address of the provider is not valid", hint=EXAMPLE) from None
    if parts.scheme not in ("https", "http") or not host:
        raise InvalidParameterError("the address of the provider must begin with `https://`", hint=EXAMPLE)
    if parts.username is not None or parts.password is not None:
        raise InvalidParameterError(
            "the address of the provider must not hold a user or a password", hint="pass `token=`"
        )
    if parts.query or parts.fragment:
        raise InvalidParameterError("the address of the provider ends with its path", hint=EXAMPLE)
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidParameterError(
            f"plain HTTP to `{host}` would show tokens and who asks what to everybody on the way",
            hint="use `https://`; `http://` is for 127.0.0.1, ::1 and localhost only",
        )
    path = [unquote(part) for part in parts.path.split("/") if part]
    if model is None:
        model = path.pop() if path else ""
    elif path and path[-1] == model:
        path.pop()
    if model and not MODEL_FORM.fullmatch(model):
        raise InvalidParameterError("the name of a model has letters, digits, dots, dashes and underscores")
    if not all(MODEL_FORM.fullmatch(part) for part in path):
        raise InvalidParameterError("the path of the address is not valid", hint=EXAMPLE)
    port = port or {"https": 443, "http": 80}[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    origin = "/".join([f"{parts.scheme}://{shown}:{port}", *path])
    return Address(origin, parts.scheme, host, port, model)


EXAMPLE = "an address looks like `https://provider.example:8443/diagnosis`"
