"""Between two machines, step by step: how far it gets, what is in the way, and what to do about it."""

from __future__ import annotations

import contextlib
import email.utils
import math
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tacit.backends.ckks.public import MAX_PLAN_BYTES, PublicPlan
from tacit.errors import (
    ClockSkewError,
    ConnectError,
    NotServedError,
    PeerError,
    PeerIncompatibleError,
    TacitError,
)
from tacit.net import tls, wire
from tacit.planner.cost import format_bytes, format_seconds
from tacit.remote import pins
from tacit.remote.address import Address, read_address
from tacit.remote.audit import MAX_KEY_BYTES, audit, trusted
from tacit.remote.connect import index_names
from tacit.remote.custody import obtain
from tacit.remote.exchange import exchange
from tacit.remote.keyring import Keyring
from tacit.remote.offers import choose, read_offers
from tacit.remote.resolver import RESOLVE_S, Place, resolved
from tacit.remote.session import CONNECT_S, Session, json_of
from tacit.remote.upload import delete_keys
from tacit.roles.arguments import checked_threads

__all__ = ["STEPS", "Step", "examine"]

STEPS = (
    "address",
    "name",
    "connection",
    "certificate",
    "protocol",
    "clock",
    "access",
    "model",
    "plan",
    "keys",
    "prediction",
)
"""In the order in which they are tried."""
MAX_SKEW_S = 60.0
"""Half of what a provider tolerates before it takes a request for a replayed one."""
SOON_S = 14 * 86400.0
ASK = "ask the provider's operator, with these words"


@dataclass(frozen=True, kw_only=True)
class Step:
    """``state``: ``ok``, ``failed`` or ``skipped``. ``detail``: what was found; ``cause``, ``fix``, ``code``:
    of a failure."""

    name: str
    state: str
    seconds: float = 0.0
    detail: str = ""
    cause: str = ""
    fix: str = ""
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dict(vars(self))


