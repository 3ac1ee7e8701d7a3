"""The model provider: holds a compiled model and evaluation keys, computes on ciphertexts, and can decrypt nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tacit._native import Ciphertext, EvaluationKeys, Parameters
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.engine import EncryptedEngine
from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.executor import Executor
from tacit.errors import (
    MalformedMessageError,
    MissingKeyError,
    PeerIncompatibleError,
    PeerMisbehavedError,
)

__all__ = ["MAX_KEYS", "OwnerKeys", "Provider"]

MAX_KEYS = 64
"""Owners whose keys are held at once; the least recently used are dropped first."""


@dataclass(frozen=True, repr=False)
class OwnerKeys:
    """Evaluation keys of one owner, read and checked. ``memory_bytes``: what the keys take in memory."""

    key_id: bytes
    engine: EncryptedEngine
    memory_bytes: int

    def __repr__(self) -> str:
        return f"<OwnerKeys {self.key_id.hex()[:12]} memory_bytes={self.memory_bytes}>"


class Provider:
    """Runs one compiled model for any number of owners. Safe to call from several threads.

    ``bundle``: what ``to_bytes`` gave, or a compiled model; it holds the weights and is the provider's secret.
    """

    def __init__(self, bundle: bytes | Compiled, *, threads: int = 1) -> None:
        compiled = bundle if isinstance(bundle, Compiled) else Compiled.from_bytes(bundle)
        self._compiled = compiled
        self._threads = threads
        plan = compiled.public
        self._plan_id = bytes.fromhex(plan.plan_id)
        self._params = Parameters.from_literal(plan.log_n, plan.log_q, plan.log_p, log_scale=plan.log_scale)
        self._executor = Executor(compiled.program(), EncryptedEngine(self._params))
        self._keys: OrderedDict[bytes, OwnerKeys] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Provider of plan {self._compiled.public.plan_id[:12]}>"

    def public_plan(self) -> bytes:
        """What an owner needs to make keys and requests; it may be published."""
        return self._compiled.public.to_bytes()

    def to_bytes(self) -> bytes:
        """Plan and weights: the provider's secret."""
        return self._compiled.to_bytes()

    @classmethod
    def from_bytes(cls, bundle: bytes, *, threads: int = 1) -> Provider:
        """Reads ``to_bytes``. Raises ``MalformedMessageError`` or ``PeerIncompatibleError``."""
        return cls(bundle, threads=threads)

    def load_keys(self, message: bytes) -> str:
        """Keeps an owner's evaluation keys and returns the name of the key. Raises as ``read_keys`` does."""
        keys = self.read_keys(message)
        with self._lock:
            self._keys[keys.key_id] = keys
            self._keys.move_to_end(keys.key_id)
            while len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)
        return keys.key_id.hex()

    def read_keys(self, message: bytes) -> OwnerKeys:
        """An owner's evaluation keys, checked against the plan, for ``run``; this provider does not keep them.

        Raises ``MalformedMessageError`` for damaged bytes, ``PeerIncompatibleError`` for keys of another plan, and
        ``PeerMisbehavedError`` for keys that the plan cannot use.
        """
        plan = self._compiled.public
        fields = open_envelope(message, "keys")
        if set(fields) != {"plan", "key", "body"}:
            raise MalformedMessageError("the message of keys lacks a field or has one too many")
        if fields["plan"] != self._plan_id:
            raise PeerIncompatibleError("the keys were made for another plan")
        key_id, body = fields["key"], fields["body"]
        if not isinstance(key_id, bytes) or len(key_id) != 16 or not isinstance(body, bytes):
            raise MalformedMessageError("the name or the body of the keys is not valid")
        keys = None
        if plan.needs_keys:
            keys = EvaluationKeys.from_bytes(self._params, body)
            missing = set(plan.rotations) - set(keys.rotations)
            lacks = plan.relinearize is not None and not keys.has_relinearization
            lacks = lacks or (plan.conjugate is not None and not keys.has_conjugation)
            if missing or lacks:
                raise PeerMisbehavedError(
                    f"the keys lack {len(missing)} rotations or another key that the plan uses"
                )
        elif body:
            raise MalformedMessageError("this plan takes no evaluation keys")
        engine = EncryptedEngine(self._params, keys, threads=self._threads)
        return OwnerKeys(key_id, engine, 0 if keys is None else keys.memory_bytes)

    def forget_keys(self, key_id: str) -> None:
        """Drops an owner's keys by the name that ``load_keys`` returned; unknown names are ignored."""
        with self._lock:
            for name in [name for name in self._keys if name.hex() == key_id]:
                del self._keys[name]

    def run(
        self, request: bytes, *, keys: OwnerKeys | None = None, checkpoint: Callable[[], None] | None = None
    ) -> bytes:
        """The response to one request: reads it, computes on ciphertexts, writes the result.

        ``keys``: what ``read_keys`` gave; by default what ``load_keys`` kept under the name in the request.
        ``checkpoint``: called before every stage of the program; what it raises ends the run.
        Raises ``MalformedMessageError`` for damaged bytes, ``PeerIncompatibleError`` for another plan, and
        ``MissingKeyError`` for a key that was not loaded. No error depends on what is encrypted.
        """
        plan = self._compiled.public
        fields = open_envelope(request, "request")
        if set(fields) != {"plan", "key", "id", "ciphertexts"}:
            raise MalformedMessageError("the request lacks a field or has one too many")
        if fields["plan"] != self._plan_id:
            raise PeerIncompatibleError("the request was made for another plan")
        key_id, request_id, parts = fields["key"], fields["id"], fields["ciphertexts"]
        if not isinstance(request_id, bytes) or len(request_id) != 16:
            raise MalformedMessageError("the identity of the request is not valid")
        found = self._found(key_id) if keys is None else keys
        if found is None or found.key_id != key_id:
            raise MissingKeyError(
                "the request was encrypted under a key that was not loaded",
                hint="send the message of `Owner.evaluation_keys` first",
            )
        latency = plan.layout == "latency"
        limits = (1, plan.batch) if latency else (plan.input.size, plan.input.size)
        if not isinstance(parts, list) or not limits[0] <= len(parts) <= limits[1]:
            raise MalformedMessageError(
                f"a request of this plan holds {limits[0]} to {limits[1]} ciphertexts"
            )
        inputs = self._read(parts)
        # Nothing but a run holds its ciphertexts, and nothing at all their messages: each ends when it is not needed.
        parts.clear()
        groups = [[ct] for ct in inputs] if latency else [inputs]
        del inputs
        observe = None if checkpoint is None else lambda position, stage: checkpoint()
        results = [
            result for group in groups for result in self._executor.run(group, found.engine, observe=observe)
        ]
        return seal(
            "response",
            {
                "plan": self._plan_id,
                "key": key_id,
                "id": request_id,
                "ciphertexts": [ct.to_bytes() for ct in results],
            },
        )

    def _found(self, key_id: object) -> OwnerKeys | None:
        with self._lock:
            keys = self._keys.get(key_id) if isinstance(key_id, bytes) else None
            if keys is not None:
                self._keys.move_to_end(keys.key_id)
        return keys

    def _read(self, parts: list[object]) -> list[Ciphertext]:
        messages = [part for part in parts if type(part) is bytes]
        if len(messages) < len(parts):
            raise MalformedMessageError("a ciphertext of the request is not a byte string")
        plan = self._compiled.public
        ciphertexts = Ciphertext.from_bytes_many(self._params, messages, threads=self._threads)
        for ciphertext in ciphertexts:
            if ciphertext.level != plan.level or ciphertext.degree != 1:
                raise PeerMisbehavedError("a ciphertext of the request is not at the level of the plan")
            if abs(ciphertext.scale - plan.scale) > plan.scale * 2.0**-30:
                raise PeerMisbehavedError("a ciphertext of the request does not have the scale of the plan")
        return ciphertexts
