"""`party.toml`: what one organisation is, whom it knows, what it offers, and what it accepts. Closed by default.

A job runs at a party only if one of its ``[[accepts]]`` tables agrees to every part of it. Each of these keys must be
there; that anything is accepted is spelled ``ANY``.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tacit.errors import DataError, InvalidParameterError
from tacit.net import tls
from tacit.net.channel import checked_name
from tacit.net.channel_identity import Identity, Party, new_identity
from tacit.runtime.toml import Table, read

__all__ = ["ANY", "Model", "Organisation", "Peer", "Rule", "create", "load_party"]

ANY = "ANY"
_LARGEST_PORT = 65535
DEFAULT_PORT = 9443


@dataclass(frozen=True)
class Peer:
    """Another organisation. Jobs are offered at ``port``, sessions run at ``session_port``."""

    name: str
    pin: str
    host: str
    port: int
    session_port: int

    def row(self) -> Party:
        """As a session sees it."""
        return Party(self.name, self.pin, self.host, self.session_port)


@dataclass(frozen=True)
class Model:
    """A model that is offered; ``calibration``: samples like those to come, from which ranges are taken."""

    file: Path
    calibration: Path | None


@dataclass(frozen=True)
class Rule:
    """What is accepted: each part of a job must be in the list, or the list says ``ANY``."""

    starters: tuple[str, ...]
    models: tuple[str, ...]
    data: tuple[str, ...]
    outputs: tuple[str, ...]
    protections: tuple[str, ...]
    plans: tuple[str, ...]


@dataclass(frozen=True)
class Organisation:
    """A checked `party.toml`. Its files of identity were read, those of models and data only looked for."""

    path: Path
    name: str
    identity: Identity
    pin: str
    state: Path
    host: str
    port: int
    session_port: int
    peers: Mapping[str, Peer]
    models: Mapping[str, Model]
    data: Mapping[str, Path]
    rules: tuple[Rule, ...]

    def me(self) -> Peer:
        return Peer(self.name, self.pin, self.host, self.port, self.session_port)

    def find(self, name: str) -> Peer:
        """A peer, or this organisation. Raises ``InvalidParameterError``."""
        if name == self.name:
            return self.me()
        if name not in self.peers:
            raise InvalidParameterError(
                f"`{self.path}`: there is no `peers.{name}`",
                hint=f"add `[peers.{name}]` with `address` and `pin`, or correct the name in the job",
            )
        return self.peers[name]


def load_party(path: Path) -> Organisation:
    """Reads and checks a file. Raises ``DataError`` and ``InvalidParameterError``, naming file, key and fix."""
    table = read(path, "the `party.toml` of an organisation")
    name = table.text("name")
    table.checked("name", lambda: checked_name(name))
    own = table.table("identity")
    identity = Identity(own.place("certificate"), own.place("key"))
    own.end()
    own.checked("certificate", lambda: tls.checked_leaf(identity.certificate))
    _check_key(own, identity.key)
    pin = tls.fingerprint(identity.certificate)
    listen = table.table("listen")
    host = listen.text("host", "127.0.0.1")
    port = listen.number("port", low=1, high=_LARGEST_PORT - 1)
    session_port = listen.number("session_port", port + 1, low=1, high=_LARGEST_PORT)
    if session_port == port:
        raise listen.wrong(
            "session_port", "is the port at which jobs are offered", "take another one, or leave it out"
        )
    listen.end()
    peers = _peers(table.table("peers"), name, pin)
    offers = table.table("offers", required=False)
    models = _models(offers.table("models", required=False))
    data = _data(offers.table("data", required=False))
    offers.end()
    rules = tuple(_rule(each) for each in table.tables("accepts"))
    state = table.place("state", f"{name}.state")
    table.end()
    return Organisation(
        path, name, identity, pin, state, host, port, session_port, peers, models, data, rules
    )


def create(name: str, folder: Path, *, now: datetime.datetime, port: int = DEFAULT_PORT) -> Organisation:
    """Makes an identity and a template: ``NAME.toml``, ``NAME.pem`` and ``NAME.key``. Nothing is overwritten."""
    checked_name(name)
    if not 0 < port < _LARGEST_PORT:
        raise InvalidParameterError(
            f"the 'port' parameter must be from 1 to {_LARGEST_PORT - 1}. Got {port} instead.",
            hint="sessions use the next port",
        )
    certificate, key = new_identity(name, now=now)
    content = {
        folder / f"{name}.key": (key, 0o600),
        folder / f"{name}.pem": (certificate, 0o644),
        folder / f"{name}.toml": (_TEMPLATE.format(name=name, port=port).encode(), 0o644),
    }
    for path in content:
        if path.exists():
            raise InvalidParameterError(
                f"`{path}` is there already", hint="a party keeps its identity; choose another name or folder"
            )
    for path, (text, mode) in content.items():
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(text)
        except OSError as error:
            raise DataError(
                f"cannot write `{path}`: {(error.strerror or 'no reason').lower()}",
                hint="choose a folder that this user may write to",
            ) from None
    return load_party(folder / f"{name}.toml")


def _check_key(table: Table, key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise table.wrong(
            "key", f"cannot be read: {(error.strerror or 'no reason').lower()}", "`tacit party new` makes one"
        ) from None
    if mode & 0o077:
        raise table.wrong("key", "can be read by other users", f"chmod 600 {key}")


def _peers(table: Table, name: str, pin: str) -> dict[str, Peer]:
    found: dict[str, Peer] = {}
    for peer in table.names():
        row = table.table(peer)
        row.checked("", lambda peer=peer: checked_name(peer))  # type: ignore[misc]
        host, _, port = row.text("address").rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < _LARGEST_PORT:
            raise row.wrong("address", "is a host and a port", 'write `address = "host.example:9443"`')
        session_port = row.number("session_port", int(port) + 1, low=1, high=_LARGEST_PORT)
        theirs = row.text("pin")
        found[peer] = Peer(peer, theirs, host, int(port), session_port)
        row.checked("pin", found[peer].row)
        row.end()
        if peer == name or theirs == pin:
            raise row.wrong("pin", "is this party itself", "list only the others")
    if len({peer.pin for peer in found.values()}) < len(found):
        raise table.wrong("", "has one pin under two names", "each party has an identity of its own")
    return found


def _models(table: Table) -> dict[str, Model]:
    found = {}
    for name in table.names():
        row = table.table(name)
        calibration = row.place("calibration") if "calibration" in row.names() else None
        found[name] = Model(row.place("file"), calibration)
        row.end()
        _look_for(row, "file", found[name].file)
        if calibration is not None:
            _look_for(row, "calibration", calibration)
    return found


def _data(table: Table) -> dict[str, Path]:
    found = {}
    for name in table.names():
        found[name] = table.place(name)
        _look_for(table, name, found[name])
    return found


def _look_for(table: Table, key: str, path: Path) -> None:
    if not path.is_file():
        raise table.wrong(key, f"is no file: `{path}`", "paths are relative to the folder of this file")


def _rule(table: Table) -> Rule:
    rule = Rule(
        table.texts("starters"),
        table.texts("models"),
        table.texts("data"),
        table.texts("outputs"),
        table.texts("protections"),
        table.texts("plans"),
    )
    table.end()
    return rule


_TEMPLATE = """\
# What `{name}` is in computations among several organisations, and what it agrees to.
name = "{name}"
state = "{name}.state"               # a folder: results, receipts, checkpoints

[identity]                           # the others pin the fingerprint of the certificate; the key stays here
certificate = "{name}.pem"
key = "{name}.key"

[listen]
host = "127.0.0.1"                   # an address of this machine that the others reach; "0.0.0.0" is any
port = {port}                          # jobs are offered here, sessions run at the next port

[peers]
# [peers.NAME]                       # one for each other organisation
# address = "host.example:9443"
# pin = "sha256:…"                   # `tacit party show` prints it there; take it by a way that you trust

# [offers.models.NAME]               # models and data of this organisation, by the names that jobs use
# file = "model.onnx"
# calibration = "samples.csv"        # samples like those to come: ranges of the plan are taken from them
# [offers.data]
# NAME = "rows.csv"

# [[accepts]]                        # a job runs only if one such table agrees to all of it; "ANY" is anything
# starters = ["{name}"]
# models = ["OWNER/NAME"]
# data = ["OWNER/NAME"]
# outputs = ["NAME"]                 # who may see results
# protections = ["replicated3"]
# plans = ["ANY"]                    # or the digests of plans
"""
