"""The data owner: makes the keys, encrypts samples, decrypts answers and checks them. Keys never leave unasked."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from tacit._native import Ciphertext, Parameters, SecretKey
from tacit.backends.answer import Answer, Report
from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout
from tacit.backends.ckks.public import PublicPlan
from tacit.backends.ckks.scores import Scores, read_columns, read_packed, run_tail, table
from tacit.errors import (
    HiddenRangeError,
    MalformedMessageError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PrecisionError,
    ShapeError,
    UsageError,
)

__all__ = ["MAX_PENDING", "Owner"]

FloatArray = npt.NDArray[np.float64]

MAX_PENDING = 4096
"""Requests without an answer that are remembered; the oldest is forgotten first."""


class Owner:
    """Holds the secret key of one plan.

    The plan is checked before any key is made: its form, its limits, and that its parameters are secure.
    Raises ``MalformedMessageError``, ``PeerIncompatibleError`` or ``InsecureParameterError``.
    """

    def __init__(self, public_plan: bytes | PublicPlan, *, threads: int = 1) -> None:
        self._begin(public_plan, threads)
        self._secret = SecretKey.generate(self._params)
        self._key_id = secrets.token_bytes(16)

    @classmethod
    def restore(cls, public_plan: bytes | PublicPlan, secret: bytes, *, threads: int = 1) -> Owner:
        """The owner whose ``reveal_secret`` gave ``secret``; requests that were open then stay unanswered.

        Raises as the constructor does, ``MalformedMessageError`` for damaged bytes, and ``PeerIncompatibleError`` for
        the secret of another plan.
        """
        owner = cls.__new__(cls)
        owner._begin(public_plan, threads)
        fields = open_envelope(secret, "secret")
        key_id, body = fields.get("key"), fields.get("body")
        if set(fields) != {"plan", "key", "body"} or not isinstance(key_id, bytes) or len(key_id) != 16:
            raise MalformedMessageError("the secret lacks a field or has one too many")
        if fields["plan"] != bytes.fromhex(owner.plan.plan_id):
            raise PeerIncompatibleError("the secret key was made for another plan")
        if not isinstance(body, bytes):
            raise MalformedMessageError("the secret key is not a byte string")
        owner._secret = SecretKey.from_bytes(owner._params, body)
        owner._key_id = key_id
        return owner

    def _begin(self, public_plan: bytes | PublicPlan, threads: int) -> None:
        plan = PublicPlan.from_bytes(public_plan) if not isinstance(public_plan, PublicPlan) else public_plan
        self.plan = plan
        self._params = Parameters.from_literal(plan.log_n, plan.log_q, plan.log_p, log_scale=plan.log_scale)
        self._threads = threads
        self._pending: dict[bytes, tuple[int, float, int]] = {}
        self.key_bytes = 0

    def __repr__(self) -> str:
        return f"<Owner of a key for plan {self.plan.plan_id[:12]}>"

    @property
    def key_id(self) -> str:
        """Names the key pair in messages; random, in hexadecimal."""
        return self._key_id.hex()

    def evaluation_keys(self) -> bytes:
        """The message that lets the provider compute: fewest rotations, each at the level that it is used at.

        The keys decrypt nothing. Made anew at every call.
        """
        body = b""
        if self.plan.needs_keys:
            keys = self._secret.evaluation_keys(
                rotations=dict(self.plan.rotations),
                relinearize=self.plan.relinearize,
                conjugate=self.plan.conjugate,
                threads=self._threads,
            )
            body = keys.to_bytes()
        message = seal("keys", {"plan": bytes.fromhex(self.plan.plan_id), "key": self._key_id, "body": body})
        self.key_bytes = len(message)
        return message

    def reveal_secret(self) -> bytes:
        """The secret key and its name, unprotected, for a key store of the owner: ``restore`` reads them.

        Whoever has these bytes reads every request and every answer of this owner.
        """
        return seal(
            "secret",
            {
                "plan": bytes.fromhex(self.plan.plan_id),
                "key": self._key_id,
                "body": self._secret.reveal_bytes(),
            },
        )

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "an owner holds a secret key: it is neither copied nor pickled",
            hint="send what `evaluation_keys()` and `encrypt(X)` return; `reveal_secret()` is for a key store",
        )

    def batches(self, X: npt.ArrayLike) -> Iterator[FloatArray]:
        """The samples in pieces of which each fits one request, in order; all of them are checked first.

        Raises as ``encrypt`` does, before anything is encrypted, and counts samples over all pieces.
        """
        data = table(self.plan, X)
        self.plan.region.check(data)
        for start in range(0, len(data), self.plan.batch):
            yield data[start : start + self.plan.batch].reshape(-1, *self.plan.input_shape)

    def encrypt(self, X: npt.ArrayLike) -> bytes:
        """A request for the samples ``X`` (samples, …), at most ``plan.batch`` of them.

        Raises ``DataError`` for NaN, infinity and what is no number, ``ShapeError`` for another shape,
        ``DataRangeError`` for a sample outside the region that the plan was made for.
        """
        start = time.perf_counter()
        data = table(self.plan, X)
        plan = self.plan
        if len(data) > plan.batch:
            raise ShapeError(
                f"a request of this plan carries at most {plan.batch} samples. Got {len(data)} instead.",
                hint="send the pieces that `batches` gives, or compile the plan with a larger batch",
            )
        plan.region.check(data)
        units = plan.region.normalise(data)
        if not isinstance(plan.input, ColumnLayout):
            vectors: list[npt.NDArray[Any]] = [plan.input.pack(unit) for unit in units]
        else:
            filler = np.atleast_2d(plan.region.normalise(plan.region.mean))
            padded = np.concatenate([units, np.repeat(filler, plan.batch - len(units), axis=0)])
            vectors = list(plan.input.pack(padded))
        ciphertexts = [
            self._secret.encrypt(self._params.encode(vector, level=plan.level, scale=plan.scale)).to_bytes()
            for vector in vectors
        ]
        request_id = secrets.token_bytes(16)
        message = seal(
            "request",
            {
                "plan": bytes.fromhex(plan.plan_id),
                "key": self._key_id,
                "id": request_id,
                "ciphertexts": ciphertexts,
            },
        )
        while len(self._pending) >= MAX_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._pending[request_id] = (len(data), time.perf_counter() - start, len(message))
        return message

    def decrypt(self, response: bytes, *, strict: bool = True) -> Answer:
        """The answer to one of this owner's requests; every request is answered once.

        ``strict``: whether samples for which the bound cannot be promised, because a comparison of the model was too
        close or hidden values left their ranges, are an error (after which the same response may be decrypted again
        without ``strict``); otherwise they are marked in ``Answer.within_bound``.
        Raises ``MalformedMessageError`` for damaged bytes,
        ``PeerIncompatibleError`` for an answer to another plan, key or request, ``HiddenRangeError`` where the plan's
        flag is up, and ``PrecisionError`` when the result fails its checks; then no number is returned.
        """
        start = time.perf_counter()
        plan = self.plan
        fields = open_envelope(response, "response")
        if set(fields) != {"plan", "key", "id", "ciphertexts"}:
            raise MalformedMessageError("the response lacks a field or has one too many")
        if fields["plan"] != bytes.fromhex(plan.plan_id):
            raise PeerIncompatibleError("the response belongs to another plan")
        if fields["key"] != self._key_id:
            raise PeerIncompatibleError("the response was computed under another key")
        request_id = fields["id"]
        if not isinstance(request_id, bytes) or request_id not in self._pending:
            raise PeerIncompatibleError(
                "the response answers no open request of this owner",
                hint="every request is answered once: encrypt the samples again",
            )
        samples, encrypting, up = self._pending[request_id]
        parts = fields["ciphertexts"]
        is_packed, flags = plan.layout == "latency", int(plan.flag is not None)
        wanted = samples * (1 + flags) if is_packed else plan.output.size + flags
        if not isinstance(parts, list) or len(parts) != wanted or not all(type(p) is bytes for p in parts):
            raise MalformedMessageError(f"the response must hold {wanted} ciphertexts")
        scores = self._scores(parts, samples)
        within_bound = scores.within_bound
        if strict and not scores.inside.all():
            raise HiddenRangeError(
                f"hidden values of {int((~scores.inside).sum())} of {samples} samples leave the ranges of the "
                "calibration data, on which the promised bound relies",
                hint="recalibrate the plan with samples like these, leave them out, or pass `strict=False` to get all "
                "answers, with these marked in `answer.within_bound`",
            )
        if strict and not within_bound.all():
            raise PrecisionError(
                f"{int((~within_bound).sum())} of {samples} samples have a value so close to a threshold of the "
                "model that no error can be promised",
                hint="pass `strict=False` to get all answers, with these marked in `answer.within_bound`",
            )
        del self._pending[request_id]
        outputs = run_tail(plan, scores.values)
        values = outputs[plan.tail.primary]
        label = plan.tail.label
        report = Report(
            protection="ckks",
            plan_id=plan.plan_id,
            samples=samples,
            seconds={"encrypt": encrypting, "decrypt": time.perf_counter() - start},
            bytes_up=up,
            bytes_down=len(response),
            key_bytes=self.key_bytes,
            error_bound=plan.error_bound,
            comparison_margin=plan.margin,
            samples_out_of_bound=int((~within_bound).sum()),
            measured=plan.is_measured,
        )
        labels = None if label is None else outputs[label]
        return Answer.of(values, labels=labels, report=report, within_bound=within_bound)

    def _slots(self, part: bytes, wanted: float) -> npt.NDArray[np.complex128]:
        """(slots,) of a decrypted part of the response, which must have the scale ``wanted``."""
        ciphertext = Ciphertext.from_bytes(self._params, part)
        if ciphertext.level or ciphertext.degree != 1:
            raise PeerMisbehavedError("a ciphertext of the response is not at the level of results")
        if abs(ciphertext.scale - wanted) > wanted * 2.0**-30:
            raise PeerMisbehavedError("a ciphertext of the response does not have the scale of the plan")
        slots: npt.NDArray[np.complex128] = self._params.decode(self._secret.decrypt(ciphertext))
        if not np.isfinite(slots).all():
            raise _failed()
        return slots

    def _scores(self, parts: list[bytes], samples: int) -> Scores:
        """The scores in encrypted parts, after every check that needs no clear model; padding is checked as well.

        Raises ``PrecisionError`` where an honest run cannot have made them.
        """
        plan = self.plan
        is_packed, flags = isinstance(plan.output, ReplicatedLayout), None
        if plan.flag is not None:
            raised = parts[1::2] if is_packed else parts[-1:]
            parts = parts[::2] if is_packed else parts[:-1]
            flags = np.stack([self._slots(part, plan.flag.scale) for part in raised])
        slots = np.stack([self._slots(part, plan.output_scale) for part in parts]) * plan.unit
        if isinstance(plan.output, ReplicatedLayout):
            scores = read_packed(plan, slots, flags)
        else:
            imaginary = None if plan.output.is_complex else slots.imag.T
            alarm = None if flags is None else flags[0]
            scores = read_columns(plan, plan.output.unpack(slots), imaginary, alarm)
        if not scores.plausible.all():
            raise _failed()
        return Scores(
            scores.values[:samples],
            scores.decided[:samples],
            scores.inside[:samples],
            scores.plausible[:samples],
        )


def _failed() -> PrecisionError:
    return PrecisionError(
        "the decrypted result fails its checks: noise, replicas or range are not as the plan promises",
        hint="the provider ran another program, or a message was made for other data; no number is returned",
    )
