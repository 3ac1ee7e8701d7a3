"""Operations of the scheme, Tacit and SEAL (in TenSEAL) alternating in one run at the same ring and number of primes.

Every parameter set is inside a 128 bit table: Tacit's that of ia.cr/2024/463, SEAL's its own. SEAL has one
special prime, Tacit as many as make three digits; both hold the same number of ciphertext primes. Each result
is decrypted and compared.

Intel HEXL is measured beside the transforms when ``--hexl`` names a program that was built with it (the source and how
to build it: ``hexl_ntt.cpp`` beside this file); both must give the same residues.
"""

from __future__ import annotations

import gc
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from engines import Operation, SealEngine, TacitEngine, seal_version
from measurement import RESULTS, Row, Timing, alternate, arguments, machine, peak_rss_bytes, show

from tacit import _native, ckks

TASKS = (
    "ntt",
    "rotate",
    "rotate-hoisted",
    "mul-relin-rescale",
    "add",
    "mul-plain",
    "rescale",
    "encrypt",
    "decrypt",
)
THREADED = {"rotate", "rotate-hoisted", "mul-relin-rescale", "add", "mul-plain", "rescale"}

# Degrees and sizes of primes of the transforms.
NTT_SHAPES = [(log_n, bits) for log_n in range(12, 17) for bits in (45, 48, 50)]

# Values are below 1 in size; noise of the least precise set is far below this.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Shape:
    """``literal`` for Tacit; SEAL gets its chain and one special prime of ``seal_special`` bits."""

    name: str
    literal: ckks.ParametersLiteral
    seal_special: int | None
    rotations: int
    quick: bool = True


SHAPES = (
    Shape("2^13 L3 dnum3", ckks.N13_DEPTH2, 48, 8),
    Shape("2^14 L8 dnum3", ckks.N14_DEPTH7, 48, 8),
    Shape("2^15 L18 dnum3", ckks.N15_DEPTH17, 46, 4),
    # SEAL's table ends at 2^15.
    Shape("2^16 L26 dnum3", ckks.N16_DEPTH25, None, 3, quick=False),
)


def ntt_rows(hexl: str | None, *, quick: bool) -> Iterator[Row]:
    """The forward transform of one row, the fastest of many, in turns with HEXL; checked against the portable path."""
    repeats = 50 if quick else 1000
    for log_n, bits in NTT_SHAPES:
        shape = f"2^{log_n} {bits} bits"
        ours, theirs, same = [], [], True
        for _ in range(5):
            seconds, prime, root, checksum = _native._bench_ntt(log_n, repeats, _native.cpu_path(), bits=bits)
            ours.append(seconds)
            if hexl:
                seconds, theirs_sum = _hexl(hexl, log_n, prime, root, repeats)
                theirs.append(seconds)
                same &= theirs_sum == checksum
        portable = _native._bench_ntt(log_n, 1, "portable", bits=bits)[3]
        yield Row(
            task="ntt",
            shape=shape,
            system="tacit",
            seconds=min(ours),
            n=5 * repeats,
            correct=portable == checksum and same,
            ratio_to_peer=min(theirs) / min(ours) if theirs else None,
            peer="hexl" if theirs else None,
            note=_native.cpu_path(),
        )
        if theirs:
            yield Row(
                task="ntt", shape=shape, system="hexl", seconds=min(theirs), n=5 * repeats, correct=same
            )
        else:
            yield Row(task="ntt", shape=shape, system="hexl", note="absent: --hexl names no program")


def _hexl(program: str, log_n: int, prime: int, root: int, repeats: int) -> tuple[float, int]:
    """Seconds of one transform, and the checksum of the result."""
    command = [program, *map(str, (log_n, prime, root, repeats))]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    return float(answer[0]), int(answer[1])


