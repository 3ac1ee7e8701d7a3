"""`tacit.connect`: a provider's model as an object that predicts, while keys stay here and samples leave
encrypted."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from tacit.backends.answer import Answer, Report, answer_names
from tacit.backends.ckks.public import MAX_PLAN_BYTES, PublicPlan
from tacit.backends.ckks.scores import table
from tacit.errors import (
    InvalidParameterError,
    KeyFileError,
    MalformedMessageError,
    NotServedError,
    PeerIncompatibleError,
    ShapeError,
    UsageError,
)
from tacit.net import wire
from tacit.remote import pins
from tacit.remote.address import MODEL_FORM, Address, read_address
from tacit.remote.arrivals import Arrivals
from tacit.remote.audit import MAX_KEY_BYTES, audit, trusted
from tacit.remote.custody import Held, obtain
from tacit.remote.exchange import exchange
from tacit.remote.frames import frame_kind, like_frame, samples_of
from tacit.remote.keyring import Entry, Keyring
from tacit.remote.offers import Offer, choose, named, read_offers
from tacit.remote.session import Session, json_of
from tacit.remote.unprotected import predict_unprotected
from tacit.remote.upload import delete_keys
from tacit.roles.arguments import checked_max_error, checked_threads

__all__ = ["Remote", "connect"]

TIMEOUT_S = 300.0
AHEAD = 2
"""Requests on their way at a time: one is encrypted or decrypted here while the provider computes another."""

Progress = Callable[[str, float], None]
Result = TypeVar("Result")


def connect(
    url: str,
    *,
    model: str | None = None,
    token: str | None = None,
    ca: str | Path | None = None,
    cert: tuple[str | Path, str | Path] | None = None,
    keyring: str | Path | None = None,
    passphrase: str | None = None,
    max_error: float | None = None,
    measured: bool = False,
    plan: str | None = None,
    protection: Literal["ckks", "clear"] = "ckks",
    max_key_bytes: int = MAX_KEY_BYTES,
    timeout_s: float = TIMEOUT_S,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Remote:
    """A model that a provider serves at ``url``; its last path part names the model unless ``model`` does.

    ``token``: bearer token; ``cert``: (certificate, key) files of this client; ``ca``: file of the authority
    that the provider's certificate must be of, besides those of the system. ``keyring``: folder of key files,
    by default ``~/.config/tacit/keys``; ``passphrase`` seals them. ``max_error``: largest promised error that
    will do; ``measured``: whether a bound that is measured and not proven will. ``plan``: id of the only plan
    that is trusted (at least 32 digits); else the plans that the provider offers when the first key is made
    are trusted from then on. ``protection``: ``"clear"`` asks for a model that sees samples and answers.
    ``timeout_s``: for one request with its repetitions.

    Raises ``ConnectError``, ``TlsError``, ``AccessDeniedError``, ``NotServedError``, ``PeerIncompatibleError``.
    """
    if protection not in ("ckks", "clear"):
        raise InvalidParameterError(
            f"the 'protection' parameter must be `ckks` or `clear`. Got {protection!r} instead."
        )
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 86400:
        raise InvalidParameterError(
            f"the 'timeout_s' parameter must be in seconds, up to a day. Got {timeout_s!r} instead."
        )
    if isinstance(max_key_bytes, bool) or not isinstance(max_key_bytes, int) or max_key_bytes < 1:
        raise InvalidParameterError(
            f"the 'max_key_bytes' parameter must be >= 1. Got {max_key_bytes!r} instead."
        )
    address = read_address(url, model)
    session = Session(address, token=token, ca=ca, cert=cert)
    remote = Remote(
        session,
        address,
        Keyring(keyring, passphrase=passphrase),
        max_error=checked_max_error(max_error),
        measured=measured,
        plan=plan,
        protection=protection,
        max_key_bytes=max_key_bytes,
        timeout_s=float(timeout_s),
        threads=checked_threads(threads),
        progress=progress or (lambda phase, done: None),
    )
    try:
        remote._begin()
    except BaseException:
        remote.close()
        raise
    return remote


class Remote:
    """A model at a provider. Made by `connect`; a context manager. ``report``: of the last prediction.

    Predictions may run in several threads.
    """

    def __init__(
        self,
        session: Session,
        address: Address,
        keyring: Keyring,
        *,
        max_error: float | None,
        measured: bool,
        plan: str | None,
        protection: str,
        max_key_bytes: int,
        timeout_s: float,
        threads: int,
        progress: Progress,
    ) -> None:
        self.address = address
        self.model = address.model
        self.protection = protection
        self.keyring = keyring
        self.report: Report | None = None
        self._session: Session | None = session
        self._max_error = max_error
        self._measured = measured
        self._max_key_bytes = max_key_bytes
        self._named_plan = plan
        self._timeout_s = timeout_s
        self._threads = threads
        self._progress = progress
        self._output = "output"
        self._pinned: tuple[str, ...] | None = None
        self._metadata: dict[str, Any] = {}
        self._offers: tuple[Offer, ...] = ()
        self._plans: dict[str, PublicPlan] = {}
        self._held: dict[str, Held] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Remote {self.model!r} at {self.address.origin} under {self.protection}>"

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections and forgets the keys in memory; their files stay. A second call does nothing."""
        if self._session is not None:
            self._session.close()
        self._session = None
        self._held.clear()

    def predict(self, X: Any, *, strict: bool = True) -> Any:
        """The primary output for every sample of ``X`` (samples, …).

        An array or a list gives an ``Answer`` as `Private.predict` does; a table of pandas, polars or Arrow
        gives a table of the same kind: ``label``, a column for each number, and without ``strict``
        ``within_bound``; `report` has the rest.

        Keys are made at the first use of a plan, kept in the key files, and brought to the provider when it
        lacks them. Raises ``DataError``, ``ShapeError`` and ``DataRangeError`` before anything is made or
        sent, ``PlanRefusedError`` and ``PlanChangedError`` for plans that are not trusted, ``PrecisionError``
        when an answer fails its checks (then no number is returned and nothing is sent again), and a
        ``PeerError`` for what goes wrong on the way.
        """
        samples = samples_of(X)
        if samples.ndim < 2:
            raise ShapeError(
                "samples must be an array of one sample per row", hint="for one sample pass `[sample]`"
            )
        if not len(samples):
            raise ShapeError("there is no sample to predict")
        session = self._open()
        if self.protection == "clear":
            answer, self._output = predict_unprotected(
                session, self.model, self._metadata, samples, timeout_s=self._timeout_s
            )
        else:
            plan = self._plan_for(len(samples))
            plan.region.check(table(plan, samples))
            answer = self._predict(session, self._keys(plan), samples, strict)
        self.report = answer.report
        return like_frame(X, answer, self.columns(answer), marks=not strict) if frame_kind(X) else answer

    def columns(self, answer: Answer) -> list[str]:
        """One name for each number that an answer of this model has for a sample: its role, and the class."""
        width = np.asarray(answer).reshape(len(answer), -1).shape[1]
        plan = self._plans.get(answer.report.plan_id)
        if plan is not None:
            return answer_names(plan.tail, width)
        return [self._output] if width == 1 else [f"{self._output}_{place}" for place in range(width)]

    def plans(self) -> tuple[Offer, ...]:
        """The plans that the provider offers, by its own word. Under ``clear`` there are none."""
        session = self._open()
        if self.protection == "clear":
            return ()
        with self._lock:
            if not self._offers:
                self._offers = read_offers(json_of(self._get(session, "plans")))
            return self._offers

    def explain(self) -> dict[str, Any]:
        """The provider's price list for this model, as plain data. It is the provider's word."""
        return json_of(self._get(self._open(), "explain"))

    def load(self) -> dict[str, Any]:
        """How busy the provider says that it is: numbers of the whole server, none of one owner."""
        return json_of(self._get(self._open(), "load"))

    def prepare(self, rows: int = 1) -> None:
        """Makes and uploads the keys that so many rows take, where there are none, so that a prediction need
        not wait."""
        held = self._keys(self._plan_for(rows))
        if not held.uploads:
            self._deliver(self._open(), held)

    def public_plan(self, rows: int = 1) -> PublicPlan:
        """The plan that so many rows take, after every check; no key is made."""
        return self._plan_for(rows)

    def trusted_plans(self) -> tuple[str, ...]:
        """Ids of the plans that were trusted when the newest key for this model was made, by whatever name the
        provider calls it now; none before the first key."""
        if self.protection == "clear":
            return ()
        with self._lock:
            if not self._pinned:
                self._pinned = pins.pinned(
                    self.keyring,
                    self.address.origin,
                    typed=self.address.model,
                    model=self.model,
                    protection=self.protection,
                )
            return self._pinned

    def new_keys(self, rows: int = 1) -> str:
        """Trusts the plans of now, makes new keys for so many rows, uploads them, and removes all others of
        this model.

        The name of the new key. Keys that the provider has of before are deleted there, as far as it still
        has them. Key files of this model that cannot be read any more are removed too.
        """
        session = self._open()
        typed = self.address.model or self.model
        old = pins.replaced(self.keyring, self.address.origin, typed=typed, model=self.model)
        known = [(entry.keys_sha256, client) for entry in old if (client := self._client(entry)) is not None]
        with self._lock:
            self._held.clear()
            plan = self._plan_for(rows, trust_anew=True)
            held = self._keys(plan, anew=True)
        self._deliver(session, held)
        for entry in old:
            if entry.path != held.entry.path:
                self.keyring.remove(entry)
        for name in {typed, self.model}:
            for damaged in self.keyring.survey(self.address.origin, name).damaged:
                self.keyring.discard(damaged.path)
        self.keyring.sweep()
        for digest, client in known:
            if digest != held.digest:
                delete_keys(session, digest, client=client, timeout_s=self._timeout_s)
        return held.entry.name

    def _client(self, entry: Entry) -> bytes | None:
        """The client secret of a key; none where it cannot be opened, whose keys at the provider then age
        out."""
        try:
            return self.keyring.secrets_of(entry).client
        except KeyFileError:
            return None

    def _begin(self) -> None:
        """Who answers, which model is meant, and whether it is served under the protection that was asked
        for."""
        session = self._open()
        server = json_of(self._get(session, "server"))
        parameters = server.get("parameters")
        extensions = server.get("extensions")
        if self.protection != "clear":
            if not isinstance(extensions, list) or "tacit" not in extensions:
                raise PeerIncompatibleError(
                    f"{self.address.origin} serves models, but not under encryption",
                    hint='is it `tacit serve`? `protection="clear"` would show it your samples',
                )
            spoken = parameters.get("tacit_protocol") if isinstance(parameters, dict) else None
            if spoken != wire.PROTOCOL:
                raise PeerIncompatibleError(
                    f"the provider speaks another version of the protocol than this side, {wire.PROTOCOL}",
                    hint="install the same version of Tacit on both sides",
                )
        if not self.model:
            self.model = self._only_model(session)
        self._metadata = json_of(self._get(session, "model"))
        if self.protection != "clear" and self._served() != self.protection:
            plain, self.model = self.model, f"{self.model}-{self.protection}"
            try:
                self._metadata = json_of(self._get(session, "model"))
            except NotServedError:
                self._metadata = {}
            if self._served() != self.protection:
                raise NotServedError(
                    f"the model `{plain}` is not served under `{self.protection}`",
                    hint='nothing was sent; `protection="clear"` would show the provider your samples',
                )

    def _served(self) -> object:
        parameters = self._metadata.get("parameters")
        return parameters.get("tacit_protection") if isinstance(parameters, dict) else None

    def _only_model(self, session: Session) -> str:
        deadline = session.clock() + self._timeout_s
        reply = session.patiently(
            lambda: session.ask(
                "POST",
                wire.PATHS["index"],
                deadline=deadline,
                headers={"Content-Type": "application/json"},
                parts=[b"{}"],
            ),
            deadline=deadline,
        )
        names = index_names(reply.body)
        if len(names) != 1:
            shown = ", ".join(f"`{name}`" for name in names[:10]) or "none"
            raise NotServedError(
                f"{self.address.origin} serves {len(names)} models: {shown}",
                hint="name one: `model=…`, or as the last part of the address",
            )
        return names[0]

    def _get(self, session: Session, what: str, *, limit: int = 4 << 20, **names: str) -> Any:
        deadline = session.clock() + self._timeout_s
        path = wire.PATHS[what].format(model=self.model, **names)
        return session.patiently(
            lambda: session.ask("GET", path, deadline=deadline, limit=limit), deadline=deadline
        )

    def _plan_for(self, rows: int, *, trust_anew: bool = False) -> PublicPlan:
        session = self._open()
        if self.protection == "clear":
            raise UsageError("a model that is served without protection has no plan")
        with self._lock:
            offers = self.plans()
            if self._named_plan is not None:
                chosen = named(offers, self._named_plan)
            else:
                pinned = () if trust_anew else self.trusted_plans()
                known = trusted([offer.plan_id for offer in offers], pinned, place=str(self.address))
                usable = [offer for offer in offers if offer.plan_id in known]
                chosen = choose(self._affordable(usable), rows)
            if chosen.plan_id not in self._plans:
                self._progress("check the plan", 0.0)
                reply = self._get(session, "plan", limit=MAX_PLAN_BYTES, plan_id=chosen.plan_id)
                self._plans[chosen.plan_id] = audit(
                    reply.body,
                    plan_id=chosen.plan_id,
                    max_error=self._max_error,
                    measured=self._measured,
                    max_key_bytes=self._max_key_bytes,
                )
            return self._plans[chosen.plan_id]

    def _affordable(self, offers: Sequence[Offer]) -> Sequence[Offer]:
        """Those whose listed error and keys are within the limits; all where none is, for `audit` to say
        why."""
        most, size = self._max_error, self._max_key_bytes
        return [
            o for o in offers if (most is None or o.error_bound <= most) and o.key_bytes <= size
        ] or offers

    def _keys(self, plan: PublicPlan, *, anew: bool = False) -> Held:
        """The key of a plan, made at its first use."""
        with self._lock:
            held = self._held.get(plan.plan_id)
            if held is not None and not anew:
                return held
            self._progress("keys", 0.0)
            pinned = () if anew else self.trusted_plans()
            if self._named_plan is not None:
                offer: tuple[str, ...] = (plan.plan_id,)
            else:
                offer = pinned or tuple(offer.plan_id for offer in self.plans())
            held = obtain(
                self.keyring,
                plan,
                url=self.address.origin,
                model=self.model,
                offer=offer,
                threads=self._threads,
                anew=anew,
            )
            self._held[plan.plan_id] = held
            self._pinned = held.entry.offer if anew else self._pinned
            return held

    def _deliver(self, session: Session, held: Held) -> None:
        held.deliver(
            session,
            seen=held.uploads,
            timeout_s=self._timeout_s,
            progress=lambda done: self._progress("upload keys", done),
        )

    def _predict(self, session: Session, held: Held, samples: npt.NDArray[Any], strict: bool) -> Answer:
        seconds = {"encrypt": 0.0, "server": 0.0, "decrypt": 0.0}
        if not held.uploads:
            began = time.perf_counter()
            self._deliver(session, held)
            seconds = {"keys": time.perf_counter() - began, **seconds}
        chunks = list(held.owner.batches(samples))
        up = down = 0
        with Arrivals() as arrivals:
            for place, (response, sent, spent, encrypting) in enumerate(
                self._responses(session, held, chunks), start=1
            ):
                arrivals.add(response)
                seconds["encrypt"] += encrypting
                seconds["server"] += spent
                up, down = up + sent, down + len(response)
                self._progress("predict", place / len(chunks))
            # Nothing is sent from here on: what the provider sees does not depend on what an answer holds.
            start = time.perf_counter()
            parts = [held.owner.decrypt(response, strict=strict) for response in arrivals]
            seconds["decrypt"] += time.perf_counter() - start
        within_bound = np.concatenate([part.within_bound for part in parts])
        first = parts[0]
        labels = None
        if first.labels is not None:
            labels = np.concatenate([part.labels for part in parts if part.labels is not None])
        report = Report(
            protection="ckks",
            plan_id=held.owner.plan.plan_id,
            samples=len(samples),
            seconds=seconds,
            bytes_up=up,
            bytes_down=down,
            key_bytes=held.entry.keys_bytes,
            error_bound=held.owner.plan.error_bound,
            comparison_margin=first.report.comparison_margin,
            samples_out_of_bound=int((~within_bound).sum()),
            measured=first.report.measured,
        )
        values = np.concatenate([np.asarray(part) for part in parts])
        return Answer.of(values, labels=labels, report=report, within_bound=within_bound)

    def _responses(
        self, session: Session, held: Held, chunks: list[npt.NDArray[np.float64]]
    ) -> Iterator[tuple[bytes, int, float, float]]:
        """For every chunk, in order: the response, bytes of the request, seconds on the way, seconds to
        encrypt."""

        def ask(request: bytes) -> tuple[bytes, float]:
            start = time.perf_counter()
            response = exchange(session, held, request, timeout_s=self._timeout_s)
            return response, time.perf_counter() - start

        if len(chunks) == 1:
            start = time.perf_counter()
            request = held.owner.encrypt(chunks[0])
            encrypting = time.perf_counter() - start
            response, spent = ask(request)
            yield response, len(request), spent, encrypting
            return
        waiting: collections.deque[tuple[Future[tuple[bytes, float]], int, float]] = collections.deque()
        ahead = iter(chunks)
        while True:
            while len(waiting) < AHEAD and (chunk := next(ahead, None)) is not None:
                start = time.perf_counter()
                request = held.owner.encrypt(chunk)
                encrypting = time.perf_counter() - start
                waiting.append((beside(lambda request=request: ask(request)), len(request), encrypting))  # type: ignore[misc]
            if not waiting:
                return
            future, size, encrypting = waiting.popleft()
            response, spent = future.result()
            yield response, size, spent, encrypting

    def _open(self) -> Session:
        if self._session is None:
            raise UsageError("this object was closed", hint="call `tacit.connect` again")
        return self._session


def beside(task: Callable[[], Result]) -> Future[Result]:
    """Runs a task in a thread that does not keep the process alive."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(task())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def index_names(body: bytes) -> list[str]:
    """Names of the models that are ready, from the answer of the repository index: such as an address may
    hold. Raises ``MalformedMessageError``."""
    import json

    try:
        rows = json.loads(body)
        names = sorted({row["name"] for row in rows if row.get("state") in ("READY", None)})
        if all(MODEL_FORM.fullmatch(name) for name in names):
            return names
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise MalformedMessageError("the provider's list of models is not valid")
