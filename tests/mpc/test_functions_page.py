"""The table of functions in the documentation is what rehearsals say; `python -m` with this module prints it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tacit.backends.mpc.fixedpoint import encode
from tacit.backends.mpc.functions.maximum import largest
from tacit.backends.mpc.functions.softmax import softmax, softmax_error
from tacit.backends.mpc.functions.table import FUNCTIONS
from tacit.backends.mpc.rehearsal import Rehearsal, rehearse
from tacit.backends.mpc.replicated_prices import ReplicatedPrices
from tacit.backends.mpc.steps import Steps, Tally

F = 16
N = 12_288
SPANS = {
    "Exp": (-32.0, 0.0),
    "Log": (0.01, 32.0),
    "Reciprocal": (1.0, 128.0),
    "Rsqrt": (0.01, 32.0),
    "Sqrt": (0.0, 32.0),
}
PAGE = pathlib.Path(__file__).parents[2] / "docs/design/mpc-functions.md"


def cost(shape: tuple[int, ...], low: float, high: float, steps: Callable[[Any, Any], Steps[Any]]) -> str:
    engine, tally = Rehearsal(ReplicatedPrices()), Tally()
    x = engine.public(encode(np.linspace(low, high, N).reshape(shape), F))
    rehearse(steps(engine, x), tally)
    return f"{tally.rounds} | {sum(tally.bits) / 3 / N:.0f}"


def table() -> str:
    rows = ["| function | range | error, units | rounds | bits |", "|---|---|---|---|---|"]
    for name, function in FUNCTIONS.items():
        low, high = SPANS.get(name, (-32.0, 32.0))
        units = function.error(F, low, high) * 2.0**F
        found = cost(
            (N,), low, high, lambda e, x, g=function, a=low, b=high: g.apply(e, x, f=F, low=a, high=b)
        )
        rows.append(f"| {name} | {low:g} … {high:g} | {units:.1f} | {found} |")
    for n in (16, 128):
        found = cost((N // n, n), -8.0, 8.0, lambda e, x: largest(e, x, 1, f=F, low=-8.0, high=8.0))
        rows.append(f"| largest of {n} | -8 … 8 | 0.0 | {found} |")
    for n in (16, 128):
        units = softmax_error(F, -8.0, 8.0, n) * 2.0**F
        found = cost((N // n, n), -8.0, 8.0, lambda e, x: softmax(e, x, 1, f=F, low=-8.0, high=8.0))
        rows.append(f"| softmax of {n} | -8 … 8 | {units:.1f} | {found} |")
    return "\n".join(rows)


def test_the_page_has_the_table() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(table())
