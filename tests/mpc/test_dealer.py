"""Primitives of `dealer2` against plain words, with the edges of their ranges."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tacit.backends.mpc.engine import Convolution
from tacit.backends.mpc.rehearsal import convolve_words
from tacit.backends.mpc.steps import Steps, Tally, Words, together
from tests.mpc.pair import AHEAD, all_run, given, opened_session

WIDTHS = [1, 2, 3, 7, 8, 9, 16, 31, 48, 63, 64]


def words(values: Any) -> Words:
    return np.asarray(values, dtype=np.int64).view(np.uint64)


def numbers(shape: tuple[int, ...], bits: int, seed: int = 1) -> Words:
    """Of ``bits`` bits with sign, the edges among them."""
    random = np.random.default_rng(seed)
    high = (1 << (bits - 1)) - 1
    found = random.integers(-high - 1, high, shape, dtype=np.int64, endpoint=True)
    edges = [value for value in (-high - 1, high, 0, -1, 1) if -high - 1 <= value <= high]
    flat = found.reshape(-1)
    for place, value in enumerate(edges[: flat.size]):
        flat[place] = value
    return found.view(np.uint64)


def result(
    program: Callable[[Any], Steps[Any]], *, seed: object = "pair", tally: Tally | None = None
) -> Words:
    """What both computing parties see when the program's secret is opened to them; the dealer sees nothing."""

    def whole(engine: Any) -> Steps[Words | None]:
        secret = yield from program(engine)
        opened = yield from engine.reveal(secret, (0, 1), "y")
        return opened  # type: ignore[no-any-return]

    first, second, dealer = all_run(opened_session(seed), whole, tally=tally)
    assert dealer is None and first is not None and second is not None
    np.testing.assert_array_equal(first, second)
    return first


FORMS = ["shared", "adopted", "truncated"]


def in_form(engine: Any, form: str, x: Words) -> Steps[Any]:
    """The secret x as it comes: from a party, from a client outside, or out of a truncation."""
    if form == "shared":
        return (yield from given(engine, 0, x))
    if form == "adopted":
        parts = [[x - np.uint64(9)], [np.full_like(x, 9)], []]
        yield from ()
        return engine.adopt(parts[engine.index], x.shape)
    doubled = yield from given(engine, 1, x << np.uint64(1))
    return (yield from engine.truncate(doubled, 1))


@pytest.mark.parametrize("owner", [0, 1])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,)])
def test_share_and_reveal(owner: int, shape: tuple[int, ...]) -> None:
    x = numbers(shape, 64)
    np.testing.assert_array_equal(result(lambda e: given(e, owner, x)), x)


def test_local_operations() -> None:
    x, y = numbers((4, 6), 64), numbers((4, 6), 64, 2)

    for form in FORMS[:2]:

        def program(engine: Any, form: str = form) -> Steps[Any]:
            a = yield from in_form(engine, form, x)
            b = yield from given(engine, 1, y)
            c = (a - b).times(3) + engine.public(x) - (-b)
            c = engine.add_public(c, words([7]))
            return c.transpose(1, 0)[2:].reshape(2, 8).sum(1)

        expected = ((x - y) * np.uint64(3) + x + y + np.uint64(7)).T[2:].reshape(2, 8).sum(1)
        np.testing.assert_array_equal(result(program), expected)


@pytest.mark.parametrize("form", FORMS)
def test_products(form: str) -> None:
    x, y = numbers((3, 4, 5), 20), numbers((5, 6), 20, 2)

    def multiply(engine: Any) -> Steps[Any]:
        a = yield from in_form(engine, form, x)
        b = yield from in_form(engine, form, y[:, 0])
        return (yield from engine.multiply(a, b))

    def square(engine: Any) -> Steps[Any]:
        a = yield from in_form(engine, form, x)
        return (yield from engine.multiply(a, a))

    def matmul(engine: Any) -> Steps[Any]:
        a = yield from in_form(engine, form, x)
        b = yield from in_form(engine, form, y)
        c = yield from engine.matmul(a, b)
        return (yield from engine.multiply(c, c))

    np.testing.assert_array_equal(result(multiply), x * y[:, 0])
    np.testing.assert_array_equal(result(square), x * x)
    np.testing.assert_array_equal(result(matmul), (x @ y) * (x @ y))


def test_convolutions() -> None:
    x, kernel = numbers((2, 4, 7, 6), 30), numbers((6, 2, 3, 2), 30, 2)
    placement = Convolution(strides=(2, 1), pads=(1, 0, 1, 1), dilations=(1, 2), group=2)

    def program(engine: Any) -> Steps[Any]:
        a = yield from given(engine, 0, x)
        b = yield from given(engine, 1, kernel)
        return (yield from engine.convolve(a, b, placement))

    np.testing.assert_array_equal(result(program), convolve_words(x, kernel, placement))


def assert_quotient(found: Words, exact: Words, cut: int) -> None:
    """Rounded down or, where something was cut off, up."""
    floor = exact.view(np.int64) >> cut
    rest = (exact & np.uint64((1 << cut) - 1)) != 0
    up = found.view(np.int64) - floor
    assert np.all((up == 0) | ((up == 1) & rest))


