"""Run random models encrypted, thousands of them, and record whether any promise was broken.

`PYTHONPATH=src:. python scripts/many_graphs.py --graphs 2000 --seed 1 --save` writes benches/results/conformance.json.
Continuous integration runs some hundred models of the same kinds: tests/conformance. A model is named by ``--seed`` and
its number; ``--only NUMBER`` runs it alone. Status 1 when a promise was broken or anything but a refusal was raised.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benches.measurement import RESULTS, machine
from tests.conformance.promise import REFUSALS, broken, plan_of, run_encrypted
from tests.conformance.random_models import Case, random_case
from tests.conformance.random_trees import random_trees

__all__ = ["make"]

PAGE = Path(RESULTS) / "conformance.json"


@dataclass(frozen=True)
class Record:
    """What happened to one model. ``refusal``: class of the error that refused it; ``fault``: what should not be."""

    digest: str
    refusal: str = ""
    fault: str = ""
    ratio: float = 0.0
    ring: str = ""
    packing: str = ""
    ops: frozenset[str] = frozenset()


def make(rng: Random) -> Case:
    """A model of any kind: mostly networks with one or two functions; few trees, which take longer."""
    kind = rng.random()
    if kind < 0.03:
        return random_trees(rng)
    functions = 0 if kind < 0.25 else 1 if kind < 0.7 else 2 if kind < 0.95 else 3
    return random_case(rng, max_functions=functions)


def main() -> int:
    """Status 0 when every model that ran kept its promise, and the others were refused by a typed error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one model")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the models")
    parser.add_argument("--save", action="store_true", help="write the summary to benches/results")
    given = parser.parse_args()
    start = time.monotonic()
    numbers = range(given.graphs) if given.only is None else [given.only]
    records = []
    for number, record in zip(numbers, _records(given.seed, numbers, given.jobs), strict=True):
        records.append(record)
        if record.fault:
            print(f"{number}: {record.fault}", file=sys.stderr, flush=True)
        if (len(records) % 100) == 0:
            print(f"{len(records)} models, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    summary = _summary(records, given.seed, time.monotonic() - start)
    print(json.dumps(summary, indent=2))
    if given.save:
        PAGE.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if summary["broken"] else 0


def _records(seed: int, numbers: Iterable[int], jobs: int) -> Iterator[Record]:
    one = partial(_one, seed)
    if jobs == 1:
        yield from map(one, numbers)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(one, numbers)


def _one(seed: int, number: int) -> Record:
    case = make(Random(f"{seed}-{number}"))  # noqa: S311 (a seed names a model)
    digest = case.graph.digest()
    try:
        try:
            candidate = plan_of(case)
        except REFUSALS as refusal:
            return Record(digest, refusal=type(refusal).__name__)
        outcome = run_encrypted(case, candidate, number)
    except Exception as error:  # whatever else is raised is a defect to be recorded
        return Record(digest, fault=f"{type(error).__name__} {error}")
    fault = f"measured {outcome.measured:.3g}, promised {outcome.promised:.3g}" if broken(outcome) else ""
    ops = frozenset(node.op for node in case.graph.nodes)
    return Record(digest, "", fault, outcome.ratio, f"2^{outcome.log_n}", candidate.layout, ops)


def _summary(records: list[Record], seed: int, seconds: float) -> dict[str, Any]:
    ran = [record for record in records if record.ring]
    ratios = sorted(record.ratio for record in ran)
    refusals = Counter(record.refusal for record in records if record.refusal)
    names = hashlib.sha256("".join(record.digest for record in records).encode())
    return {
        "graphs": len(records),
        "seed": seed,
        "run": len(ran),
        "refused": dict(refusals.most_common()),
        "broken": [f"{i}: {record.fault}" for i, record in enumerate(records) if record.fault],
        "worst_measured_over_promised": ratios[-1] if ratios else None,
        "median_measured_over_promised": ratios[len(ratios) // 2] if ratios else None,
        "packings": dict(Counter(record.packing for record in ran).most_common()),
        "rings": dict(sorted(Counter(record.ring for record in ran).items())),
        "ops": dict(Counter(op for record in ran for op in record.ops).most_common()),
        "sha256_of_graphs": names.hexdigest(),
        "seconds": round(seconds, 1),
        **machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
