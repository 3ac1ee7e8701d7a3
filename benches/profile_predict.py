"""Where a prediction spends its time: seconds of each stage of the program, and of each operation within it.

`python benches/profile_predict.py --task lenet` prints for every stage its level, its rotations, the median and the
fastest of its times beside what the cost model predicts, and the operations that it is made of. `--onnx FILE` with
`--calibration FILE.npy` profiles a model of one's own. `--save` keeps the profile for the page of performance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measurement import RESULTS, machine
from prediction_tasks import TASKS, problem

import tacit
from tacit._native import Ciphertext, EvaluationKeys, Parameters, cpu_path
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.costs import key_levels
from tacit.backends.ckks.engine import EncryptedEngine
from tacit.backends.ckks.envelope import open_envelope
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.meter import Meter, MeteredCiphertext
from tacit.backends.ckks.program import Program, Stage
from tacit.roles.machine import known_machine

PASSIVE = {"note_bound", "note_slope", "quiet", "absorb", "encode", "linear_map"}
"""Operations of an engine that are notes for other engines, or belong to the preparation of a model."""


@dataclass
class StageTime:
    """``seconds``: of each run. ``operations``: name with level → (calls of one run, seconds of each run)."""

    name: str
    facts: str
    metered: float = 0.0
    seconds: list[float] = field(default_factory=list)
    operations: dict[str, tuple[int, list[float]]] = field(default_factory=dict)


class Stopwatch:
    """An engine that passes every operation on to another and adds up their times, by operation and level."""

    def __init__(self, engine: EncryptedEngine) -> None:
        self._engine = engine
        self.spent: dict[str, list[float]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if not callable(found) or name in PASSIVE:
            return found

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = found(*arguments, **options)
            spent = time.perf_counter() - start
            self.spent[f"{name}@{_level(arguments)}"].append(spent)
            return result

        return timed


def _level(arguments: Sequence[Any]) -> str:
    """Level of the first ciphertext among the arguments of an operation."""
    for argument in arguments:
        first = argument[0] if isinstance(argument, list | tuple) and argument else argument
        level = getattr(first, "level", None)
        if level is not None:
            return f"{level}" if first is argument else f"{level}x{len(argument)}"
    return "?"


def facts(stage: Any) -> str:
    """What decides the price of a stage: level, rotations, diagonals, degrees; all that is there."""
    told = [f"level {stage.level}"] if hasattr(stage, "level") else []
    for name in ("map", "squares"):
        found = getattr(stage, name, None)
        if found is not None and hasattr(found, "diagonals"):
            told.append(f"{len(found.diagonals)} diagonals by {found.baby}")
            told.append(f"{len(found.rotations)} rotations, {len(found.folds)} folds")
    if hasattr(stage, "series"):
        told.append(f"degree {len(stage.series) - 1}")
    if hasattr(stage, "absolute"):
        told.append(f"degree {len(stage.absolute.series) - 1}")
    if hasattr(stage, "round"):
        told.append(f"{len(stage.round.terms)} polynomials of {stage.round.depth} levels")
    if hasattr(stage, "rotation"):
        told.append(f"rotation {stage.rotation}")
    if hasattr(stage, "features"):
        told.append(f"{len(stage.features)} features")
    if hasattr(stage, "paths"):
        told.append(f"{len(stage.paths)} leaves")
    if hasattr(stage, "folds"):
        told.append(f"{len(stage.folds)} folds")
    if hasattr(stage, "squarings"):
        told.append(f"{sum(stage.squarings)} squarings of {len(stage.squarings)} values")
    if hasattr(stage, "weights"):
        told.append("weights " + "x".join(map(str, stage.weights.shape)))
    if getattr(stage, "name", ""):
        told.append(f"node {stage.name}")
    return ", ".join(told)


def _observer(mark: Callable[[], None]) -> Callable[[int, Stage], None]:
    def observe(position: int, stage: Stage) -> None:
        mark()

    return observe


def metered(program: Program, meter: Meter, inputs: int) -> list[float]:
    """Seconds that the cost model gives each stage, on as many threads as the meter has."""
    marks: list[float] = []
    executor = Executor(program, meter)
    keys = sum(meter.shape(level).key_words for level in key_levels(program))
    meter.resident = float(keys + meter.model_words + inputs * 2 * (program.level + 1) * meter.n)
    meter.running = True
    ciphertexts = [MeteredCiphertext(program.level, program.scale)] * inputs
    executor.run(ciphertexts, observe=_observer(lambda: marks.append(meter.seconds)))
    ends = [*marks[1:], meter.seconds]
    return [end - start for start, end in zip(marks, ends, strict=True)]


def profile(
    compiled: Compiled, owner: tacit.Owner, samples: Any, *, repeats: int, threads: int
) -> list[StageTime]:
    """Times of one request, stage by stage, with reading and writing as stages of their own."""
    plan, program = compiled.public, compiled.program()
    params = Parameters.from_literal(plan.log_n, plan.log_q, plan.log_p, log_scale=plan.log_scale)
    keys = None
    if plan.needs_keys:
        body = open_envelope(owner.evaluation_keys(), "keys")["body"]
        keys = EvaluationKeys.from_bytes(params, body)
    engine = Stopwatch(EncryptedEngine(params, keys, threads=threads))
    executor = Executor(program, engine)
    parts = open_envelope(owner.encrypt(samples), "request")["ciphertexts"]
    if plan.layout == "latency":
        parts = parts[:1]
    chain = compiled.chain
    rows = [StageTime("read", f"{len(parts)} ciphertexts at level {program.level}")]
    rows += [StageTime(type(stage).__name__.removesuffix("Stage"), facts(stage)) for stage in program.stages]
    rows.append(StageTime("write", "at level 0"))
    meter = Meter(chain.log_n, params.q, len(chain.log_p), machine=known_machine()[0], threads=threads)
    for row, seconds in zip(
        rows[1:],
        metered(program, meter, len(parts)),
        strict=False,
    ):
        row.metered = seconds
    for _ in range(repeats + 1):
        _one_run(executor, engine, params, parts, rows)
    for row in rows:
        # The first run touches memory for the first time.
        row.seconds = row.seconds[1:]
        row.operations = {name: (count, times[1:]) for name, (count, times) in row.operations.items()}
    return rows


def _one_run(
    executor: Executor, engine: Stopwatch, params: Parameters, parts: list[bytes], rows: list[StageTime]
) -> None:
    marks: list[float] = []
    spent: list[dict[str, list[float]]] = []

    def mark() -> None:
        marks.append(time.perf_counter())
        spent.append(engine.spent)
        engine.spent = defaultdict(list)

    engine.spent = defaultdict(list)
    marks.append(time.perf_counter())
    inputs = Ciphertext.from_bytes_many(params, parts, threads=engine.threads)
    results = executor.run(inputs, observe=_observer(mark))
    mark()
    for ciphertext in results:
        ciphertext.to_bytes()
    mark()
    for row, (start, end), operations in zip(rows, pairwise(marks), spent, strict=True):
        row.seconds.append(end - start)
        for name, times in operations.items():
            _, sums = row.operations.setdefault(name, (len(times), []))
            sums.append(sum(times))


def show(rows: list[StageTime], *, operations: bool) -> None:
    """A table: milliseconds of each stage, the cost model's, and what it consists of."""
    total = sum(statistics.median(row.seconds) for row in rows)
    print(f"{'stage':16}{'ms':>9}{'best':>9}{'share':>7}{'model':>9}  what")
    for row in rows:
        median = statistics.median(row.seconds)
        model = f"{row.metered * 1e3:9.3f}" if row.metered else " " * 9
        print(
            f"{row.name:16}{median * 1e3:9.3f}{min(row.seconds) * 1e3:9.3f}{median / total:7.1%}{model}  {row.facts}"
        )
        if operations:
            ordered = sorted(row.operations.items(), key=lambda item: -statistics.median(item[1][1]))
            for name, (count, times) in ordered:
                print(f"    {count:4} x {name:28}{statistics.median(times) * 1e3:9.3f}")
    best = sum(min(row.seconds) for row in rows)
    print(f"{'all':16}{total * 1e3:9.3f}{best * 1e3:9.3f}{1:7.1%}{sum(r.metered for r in rows) * 1e3:9.3f}")