def shape_rows(shape: Shape, tasks: list[str], *, budget_s: float) -> Iterator[Row]:
    """Every task of one shape, on one thread beside SEAL and on two threads."""
    rng = np.random.default_rng(1)
    literal = shape.literal
    x, y = rng.uniform(-1, 1, (2, 1 << literal.log_n - 1))
    tacit = TacitEngine(literal, x, y, threads=1, rotations=shape.rotations)
    version = seal_version()
    seal, absence = None, "tenseal is not installed: pip install tenseal"
    if version and shape.seal_special is None:
        absence = "SEAL's 128 bit table ends at N = 2^15"
    elif version and shape.seal_special is not None:
        seal = SealEngine(literal.log_n, [*literal.log_q, shape.seal_special], literal.log_scale, x, y)
    name = f"seal in tenseal {version}" if version else "seal in tenseal"
    one: dict[str, Timing] = {}
    for task in tasks:
        tacit.set_threads(1)
        ours, theirs = _operation(tacit, task), seal.operation(task) if seal else None
        calls = {"tacit": ours.call, **({name: theirs.call} if theirs else {})}
        times = alternate(calls, budget_s=budget_s)
        one[task] = times["tacit"]
        ratio = times[name].median / (times["tacit"].median / ours.per_call) if theirs else None
        yield _row(
            task, shape, "tacit", times["tacit"], ours, ratio_to_peer=ratio, peer=name if theirs else None
        )
        if theirs:
            note = "no hoisting: a single rotation" if task == "rotate-hoisted" else None
            yield _row(task, shape, name, times[name], theirs, note=note)
        else:
            yield Row(task=task, shape=shape.name, system=name, note=f"absent: {absence}")
        if task in THREADED:
            yield _two_threads(task, shape, tacit, budget_s)
    del tacit, seal
    gc.collect()


def _two_threads(task: str, shape: Shape, tacit: TacitEngine, budget_s: float) -> Row:
    """Two threads beside one, alternating."""
    tacit.set_threads(1)
    single = _operation(tacit, task)
    tacit.set_threads(2)
    double = _operation(tacit, task)
    times = alternate({"one": single.call, "two": double.call}, budget_s=budget_s / 2)
    ratio = times["one"].median / times["two"].median
    return _row(task, shape, "tacit", times["two"], double, threads=2, ratio_to_peer=ratio, peer="one thread")


def _operation(tacit: TacitEngine, task: str) -> Operation:
    operation = tacit.operation(task)
    if operation is None:
        raise ValueError(f"there is no task {task!r}")
    return operation


def _row(
    task: str,
    shape: Shape,
    system: str,
    timing: Timing,
    operation: Operation,
    *,
    threads: int = 1,
    ratio_to_peer: float | None = None,
    peer: str | None = None,
    note: str | None = None,
) -> Row:
    error = operation.check()
    return Row(
        task=task,
        shape=shape.name,
        system=system,
        seconds=timing.median / operation.per_call,
        n=timing.n,
        threads=threads,
        correct=error < TOLERANCE,
        max_error=error,
        key_bytes=operation.key_bytes,
        rss_bytes=peak_rss_bytes(),
        ratio_to_peer=ratio_to_peer,
        peer=peer,
        note=note,
    )


def rows(tasks: list[str], *, hexl: str | None, quick: bool) -> Iterator[Row]:
    """Every row of the run."""
    if "ntt" in tasks:
        yield from ntt_rows(hexl, quick=quick)
    for shape in SHAPES:
        if quick and not shape.quick:
            continue
        yield from shape_rows(
            shape, [task for task in tasks if task != "ntt"], budget_s=0.15 if quick else 2.0
        )


def main() -> int:
    """Exit status 1 when a result was wrong."""
    options = arguments(__doc__ or "", TASKS, {"--hexl": "a program built from hexl_ntt.cpp"})
    facts = machine() | {"cpu_path": _native.cpu_path(), "quick": options.quick}
    literals = {shape.name: shape.literal for shape in SHAPES}
    correct, lines = True, []
    for row in rows(options.task or list(TASKS), hexl=options.hexl, quick=options.quick):
        show(row, as_json=options.json)
        correct &= row.correct is not False
        literal = literals.get(row.shape)
        sizes = (
            {"log_q": literal.log_q, "log_p": literal.log_p, "log_scale": literal.log_scale}
            if literal
            else {}
        )
        lines.append(json.dumps(row.to_dict() | {"parameters": sizes} | facts))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / "ckks_ops.jsonl").open("a") as file:
            file.write("\n".join(lines) + "\n")
    return int(not correct)


if __name__ == "__main__":
    raise SystemExit(main())
