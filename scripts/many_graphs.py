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
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benches.measurement import RESULTS, machine
from tests.conformance.promise import REFUSALS, broken, plan_of, run_encrypted
from tests.conformance.random_models import Case, random_case
from tests.conformance.random_trees import random_trees

__all__ = ["make"]

PAGE = Path(RESULTS) / "conformance.json"


@dataclass
class Tally:
    """What happened so far. ``ratios``: measured over promised error of every model that ran."""

    run: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ops: Counter[str] = field(default_factory=Counter)
    rings: Counter[str] = field(default_factory=Counter)
    packings: Counter[str] = field(default_factory=Counter)
    ratios: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    names: Any = field(default_factory=hashlib.sha256)


def make(rng: Random) -> Case:
    """A model of any kind: mostly networks with one or two functions; few trees, which take seconds each."""
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
    parser.add_argument("--save", action="store_true", help="write the summary to benches/results")
    given = parser.parse_args()
    tally = Tally()
    start = time.monotonic()
    numbers = range(given.graphs) if given.only is None else [given.only]
    for number in numbers:
        _one(tally, given.seed, number)
    summary = _summary(tally, given.seed, len(numbers), time.monotonic() - start)
    print(json.dumps(summary, indent=2))
    if given.save:
        PAGE.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if tally.faults else 0


def _one(tally: Tally, seed: int, number: int) -> None:
    case = make(Random(f"{seed}-{number}"))  # noqa: S311 (a seed names a model)
    tally.names.update(case.graph.digest().encode())
    try:
        try:
            candidate = plan_of(case)
        except REFUSALS as refusal:
            tally.refused[type(refusal).__name__] += 1
            return
        outcome = run_encrypted(case, candidate, number)
    except Exception as error:  # whatever else is raised is a defect to be recorded
        _fault(tally, f"{number}: {type(error).__name__} {error}")
        return
    tally.run += 1
    tally.ops.update({node.op for node in case.graph.nodes})
    tally.rings[f"2^{outcome.log_n}"] += 1
    tally.packings[candidate.layout] += 1
    tally.ratios.append(outcome.ratio)
    if broken(outcome):
        _fault(tally, f"{number}: measured {outcome.measured:.3g}, promised {outcome.promised:.3g}")


def _fault(tally: Tally, text: str) -> None:
    tally.faults.append(text)
    print(text, file=sys.stderr, flush=True)


def _summary(tally: Tally, seed: int, graphs: int, seconds: float) -> dict[str, Any]:
    ratios = sorted(tally.ratios)
    return {
        "graphs": graphs,
        "seed": seed,
        "run": tally.run,
        "refused": dict(tally.refused.most_common()),
        "broken": tally.faults,
        "worst_measured_over_promised": ratios[-1] if ratios else None,
        "median_measured_over_promised": ratios[len(ratios) // 2] if ratios else None,
        "packings": dict(tally.packings.most_common()),
        "rings": dict(sorted(tally.rings.items())),
        "ops": dict(tally.ops.most_common()),
        "sha256_of_graphs": tally.names.hexdigest(),
        "seconds": round(seconds, 1),
        **machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
