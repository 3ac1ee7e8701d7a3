"""What a program costs: seconds by running it on a meter, bytes by the binary forms, memory by what is kept."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.backends.base import Cost
from tacit.backends.ckks.envelope import seal
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import Chain
from tacit.backends.ckks.machine import INTEL_EMERALD_RAPIDS, Machine
from tacit.backends.ckks.meter import Meter
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.work import Shape, Work

__all__ = ["key_levels", "key_message_bytes", "predict", "request_bytes", "response_bytes"]

HEADER_BYTES = 40
CHECKSUM_BYTES = 16
CIPHERTEXT_BYTES = HEADER_BYTES + 12 + CHECKSUM_BYTES
SEED_BYTES = 32
KEYS_BYTES = HEADER_BYTES + 8 + CHECKSUM_BYTES
ENTRY_BYTES = 48
"""Of the binary forms of `crates/ckks/src/wire.rs`, without residues."""
PROCESS_BYTES = 60_000_000
"""Of a provider's process before it holds a model: Python, NumPy, Tacit."""
KEY_COPIES = 2
"""Of the message of keys, while it is read: the message, its body, and what is checked of it."""
REQUEST_COPIES = 1
COPY_S_PER_BYTE = 1e-10
"""Of a request, on its way out of the envelope."""
KEY_COPY_S_PER_BYTE = 5e-9
"""Of keys, on their way through two envelopes into memory that was never touched before."""
READING_GAIN = 0.4
"""Part of a further thread's time that is won when the ciphertexts of a request are read."""
PROVIDER_MESSAGES = 1.7
"""As many as a request takes whatever it holds: its opening, the sealing of its response, and checks between."""
OWNER_MESSAGES = 10
"""Messages whose opening and sealing takes as long as an owner's checks of one request and its answer."""
OWNER_S_PER_VALUE = 4e-8
"""Checking, scaling and packing one number of a request, and checking one slot of an answer."""


def predict(
    program: Program,
    chain: Chain,
    q: Sequence[float],
    *,
    batch: int,
    threads: int,
    machine: Machine = INTEL_EMERALD_RAPIDS,
) -> Cost:
    """The cost of one request of ``batch`` samples."""
    latency = not isinstance(program.input, ColumnLayout)
    inputs = 1 if latency else program.input.size
    outputs = (1 if latency else program.output.size) + (program.flag is not None)
    repeats = batch if latency else 1
    meter = Meter(chain.log_n, q, len(chain.log_p), machine=machine, threads=threads)
    executor = Executor(program, meter)
    keys = [meter.shape(level) for level in key_levels(program)]
    key_words = sum(shape.key_words for shape in keys)
    meter.resident = float(key_words + meter.model_words + inputs * 2 * (program.level + 1) * meter.n)
    meter.running = True
    executor.run([meter.fresh(program.level, program.scale) for _ in range(inputs)])
    one = machine.at(1)
    fresh, result = (
        Shape(chain.log_n, rows, 0, 1, machine.caches, meter.resident) for rows in (program.level + 1, 1)
    )
    # The ciphertexts of a request are dealt out to threads.
    messages = max(1.0, inputs / (1 + READING_GAIN * (threads - 1))) * one.of(fresh.read(seeded=True))
    if inputs > 1 and threads > 1:
        # Read by ciphertexts and computed on by rows: words go from one core to another, through memory that both see.
        messages += machine.at(threads).of(Work(streamed=inputs * 2.0 * (program.level + 1) * meter.n))
    messages += outputs * one.of(result.write(seeded=False))
    owner = inputs * _seconds(machine, fresh.encode(), fresh.encrypt(), fresh.write(seeded=True))
    owner += outputs * _seconds(machine, result.read(seeded=False), result.decrypt(), result.decode())
    values = (inputs + outputs) * meter.n / 2
    setup = sum(one.of(shape.make_key()) for shape in keys) / threads
    setup += sum(_seconds(machine, shape.write_key(), shape.read_key()) for shape in keys)
    up = request_bytes(chain, program.level, repeats * inputs)
    down = response_bytes(chain, repeats * outputs)
    key_bytes = key_message_bytes(program, chain)
    kept = PROCESS_BYTES + meter.cleartext_bytes + 8 * (meter.model_words + key_words)
    return Cost(
        samples=batch,
        seconds=PROVIDER_MESSAGES * machine.message_s
        + up * COPY_S_PER_BYTE
        + repeats * (meter.seconds + messages),
        owner_seconds=OWNER_MESSAGES * machine.message_s + repeats * (owner + values * OWNER_S_PER_VALUE),
        setup_seconds=setup + key_bytes * KEY_COPY_S_PER_BYTE,
        bytes_up=up,
        bytes_down=down,
        key_bytes=key_bytes,
        memory_bytes=kept + max(KEY_COPIES * key_bytes, 8 * meter.ledger.most + REQUEST_COPIES * up),
    )


def _seconds(machine: Machine, *parts: Work) -> float:
    one = machine.at(1)
    return sum(one.of(part) for part in parts)


def key_levels(program: Program) -> list[int]:
    """The level of every evaluation key of a program."""
    single = (program.relinearize(), program.conjugate())
    return [*program.rotations().values(), *(level for level in single if level is not None)]


def request_bytes(chain: Chain, level: int, ciphertexts: int) -> int:
    """Bytes of a request of seeded ciphertexts."""
    size = CIPHERTEXT_BYTES + SEED_BYTES + _row_bytes(chain, chain.log_q[: level + 1])
    return _sealed(
        "request", {"plan": bytes(32), "key": bytes(16), "id": bytes(16)}, "ciphertexts", [size] * ciphertexts
    )


def response_bytes(chain: Chain, ciphertexts: int) -> int:
    """Bytes of a response of ciphertexts at level 0."""
    size = CIPHERTEXT_BYTES + 2 * _row_bytes(chain, chain.log_q[:1])
    return _sealed(
        "response",
        {"plan": bytes(32), "key": bytes(16), "id": bytes(16)},
        "ciphertexts",
        [size] * ciphertexts,
    )


def key_message_bytes(program: Program, chain: Chain) -> int:
    """Bytes of the message of evaluation keys."""
    specials = max(1, len(chain.log_p))
    body = 0
    for level in key_levels(program):
        digits = -(-(level + 1) // specials)
        body += ENTRY_BYTES + digits * _row_bytes(chain, (*chain.log_q[: level + 1], *chain.log_p))
    fields = {"plan": bytes(32), "key": bytes(16)}
    empty = len(seal("keys", {**fields, "body": b""}))
    return empty if not body else empty + _grown(body + KEYS_BYTES)


def _row_bytes(chain: Chain, bits: Sequence[int]) -> int:
    """Bytes of one packed row for each modulus size."""
    return (1 << chain.log_n) // 8 * sum(bits)


def _sealed(kind: str, fields: dict[str, bytes], name: str, sizes: Sequence[int]) -> int:
    """Bytes of an envelope with a list of byte strings of these sizes."""
    empty = len(seal(kind, {**fields, name: [b""] * len(sizes)}))
    return empty + sum(map(_grown, sizes))


def _grown(size: int) -> int:
    """Bytes by which a byte string of this size is longer than an empty one in CBOR (RFC 8949, section 3)."""
    head = next(
        extra
        for extra, limit in ((0, 24), (1, 1 << 8), (2, 1 << 16), (4, 1 << 32), (8, 1 << 64))
        if size < limit
    )
    return size + head