def save(task: str, rows: list[StageTime], details: Mapping[str, object], *, threads: int) -> None:
    """One object: medians of all stages, for the page of performance."""
    stages = [
        {
            "name": row.name,
            "facts": row.facts,
            "seconds": statistics.median(row.seconds),
            "n": len(row.seconds),
        }
        for row in rows
    ]
    facts = {
        "task": task,
        "shape": f"2^{details['log_n']} q {details['log_q']} p {details['log_p']}",
        "system": "tacit",
        "threads": threads,
        "stages": stages,
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "profiles.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts | machine() | {"cpu_path": cpu_path()}) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--task", choices=sorted(TASKS))
    what.add_argument("--onnx", type=Path, help="a model of one's own")
    parser.add_argument("--calibration", type=Path, help="samples as .npy, for --onnx")
    parser.add_argument("--batch", type=int, default=1, help="samples of a request, for --onnx")
    parser.add_argument("--max-error", type=float)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-operations", action="store_true", help="stages only")
    parser.add_argument("--json", action="store_true", help="one object per stage")
    parser.add_argument("--save", action="store_true", help="append the profile to benches/results/")
    options = parser.parse_args()
    if options.task:
        task = problem(options.task)
        model, calibration, batch = task.model, task.calibration, task.batch
        max_error = options.max_error or task.max_error
        samples, measured = task.samples, task.measured
    else:
        if options.calibration is None:
            parser.error("--onnx needs --calibration")
        model, batch, max_error = options.onnx, options.batch, options.max_error
        calibration = np.load(options.calibration, allow_pickle=False)
        samples, measured = calibration, False
    start = time.perf_counter()
    provider = tacit.Provider.from_model(
        model,
        calibration=calibration,
        batch=batch,
        max_error=max_error,
        measured=measured,
        check=0,
        threads=options.threads,
    )
    plan, compiled = provider.plan, Compiled.from_bytes(provider.to_bytes())
    if plan is None:
        raise ValueError("a provider made from a model has a plan")
    # The profile encodes the model again; large ones fit into memory once.
    del provider
    owner = tacit.Owner(compiled.public, threads=options.threads)
    samples = np.resize(samples, (compiled.public.batch, *samples.shape[1:]))
    prepared = time.perf_counter() - start
    rows = profile(compiled, owner, samples, repeats=options.repeats, threads=options.threads)
    details = plan.declaration.details
    if options.save:
        save(options.task or options.onnx.name, rows, details, threads=options.threads)
    if options.json:
        for row in rows:
            print(json.dumps(asdict(row) | {"threads": options.threads} | machine()))
        return 0
    print(f"prepared in {prepared:.2f} s; promised {plan.error_bound:.3g}; {options.threads} threads")
    print(
        f"log_n {details['log_n']}, q {details['log_q']}, p {details['log_p']}; `model` is of {known_machine()[0]}"
    )
    show(rows, operations=not options.no_operations)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
