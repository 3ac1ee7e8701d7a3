"""Short random programs: encrypted and clear agree within the noise that was promised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tacit import ckks

# A slot's error is nearly normal; eight standard deviations are passed once in 10^15.
DEVIATIONS = 8.0

Pair = tuple[ckks.Vector, NDArray[np.float64]]
Step = tuple[str, float]

_number = st.floats(-2, 2, allow_subnormal=False).map(lambda x: round(x, 3))
_whole = st.integers(-4, 4).filter(bool)
_step = st.one_of(
    st.tuples(st.just("add number"), _number),
    st.tuples(st.just("times number"), _number.filter(bool)),
    st.tuples(st.just("times whole"), _whole),
    st.tuples(st.just("rotate"), st.integers(-4, 12)),
    st.tuples(
        st.sampled_from(["add self", "subtract first", "times first", "square", "add array", "lower"]),
        st.just(0.0),
    ),
)


def _apply(pair: Pair, first: Pair, step: Step) -> Pair:
    x, a = pair
    name, number = step
    array = np.linspace(-1, 1, len(a))
    table: dict[str, Callable[[], Pair]] = {
        "add number": lambda: (x + number, a + number),
        "times number": lambda: (x * number, a * number),
        "times whole": lambda: (x * int(number), a * int(number)),
        "rotate": lambda: (x.rotate(int(number)), np.roll(a, -int(number))),
        "add self": lambda: (x + x, a + a),
        "subtract first": lambda: (x - first[0], a - first[1]),
        "times first": lambda: (x * first[0], a * first[1]),
        "square": lambda: (x.square(), a * a),
        "add array": lambda: (array + x, array + a),
        "lower": lambda: (x.at_level(x.level - 1), a),
    }
    return table[name]()


_COSTS_A_LEVEL = {"times number", "times first", "square", "lower"}


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(_number, min_size=8, max_size=8), st.lists(_step, min_size=1, max_size=8))
def test_programs_agree_with_numpy(keys: ckks.Keys, values: list[float], steps: list[Step]) -> None:
    clear = np.array(values)
    first = pair = (keys.encrypt(clear), clear)
    done = []
    for step in steps:
        whole = step[0] == "times number" and step[1] == int(step[1])
        if step[0] in _COSTS_A_LEVEL and not whole and pair[0].level == 0:
            continue
        if np.abs(pair[1]).max() > 100:
            break
        x, expected = _apply(pair, first, step)
        assert np.abs(expected).max() <= x.noise.bound + 1e-9, step
        # What is known here is better than what can be concluded from bounds alone.
        pair = x.bounded(max(1.0, np.abs(expected).max())), expected
        done.append(step)
    x, expected = pair
    bound = DEVIATIONS * 2.0**x.noise_bits
    error = np.abs(keys.decrypt(x) - expected).max()
    assert bound > 0
    assert error <= bound, f"error {error:.3g} above the bound {bound:.3g} after {done}"