@pytest.mark.parametrize("cut", [1, 2, 16, 31, 61, 62])
@pytest.mark.parametrize("form", FORMS)
def test_truncation(form: str, cut: int) -> None:
    limit = 1 << (62 if form != "truncated" else 61)
    x = np.concatenate([numbers((3000,), 62), words([limit, -limit, limit - 1, 1 - limit])])

    def program(engine: Any) -> Steps[Any]:
        a = yield from in_form(engine, form, x)
        return (yield from engine.truncate(a, cut))

    for seed in range(3):
        assert_quotient(result(program, seed=seed), x, cut)


def test_truncated_products_stay_exact_downstream() -> None:
    """Every form of what a truncation gives is the same number."""
    x, y = numbers((500,), 31), numbers((500,), 31, 2)
    cut = 16

    def program(engine: Any) -> Steps[Any]:
        a = yield from given(engine, 0, x)
        b = yield from given(engine, 1, y)
        c = yield from engine.multiply(a, b, cut=cut)
        below = yield from engine.negative(c, 46)
        again = yield from engine.negative(c + c - c, 64)
        same = yield from engine.to_ring(engine.xor(below, again))
        shifted = engine.add_public(c.times(5), words([11])) + same.times(1 << 40)
        square = yield from engine.multiply(c, engine.public(words([1])))
        return shifted - square.times(4)

    assert_quotient(result(program) - np.uint64(11), x * y, cut)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("form", FORMS)
def test_signs(form: str, width: int) -> None:
    x = numbers((11, 13), min(width, 62) if form == "truncated" else width)

    def negative(engine: Any) -> Steps[Any]:
        a = yield from in_form(engine, form, x)
        below = yield from engine.negative(a, width)
        return (yield from engine.to_ring(below))

    def rectify(engine: Any) -> Steps[Any]:
        a = yield from in_form(engine, form, x)
        return (yield from engine.rectify(a, width))

    np.testing.assert_array_equal(result(negative), (x.view(np.int64) < 0).astype(np.uint64))
    np.testing.assert_array_equal(result(rectify).view(np.int64), np.maximum(x.view(np.int64), 0))


def test_bits() -> None:
    x, y = numbers((7, 11), 40), numbers((7, 11), 40, 2)

    def program(engine: Any) -> Steps[Any]:
        a = yield from given(engine, 0, x)
        b = yield from given(engine, 1, y)
        p = yield from engine.negative(a, 40)
        q = yield from engine.negative(b, 40)
        r = yield from engine.both(p, engine.flip(q))
        r = yield from engine.both(r, r)
        s = engine.reshape_bits(
            engine.xor(engine.reshape_bits(r, (77,)), engine.reshape_bits(q, (77,))), (7, 11)
        )
        t = yield from engine.select(engine.flip(s), a)
        u = yield from engine.select(s, b)
        v = yield from engine.to_ring(engine.xor(p, q))
        return t + u.times(2) + v

    p, q = x.view(np.int64) < 0, y.view(np.int64) < 0
    s = (p & ~q) ^ q
    expected = np.where(s, 2 * y, x) + (p ^ q).astype(np.uint64)
    np.testing.assert_array_equal(result(program), expected)


def test_calls_side_by_side_open_the_same_secret_under_masks_of_their_own() -> None:
    x, y = numbers((65,), 30), numbers((65,), 30, 2)

    def program(engine: Any) -> Steps[Any]:
        a = yield from in_form(engine, "adopted", x)
        b = yield from given(engine, 1, y)
        below = yield from engine.negative(b, 31)
        above = engine.flip(below)
        c = yield from engine.truncate(a.times(1 << 8), 8)
        found: Sequence[Any] = yield from together(
            engine.select(below, a),
            engine.select(above, a),
            engine.multiply(a, b),
            engine.negative(c, 32),
            engine.multiply(c, c),
            engine.truncate(a.times(16), 4),
        )
        sign = yield from engine.to_ring(found[3])
        return found[0] + found[1] + found[2] + sign + found[4] + found[5]

    negative = (x.view(np.int64) < 0).astype(np.uint64)
    np.testing.assert_array_equal(result(program), x + x * y + negative + x * x + x)


def test_rounds_of_a_small_network() -> None:
    """784-128-128-10 with rectifiers: eight rounds from shared inputs to the opened result."""
    tally, count = Tally(ahead=AHEAD), 2
    random = np.random.default_rng(3)
    sizes = [784, 128, 128, 10]
    inputs = random.normal(size=(count, 784))
    layers = [random.normal(size=(a, b)) / np.sqrt(a) for a, b in itertools.pairwise(sizes)]
    fixed = [words(np.rint(each * 65536).astype(np.int64)) for each in (inputs, *layers)]

    def program(engine: Any) -> Steps[Any]:
        shared = yield from together(*(given(engine, int(i > 0), each) for i, each in enumerate(fixed)))
        x = shared[0]
        for depth, weights in enumerate(shared[1:]):
            x = yield from engine.matmul(x, weights, cut=16)
            if depth < 2:
                x = yield from engine.rectify(x, 40)
        return x

    found = result(program, tally=tally).view(np.int64) / 65536
    expected = inputs
    for depth, weights in enumerate(layers):
        expected = expected @ weights
        if depth < 2:
            expected = np.maximum(expected, 0)
    assert np.max(np.abs(found - expected)) < 2e-3
    assert tally.rounds == 1 + 8
