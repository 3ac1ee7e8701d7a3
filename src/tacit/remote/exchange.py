"""One encrypted question and its answer: sealed anew at every attempt, keys uploaded again where they were
lost."""

from __future__ import annotations

from tacit.backends.ckks.public import PublicPlan
from tacit.errors import MalformedMessageError, MissingKeyError
from tacit.net import wire
from tacit.net.envelope import client_header, open_response, overhead, seal_request
from tacit.net.tensors import InferRequest, InferResponse, Output, Tensor
from tacit.remote.custody import Held
from tacit.remote.session import Reply, Session
from tacit.remote.upload import Progress

__all__ = ["exchange", "json_length", "largest_response"]

SPARE_BYTES = 1 << 16
"""Of a response, for what is not ciphertext."""


def exchange(
    session: Session,
    held: Held,
    request: bytes,
    *,
    timeout_s: float,
    progress: Progress = lambda done: None,
) -> bytes:
    """The provider's response to what `Owner.encrypt` made, for `Owner.decrypt`.

    ``timeout_s``: for the whole of it, uploads apart. Where the provider has no keys they are brought there,
    once for a request. Raises what a session raises, and a ``PeerMisbehavedError`` for a frame that is not
    authentic.
    """
    uploads = held.uploads
    if not uploads:
        held.deliver(session, seen=0, timeout_s=timeout_s, progress=progress)
        uploads = 1
    try:
        return _asked(session, held, request, timeout_s)
    except MissingKeyError:
        # Evicted, or the provider began with an empty store.
        held.deliver(session, seen=uploads, timeout_s=timeout_s, progress=progress)
    try:
        return _asked(session, held, request, timeout_s)
    except MissingKeyError as error:
        raise MissingKeyError(
            "the provider loses the evaluation keys as soon as it has them",
            hint="its store is too small for its clients: ask its operator",
        ) from error


def largest_response(plan: PublicPlan) -> int:
    """Most bytes of an answer under a plan: ciphertexts of two polynomials modulo the first prime."""
    flags = int(plan.flag is not None)
    ciphertexts = plan.batch * (1 + flags) if plan.layout == "latency" else plan.output.size + flags
    return ciphertexts * (2 * (plan.log_q[0] << plan.log_n) // 8 + 256) + SPARE_BYTES


def json_length(reply: Reply) -> int | None:
    """Bytes of the JSON part, where binary data follow. Raises ``MalformedMessageError``."""
    text = reply.headers.get(wire.CONTENT_LENGTH_OF_JSON)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise MalformedMessageError(f"the header `{wire.CONTENT_LENGTH_OF_JSON}` is not a number")
    return int(text)


def _asked(session: Session, held: Held, request: bytes, timeout_s: float) -> bytes:
    deadline = session.clock() + timeout_s
    model, plan, key = held.entry.model, bytes.fromhex(held.entry.plan), bytes.fromhex(held.digest)
    limit = largest_response(held.owner.plan) + overhead(model)

    def attempt() -> bytes:
        message, request_id = seal_request(
            request,
            client=held.client,
            model=model,
            plan=plan,
            key=key,
            now_ms=int(session.wall_clock() * 1000),
        )
        tensor = Tensor.of_bytes("request", [message])
        parts, length = InferRequest(inputs=(tensor,), outputs=(Output("response", True),)).encode(
            binary=True
        )
        reply = session.ask(
            "POST",
            wire.PATHS["infer"].format(model=model),
            deadline=deadline,
            headers={
                wire.CLIENT: client_header(held.client),
                wire.CONTENT_LENGTH_OF_JSON: str(length),
                "Content-Type": "application/octet-stream",
            },
            parts=parts,
            limit=limit,
        )
        answer = InferResponse.decode(reply.body, json_length(reply))
        tensors = [tensor for tensor in answer.outputs if tensor.name == "response"]
        if len(tensors) != 1 or tensors[0].datatype != "BYTES" or tensors[0].shape != (1,):
            raise MalformedMessageError("the answer does not hold one response")
        sealed = tensors[0].elements()[0]
        return bytes(
            open_response(sealed, client=held.client, model=model, plan=plan, key=key, id=request_id)
        )

    return session.patiently(attempt, deadline=deadline)
