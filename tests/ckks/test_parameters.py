"""Named literals, the search for the smallest ring, and the scales of levels."""

from __future__ import annotations

import numpy as np
import pytest

from tacit import ckks
from tacit.errors import DepthError, InsecureParameterError, InvalidParameterError

LIMITS = {12: 106, 13: 214, 14: 430, 15: 868, 16: 1747}
LITERALS = {name: value for name, value in vars(ckks).items() if isinstance(value, ckks.ParametersLiteral)}


@pytest.mark.parametrize("name", LITERALS)
def test_named_literals_are_inside_the_table(name: str) -> None:
    literal = LITERALS[name]
    assert name == f"N{literal.log_n}_DEPTH{literal.depth}"
    assert literal.log_qp <= LIMITS[literal.log_n]
    width = len(literal.log_p)
    digits = [sum(literal.log_q[i : i + width]) for i in range(0, len(literal.log_q), width)]
    assert sum(literal.log_p) >= max(digits)


def test_parameters_of_a_literal() -> None:
    params = ckks.Parameters.from_literal(ckks.N13_DEPTH3)
    assert (params.n, params.slots, params.depth, params.log_scale) == (8192, 4096, 3, 38)
    assert 209 < params.log_qp <= 210
    assert len(params.hash) == 32


@pytest.mark.parametrize(
    ("depth", "log_scale", "log_n"), [(1, 25, 12), (2, 40, 13), (3, 40, 13), (7, 36, 14)]
)
def test_smallest_ring(depth: int, log_scale: int, log_n: int) -> None:
    params = ckks.parameters(depth=depth, log_scale=log_scale)
    assert params.n == 1 << log_n and params.depth == depth and params.log_scale == log_scale
    assert params.log_qp <= LIMITS[log_n]
    assert 5.9 < params.room_bits(0, params.scales[0]) <= 6


def test_room_for_values() -> None:
    params = ckks.parameters(depth=1, log_scale=30, log_bound=18)
    assert 17.9 < params.room_bits(0, params.scales[0]) <= 18
    assert ckks.parameters(depth=0, log_scale=45).room_bits(0, 2.0**45) <= 4
    for log_bound in (0, 20):
        with pytest.raises(InvalidParameterError, match=r"\[1, 19\]"):
            ckks.parameters(depth=1, log_scale=30, log_bound=log_bound)


def test_refusals() -> None:
    for error, depth, log_scale in (
        (InvalidParameterError, -1, 40),
        (InvalidParameterError, 2, 46),
        (InvalidParameterError, 2, 19),
        (InvalidParameterError, 300, 40),
        (InvalidParameterError, 1.5, 40),
        (DepthError, 60, 40),
    ):
        with pytest.raises(error):
            ckks.parameters(depth=depth, log_scale=log_scale)
    with pytest.raises(InsecureParameterError) as refusal:
        ckks.Parameters.from_literal(ckks.ParametersLiteral(13, (50, 50, 50, 50), (50,), 40))
    assert refusal.value.hint


def test_a_product_lands_on_the_scale_of_its_level() -> None:
    params = ckks.Parameters.from_literal(ckks.N14_DEPTH7)
    scales, q = np.array(params.scales), np.array(params.native.q, dtype=np.float64)
    assert np.allclose(scales[1:] ** 2 / q[1:], scales[:-1], rtol=1e-14)
    # They stay near the nominal one: the recursion contracts.
    assert np.all(np.abs(np.log2(scales) - params.log_scale) < 1e-3)
