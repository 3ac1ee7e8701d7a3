"""Primitives of three parties against integers and rehearsals, and what they cost against what they declare."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit._native import shares
from tacit.backends.mpc.engine import Convolution
from tacit.backends.mpc.rehearsal import Price, Rehearsal, convolve_words, rehearse
from tacit.backends.mpc.replicated import Planes, Replicated, Shares
from tacit.backends.mpc.replicated_prices import ReplicatedPrices
from tacit.backends.mpc.replicated_roles import THIRDS_FROM, carry_groups, thirds
from tacit.backends.mpc.steps import Steps, Tally, Words
from tacit.errors import ShapeError
from tests.mpc.trio import opened, shared, together_run, trio

SIZES = [0, 1, 63, 64, 65, 1000, THIRDS_FROM - 1, THIRDS_FROM, THIRDS_FROM + 77]
WIDTHS = [1, 2, 3, 5, 6, 8, 9, 17, 21, 25, 33, 48, 63, 64]
PRICES = ReplicatedPrices()


def words(*values: int) -> Words:
    return np.array([value % (1 << 64) for value in values], dtype=np.uint64)


def signed_words(n: int, width: int, seed: int = 3) -> Words:
    """Numbers of ``width`` bits, the extremes among them."""
    random = np.random.default_rng(seed)
    out = random.integers(0, 1 << 64, n, dtype=np.uint64).view(np.int64) >> (64 - width)
    edges = [-(1 << (width - 1)), (1 << (width - 1)) - 1, 0, -1][:n]
    out[: len(edges)] = edges
    return out.view(np.uint64)


def run_one(
    primitive: Callable[[Replicated, Shares], Steps[Shares]], x: Words, price: Price | None = None
) -> Words:
    """Opens what a primitive makes of x, and compares its traffic with its price."""
    engines, parts, tally = trio(), shared(x), Tally()
    found = together_run(engines, lambda party: primitive(party, parts[party.index]), tally=tally)
    if price is not None:
        check_price(tally, price)
    return opened(found)


def check_price(tally: Tally, price: Price) -> None:
    declared = Tally()
    for each in price:
        declared.add(each)
    assert (tally.rounds, tally.bits) == (declared.rounds, declared.bits)


def opened_bits(found: list[Planes]) -> np.ndarray:
    for index in range(3):
        np.testing.assert_array_equal(found[index].following, found[(index + 1) % 3].own)
    n = found[0].size
    plane = found[0].own ^ found[1].own ^ found[2].own
    return shares.unpack(plane, n).astype(bool).reshape(found[0].shape)


def shared_bits(bits: np.ndarray, seed: int = 5) -> list[Planes]:
    random = np.random.default_rng(seed)
    packed = np.zeros(-(-bits.size // 64) * 8, dtype=np.uint8)
    raw = np.packbits(bits.reshape(-1), bitorder="little")
    packed[: raw.size] = raw
    plane = packed.view(np.uint64)
    parts = [random.integers(0, 1 << 64, plane.shape, dtype=np.uint64) for _ in range(2)]
    parts.append(plane ^ parts[0] ^ parts[1])
    return [Planes(parts[i], parts[(i + 1) % 3], bits.shape) for i in range(3)]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("owner", range(3))
def test_share(owner: int, n: int) -> None:
    x = signed_words(n, 64)
    tally = Tally()
    found = together_run(
        trio(), lambda party: party.share(owner, x if party.index == owner else None, x.shape), tally=tally
    )
    np.testing.assert_array_equal(opened(found), x)
    check_price(tally, PRICES.share(owner, n))


@pytest.mark.parametrize("to", [(0,), (1,), (2,), (0, 2), (0, 1, 2), ()])
def test_reveal(to: tuple[int, ...]) -> None:
    x = signed_words(65, 64)
    parts, tally = shared(x), Tally()
    found = together_run(
        trio(openings=["y"]), lambda party: party.reveal(parts[party.index], to, "y"), tally=tally
    )
    for index in range(3):
        if index in to:
            np.testing.assert_array_equal(found[index], x)
        else:
            assert found[index] is None
    check_price(tally, PRICES.reveal(to, 65))


@pytest.mark.parametrize("n", SIZES)
def test_multiply(n: int) -> None:
    x, y = signed_words(n, 64, 1), signed_words(n, 64, 2)
    other = shared(y, 7)
    found = run_one(lambda party, a: party.multiply(a, other[party.index]), x, PRICES.multiply(n, 0))
    np.testing.assert_array_equal(found, x * y)


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 16, 17, 32, 33, 62])
@pytest.mark.parametrize("n", [0, 1, 65, THIRDS_FROM + 77])
def test_multiply_and_truncate(n: int, cut: int) -> None:
    x, y = signed_words(n, 32, 1), signed_words(n, 31, 2)
    other = shared(y, 7)
    found = run_one(
        lambda party, a: party.multiply(a, other[party.index], cut=cut), x, PRICES.multiply(n, cut)
    )
    check_quotient(found, x * y, cut)


def check_quotient(found: Words, exact: Words, cut: int) -> None:
    """Rounded down, or up where there is a rest."""
    floor = exact.view(np.int64) >> cut
    up = found.view(np.int64) - floor
    rest = exact & np.uint64((1 << cut) - 1)
    assert np.all((up == 0) | ((up == 1) & (rest > 0)))


@pytest.mark.parametrize("cut", [1, 16, 32, 62])
def test_quotients_at_the_ends_of_the_range(cut: int) -> None:
    end = 1 << 62
    near = [value for k in range(3) for value in (end - k, -end + k, k, -k, (1 << cut) + k, -(1 << cut) - k)]
    x = np.tile(words(*near), 2000)
    check_quotient(run_one(lambda party, a: party.truncate(a, cut), x), x, cut)


def test_millions_of_quotients() -> None:
    random = np.random.default_rng(11)
    x = random.integers(-(1 << 62), 1 << 62, 3_000_000, dtype=np.int64, endpoint=True)
    x[::3] >>= 31
    x[::7] >>= 60
    found = run_one(lambda party, a: party.truncate(a, 16), x.view(np.uint64))
    check_quotient(found, x.view(np.uint64), 16)
    up = found.view(np.int64) - (x >> 16)
    # Up with the probability of the fraction: the sum of 3 million independent roundings, within 6 deviations.
    fraction = (x & 0xFFFF) / 65536
    assert abs(up.sum() - fraction.sum()) < 6 * np.sqrt(np.sum(fraction * (1 - fraction)))


def test_shapes_broadcast() -> None:
    x, y = signed_words(12, 20).reshape(3, 1, 4), signed_words(5, 20).reshape(5, 1)
    other = shared(y, 7)
    found = run_one(lambda party, a: party.multiply(a, other[party.index], cut=3), x)
    assert found.shape == (3, 5, 4)
    check_quotient(found, x * y, 3)


@pytest.mark.parametrize(
    ("left", "right"), [((3, 5), (5, 4)), ((2, 3, 5), (5, 1)), ((1, 1), (1, 1)), ((2, 1, 3, 5), (4, 5, 2))]
)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    x = signed_words(int(np.prod(left)), 24).reshape(left)
    y = signed_words(int(np.prod(right)), 24, 9).reshape(right)
    other = shared(y, 7)
    exact = np.matmul(x, y)
    found = run_one(
        lambda party, a: party.matmul(a, other[party.index], cut=16), x, PRICES.matmul(exact.size, 16)
    )
    check_quotient(found, exact, 16)
    found = run_one(lambda party, a: party.matmul(a, other[party.index]), x, PRICES.matmul(exact.size, 0))
    np.testing.assert_array_equal(found, exact)


def test_operands_that_are_not_contiguous() -> None:
    x, y = signed_words(12, 64).reshape(3, 4), signed_words(12, 64, 9).reshape(4, 3)
    other = shared(y, 7)
    found = run_one(lambda party, a: party.multiply(a.transpose(1, 0), other[party.index]), x)
    np.testing.assert_array_equal(found, x.T * y)
    found = run_one(lambda party, a: party.matmul(a.transpose(1, 0), other[party.index].transpose(1, 0)), x)
    np.testing.assert_array_equal(found, x.T @ y.T)
    below = together_run(trio(), lambda party: party.negative(shared(x)[party.index].transpose(1, 0), 64))
    np.testing.assert_array_equal(opened_bits(below), x.T.view(np.int64) < 0)


@pytest.mark.parametrize(
    "placement",
    [Convolution(), Convolution((2, 1), (1, 0, 2, 1), (1, 2)), Convolution(group=2, pads=(1, 1, 1, 1))],
)
def test_convolve(placement: Convolution) -> None:
    x = signed_words(2 * 4 * 6 * 7, 24).reshape(2, 4, 6, 7)
    kernel = signed_words(6 * (4 // placement.group) * 2 * 3, 24, 9).reshape(6, 4 // placement.group, 2, 3)
    other = shared(kernel, 7)
    exact = convolve_words(x, kernel, placement)
    found = run_one(
        lambda party, a: party.convolve(a, other[party.index], placement, cut=16),
        x,
        PRICES.convolve(exact.size, 16),
    )
    check_quotient(found, exact, 16)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", [1, 65, THIRDS_FROM + 77])
def test_negative_and_rectify(n: int, width: int) -> None:
    x = signed_words(n, width)
    parts, tally = shared(x), Tally()
    below = together_run(trio(), lambda party: party.negative(parts[party.index], width), tally=tally)
    np.testing.assert_array_equal(opened_bits(below), x.view(np.int64) < 0)
    check_price(tally, PRICES.negative(n, width))
    found = run_one(lambda party, a: party.rectify(a, width), x, PRICES.rectify(n, width))
    np.testing.assert_array_equal(found.view(np.int64), np.maximum(x.view(np.int64), 0))


@pytest.mark.parametrize("n", SIZES)
def test_bits(n: int) -> None:
    random = np.random.default_rng(4)
    a, b = random.integers(0, 2, (2, n), dtype=np.uint8).astype(bool)
    left, right, tally = shared_bits(a), shared_bits(b, 6), Tally()
    found = together_run(trio(), lambda party: party.both(left[party.index], right[party.index]), tally=tally)
    np.testing.assert_array_equal(opened_bits(found), a & b)
    check_price(tally, PRICES.both(n))
    engines = trio()
    mixed = [party.flip(party.xor(left[party.index], right[party.index])) for party in engines]
    np.testing.assert_array_equal(opened_bits(mixed), ~(a ^ b))
    if n == 64:
        folded = [party.reshape_bits(left[party.index], (8, 8)) for party in engines]
        np.testing.assert_array_equal(opened_bits(folded), a.reshape(8, 8))
    x = signed_words(n, 64)
    found = run_one(lambda party, y: party.select(left[party.index], y), x, PRICES.select(n))
    np.testing.assert_array_equal(found, x * a)
    tally = Tally()
    ring = together_run(trio(), lambda party: party.to_ring(left[party.index]), tally=tally)
    np.testing.assert_array_equal(opened(ring), a)
    check_price(tally, PRICES.to_ring(n))


def test_public_words() -> None:
    engines = trio()
    x, more = signed_words(6, 64).reshape(2, 3), signed_words(3, 64, 8)
    np.testing.assert_array_equal(opened([party.public(x) for party in engines]), x)
    parts = shared(x)
    added = [party.add_public(parts[party.index], more) for party in engines]
    np.testing.assert_array_equal(opened(added), x + more)
    doubled = [(part + part - part.times(3)).reshape(6)[1:4] for part in parts]
    np.testing.assert_array_equal(opened(doubled), (np.negative(x)).reshape(6)[1:4])


@given(st.lists(st.integers(-(1 << 30), (1 << 30) - 1), min_size=1, max_size=70), st.integers(1, 20))
def test_a_network_as_in_rehearsal(values: list[int], cut: int) -> None:
    """A product, a comparison and a product of that: the same calls on plain words."""
    x = words(*values)
    parts = shared(x)

    def program(party: object, secret: object) -> Steps[object]:
        squares = yield from party.multiply(secret, secret, cut=cut)  # type: ignore[attr-defined]
        small = yield from party.rectify(squares - secret.times(3), 64)  # type: ignore[attr-defined]
        below = yield from party.negative(secret, 31)  # type: ignore[attr-defined]
        chosen = yield from party.select(party.flip(below), small)  # type: ignore[attr-defined]
        return chosen

    tally, expected = Tally(), Tally()
    found = together_run(trio(), lambda party: program(party, parts[party.index]), tally=tally)
    rehearsal = Rehearsal(prices=PRICES)
    plain = rehearse(program(rehearsal, rehearsal.public(x)), expected)
    difference = opened(found).view(np.int64) - plain.words.view(np.int64)  # type: ignore[attr-defined]
    assert np.all(np.abs(difference) <= 1)
    assert (tally.rounds, tally.bits) == (expected.rounds, expected.bits)


def test_groups_of_carries() -> None:
    for bits in range(64):
        sizes = carry_groups(bits)
        assert sum(sizes) == bits
        assert all(1 <= size <= 4 for size in sizes)
    assert len(carry_groups(24)) == 8


@pytest.mark.parametrize("n", [0, 1, THIRDS_FROM, THIRDS_FROM + 1, 10**6])
def test_thirds_cover_everything(n: int) -> None:
    parts = thirds(n)
    assert [of.start for of, _ in parts] == [0, *(of.stop for of, _ in parts[:-1])]
    assert parts[-1][0].stop == n
    assert all(of.start % 64 == 0 for of, _ in parts)


def test_shapes_that_do_not_fit_are_refused() -> None:
    (party, *_) = trio()
    bits, secret = shared_bits(np.zeros(3, dtype=bool))[0], shared(words(1, 2))[0]
    for steps in (party.select(bits, secret), party.both(bits, shared_bits(np.zeros(4, dtype=bool))[0])):
        with pytest.raises(ShapeError):
            next(steps)
    with pytest.raises(ShapeError):
        party.reshape_bits(bits, (2, 2))


def test_every_second_word_is_compared_and_rectified() -> None:
    """A view that is one-dimensional but not contiguous, as a slice with a step gives."""
    x = signed_words(40, 20)
    engines, parts = trio(), shared(x)
    found = together_run(engines, lambda party: party.rectify(parts[party.index][::2], 20))
    assert (opened(found) == np.maximum(x[::2].view(np.int64), 0).view(np.uint64)).all()
    engines = trio()
    bits = together_run(engines, lambda party: party.negative(parts[party.index][::2], 20))
    engines_ring = together_run(engines, lambda party: party.to_ring(bits[party.index]))
    assert (opened(engines_ring) == (x[::2].view(np.int64) < 0)).all()