def examine(
    url: str,
    *,
    token: str | None = None,
    ca: str | Path | None = None,
    cert: tuple[str | Path, str | Path] | None = None,
    keyring: str | Path | None = None,
    passphrase: str | None = None,
    measured: bool = True,
    timeout_s: float = 60.0,
    threads: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[Step]:
    """Tries every step of a prediction and tells how it went, one after the other; after a failure the rest
    is skipped.

    Keys are made for this examination only: they are deleted at the provider and here when it ends. Of the
    user's own keys only the facts are read, to see whether the plans that they are for are still offered.
    """
    visit = _Visit(token, ca, cert, keyring, passphrase, measured, timeout_s, threads, clock)
    failed = False
    with contextlib.ExitStack() as stack:
        for name in STEPS:
            if failed:
                yield Step(name=name, state="skipped")
                continue
            start = time.perf_counter()
            try:
                detail = visit.try_step(name, url, stack)
            except TacitError as error:
                failed = True
                yield Step(
                    name=name,
                    state="failed",
                    seconds=time.perf_counter() - start,
                    cause=str(error),
                    fix=error.hint or ASK,
                    code=error.code,
                )
            else:
                yield Step(name=name, state="ok", seconds=time.perf_counter() - start, detail=detail)


class _Visit:
    """What the steps find out for each other."""

    def __init__(
        self,
        token: str | None,
        ca: str | Path | None,
        cert: tuple[str | Path, str | Path] | None,
        keyring: str | Path | None,
        passphrase: str | None,
        measured: bool,
        timeout_s: float,
        threads: int | None,
        clock: Callable[[], float],
    ) -> None:
        self.token, self.ca, self.cert = token, ca, cert
        self.ring = Keyring(keyring, passphrase=passphrase)
        self.measured, self.timeout_s, self.clock = measured, timeout_s, clock
        self.threads = checked_threads(threads)
        self.model = ""
        self.address: Address
        self.addresses: list[Place] = []
        self.session: Session
        self.date: tuple[float, float] | None = None
        self.plan: PublicPlan
        self.offer: tuple[str, ...] = ()
        self.held: Any = None

    def try_step(self, name: str, url: str, stack: contextlib.ExitStack) -> str:
        match name:
            case "address":
                self.address = read_address(url)
                self.model = self.address.model
                return str(self.address)
            case "name":
                return self.resolve()
            case "connection":
                return self.reach()
            case "certificate":
                return self.secure(stack)
            case "protocol":
                return self.greet()
            case "clock":
                return self.compare_clocks()
            case "access":
                return self.enter()
            case "model":
                return self.find_model()
            case "plan":
                return self.read_plan()
            case "keys":
                return self.bring_keys(stack)
        return self.predict()

    def resolve(self) -> str:
        self.addresses = resolved(
            self.address.host, self.address.port, within_s=min(RESOLVE_S, self.timeout_s)
        )
        return ", ".join(dict.fromkeys(str(found[4][0]) for found in self.addresses))

    def reach(self) -> str:
        last: OSError | None = None
        for found in self.addresses:
            family, kind, number, _, place = found
            with socket.socket(family, kind, number) as line:
                line.settimeout(CONNECT_S)
                try:
                    line.connect(place)
                    self.addresses = [found]
                    return f"port {self.address.port} answers at {place[0]}"
                except OSError as error:
                    last = error
        where = f"{self.address.host}:{self.address.port}"
        if isinstance(last, ConnectionRefusedError):
            raise ConnectError(
                f"nothing listens at {where}", hint="is `tacit serve` running there, on this port?"
            )
        if isinstance(last, TimeoutError):
            raise ConnectError(
                f"{where} does not answer", hint="a firewall on the way, or the wrong address?"
            )
        reason = (last.strerror or "failed").lower() if last is not None else "no address"
        raise ConnectError(f"no way to {where}: {reason}", hint="check the network of this machine")

    def secure(self, stack: contextlib.ExitStack) -> str:
        self.session = stack.enter_context(
            Session(self.address, token=self.token, ca=self.ca, cert=self.cert)
        )
        if self.address.scheme == "http":
            return "none: plain HTTP, for this machine only"
        context = tls.client_context(
            ca=None if self.ca is None else Path(self.ca),
            cert=None if self.cert is None else (Path(self.cert[0]), Path(self.cert[1])),
            host=self.address.host,
        )
        try:
            with (
                socket.create_connection(self.addresses[0][4][:2], timeout=CONNECT_S) as line,
                context.wrap_socket(line, server_hostname=self.address.host) as secured,
            ):
                found, version = secured.getpeercert() or {}, secured.version()
        except (OSError, ssl.SSLError) as error:
            raise tls.explain(error, self.address.host) from error
        ends = ssl.cert_time_to_seconds(str(found["notAfter"])) if "notAfter" in found else math.inf
        days = (ends - self.clock()) / 86400
        soon = ", renew it" if ends - self.clock() < SOON_S else ""
        return f"{version}, of {_issuer(found)}, for {days:.0f} more days{soon}"

    def greet(self) -> str:
        """Health first: it needs no token, so that a wrong one is told apart from a wrong address."""
        before = self.clock()
        reply = self.ask("GET", "live")
        self.note_date(reply.headers, before)
        try:
            server = json_of(self.ask("GET", "server"))
        except PeerError as error:
            if error.code == "access-denied":
                return "answers; the rest needs a token or a certificate"
            raise
        extensions, parameters = server.get("extensions"), server.get("parameters")
        if not isinstance(extensions, list) or "tacit" not in extensions:
            raise PeerIncompatibleError(
                "a server of models answers, but it does not serve them under encryption",
                hint="is it `tacit serve`?",
            )
        spoken = parameters.get("tacit_protocol") if isinstance(parameters, dict) else None
        if spoken != wire.PROTOCOL:
            raise PeerIncompatibleError(
                f"it does not speak version {wire.PROTOCOL} of the protocol",
                hint="install the same version of Tacit on both sides",
            )
        version = "".join(letter for letter in str(server.get("version", ""))[:40] if letter.isprintable())
        return f"tacit {version}, protocol {spoken}"

    def note_date(self, headers: Any, before: float) -> None:
        told = headers.get("date")
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            stamp = email.utils.parsedate_to_datetime(told).timestamp()
            # The stamp is a whole second, cut off: its middle is half a second later.
            self.date = (stamp + 0.5, (before + self.clock()) / 2)

    def compare_clocks(self) -> str:
        if self.date is None:
            return "the provider does not tell its time"
        skew = self.date[1] - self.date[0]
        if abs(skew) > MAX_SKEW_S:
            where = "ahead of" if skew > 0 else "behind"
            raise ClockSkewError(
                f"this machine's clock is {abs(skew):.0f} s {where} the provider's", skew_s=skew
            )
        return f"{abs(skew):.0f} s apart" if abs(skew) >= 1 else "less than a second apart"

    def enter(self) -> str:
        self.ask("GET", "server")
        return "let in" + (" with the token" if self.token else " with the certificate" if self.cert else "")

    def find_model(self) -> str:
        if not self.model:
            names = index_names(self.ask("POST", "index", parts=[b"{}"]).body)
            if len(names) != 1:
                raise NotServedError(
                    f"{len(names)} models are served: {', '.join(f'`{name}`' for name in names[:10]) or 'none'}",
                    hint="name one as the last part of the address",
                )
            self.model = names[0]
        metadata = json_of(self.ask("GET", "model"))
        parameters = metadata.get("parameters")
        if not isinstance(parameters, dict) or parameters.get("tacit_protection") != "ckks":
            raise NotServedError(
                f"`{self.model}` is not served under `ckks`", hint=f"is it served as `{self.model}-ckks`?"
            )
        return self.model

    def read_plan(self) -> str:
        offers = read_offers(json_of(self.ask("GET", "plans")))
        pinned = pins.pinned(
            self.ring, self.address.origin, typed=self.address.model, model=self.model, protection="ckks"
        )
        self.offer = trusted([offer.plan_id for offer in offers], pinned, place=str(self.address))
        chosen = choose([offer for offer in offers if offer.plan_id in self.offer], 1)
        reply = self.ask("GET", "plan", limit=MAX_PLAN_BYTES, plan_id=chosen.plan_id)
        self.plan = audit(
            reply.body, plan_id=chosen.plan_id, measured=self.measured, max_key_bytes=MAX_KEY_BYTES
        )
        trust = "trusted by your keys" if pinned else "no key yet"
        return f"{chosen.plan_id[:12]}, error <= {self.plan.error_bound:.2g}, {trust}"

    def bring_keys(self, stack: contextlib.ExitStack) -> str:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tacit-doctor-"))
        held = obtain(
            Keyring(Path(folder) / "keys"),
            self.plan,
            url=self.address.origin,
            model=self.model,
            offer=self.offer,
            threads=self.threads,
        )
        stack.callback(self.forget, held.digest, held.client)
        start = time.perf_counter()
        held.deliver(self.session, seen=0, timeout_s=self.timeout_s)
        self.held = held
        size = held.entry.keys_bytes
        return f"{format_bytes(size)} uploaded in {format_seconds(time.perf_counter() - start)}"

    def forget(self, digest: str, client: bytes) -> None:
        with contextlib.suppress(TacitError):
            delete_keys(self.session, digest, client=client, timeout_s=5.0)

    def predict(self) -> str:
        """A sample that is public: the mean that the plan itself names."""
        owner = self.held.owner
        sample = self.plan.region.mean.reshape(1, *self.plan.input_shape)
        start = time.perf_counter()
        answer = owner.decrypt(
            exchange(self.session, self.held, owner.encrypt(sample), timeout_s=self.timeout_s), strict=False
        )
        spent = time.perf_counter() - start
        if not np.isfinite(np.asarray(answer)).all():
            raise PeerError("the answer is no number", hint="ask the provider's operator")
        return f"encrypted, computed and decrypted in {format_seconds(spent)}"

    def ask(self, method: str, what: str, *, limit: int = 4 << 20, parts: Any = (), **names: str) -> Any:
        session = self.session
        deadline = session.clock() + self.timeout_s
        headers = {"Content-Type": "application/json"} if parts else {}
        path = wire.PATHS[what].format(model=self.model, **names)
        return session.ask(method, path, deadline=deadline, limit=limit, parts=parts, headers=headers)


def _issuer(certificate: Any) -> str:
    """The organisation or name of who signed a certificate, as `getpeercert` has it."""
    facts = {name: value for part in certificate.get("issuer", ()) for name, value in part}
    return str(facts.get("organizationName") or facts.get("commonName") or "an unnamed authority")
