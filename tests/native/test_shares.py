"""The kernels of shares against NumPy's integers, which wrap around as the ring does."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit import errors
from tacit._native import cpu_paths, shares

SEED = bytes(range(32))
OTHER = bytes(32)
Words = np.ndarray[Any, np.dtype[np.uint64]]


@pytest.fixture(params=cpu_paths(), autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TACIT_CPU", request.param)
    return str(request.param)


def words(*shape: int, seed: int = 1) -> Words:
    return np.random.default_rng([seed, *shape]).integers(0, 1 << 64, shape, dtype=np.uint64)


def bit(packed: Words, n: int) -> Words:
    """Bits of packed words, (n,) of 0 and 1."""
    return np.unpackbits(packed.view(np.uint8), bitorder="little")[:n].astype(np.uint64)


def wide(x: Words) -> Any:
    """The same numbers as integers of Python."""
    return x.astype(object)


def narrow(x: Any) -> Words:
    return np.asarray(np.vectorize(lambda n: n % (1 << 64), otypes=[np.uint64])(x))


def zero(number: int = 0) -> shares.ZeroSharing:
    return shares.ZeroSharing(SEED, OTHER, number)


def share_of_zero(n: int, number: int = 0) -> Words:
    own, following = shares.Stream(SEED, number).words(n), shares.Stream(OTHER, number).words(n)
    return own - following


def test_a_stream_goes_on() -> None:
    whole = shares.Stream(SEED, 7).words(3000)
    stream = shares.Stream(SEED, 7)
    out = np.empty((10, 100), dtype=np.uint64)
    stream.fill(out)
    assert np.array_equal(out.reshape(-1), whole[:1000])
    start = words(1000)
    added = start.copy()
    stream.add_to(added)
    assert np.array_equal(added, start + whole[1000:2000])
    stream.subtract_from(added[:500])
    assert np.array_equal(added[:500], start[:500] + whole[1000:1500] - whole[2000:2500])
    flipped = start[:500].copy()
    stream.xor_to(flipped)
    assert np.array_equal(flipped, start[:500] ^ whole[2500:])
    assert not np.array_equal(whole, shares.Stream(SEED, 8).words(3000))


def test_shares_of_zero_add_up_to_zero() -> None:
    seeds = [bytes([i]) * 32 for i in range(3)]
    zeros = [shares.ZeroSharing(seeds[i], seeds[(i + 1) % 3], 5) for i in range(3)]
    total, parity = np.zeros(1001, dtype=np.uint64), np.zeros(1001, dtype=np.uint64)
    for each in zeros:
        each.add_to(total)
        each.xor_to(parity)
    assert not total.any() and not parity.any()
    parts = [each.random(10) for each in zeros]
    for i in range(3):
        assert np.array_equal(parts[i][1], parts[(i + 1) % 3][0])


@pytest.mark.parametrize("n", [0, 1, 7, 1024, 5001])
def test_sums(n: int) -> None:
    a, b, c = words(n, seed=1), words(n, seed=2), words(n, seed=3)
    r = shares.Stream(SEED, 1).words(n)
    got = shares.add_up([a, shares.Stream(SEED, 1), zero()], [b, c], constant=-5)
    assert np.array_equal(got, a + r + share_of_zero(n) - b - c - np.uint64(5))
    got = shares.xor_up([a, shares.Stream(SEED, 1), b], flip=True)
    assert np.array_equal(got, ~(a ^ r ^ b))
    assert np.array_equal(shares.add_up([shares.Stream(SEED, 1)], n=n), r)
    out = np.empty(n, dtype=np.uint64)
    assert shares.add_up([a], [b], out=out) is out
    assert np.array_equal(out, a - b)


def test_products_of_words() -> None:
    x, y, a = words(40, 51, seed=1), words(40, 51, seed=2), words(40, 51, seed=3)
    r = shares.Stream(SEED, 1).words(x.size).reshape(x.shape)
    got = shares.product(x, y, add=[a, shares.Stream(SEED, 1)], subtract=[x], constant=1 << 62)
    assert np.array_equal(got, x * y + a + r - x + np.uint64(1 << 62))
    z = words(40, 51, seed=4)
    got = zero().product((x, y), (a, z), add=[shares.Stream(SEED, 1)], constant=3)
    masks = share_of_zero(x.size).reshape(x.shape)
    assert np.array_equal(got, x * a + x * z + y * a + masks + r + np.uint64(3))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 7)),
        ((1, 300), (300, 50)),
        ((130, 70), (70, 33)),
        ((5, 1, 4, 6), (3, 6, 7)),
        ((2, 3, 9, 10), (10, 8)),
        ((0, 4), (4, 3)),
        ((3, 0), (0, 2)),
        ((0, 2, 3), (3, 4)),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_products_of_matrices(left: tuple[int, ...], right: tuple[int, ...], threads: int) -> None:
    x, y = words(*left, seed=1), words(*right, seed=2)
    assert np.array_equal(shares.matmul(x, y, threads=threads), x @ y)
    x2, y2 = words(*left, seed=3), words(*right, seed=4)
    got = zero().matmul((x, x2), (y, y2), threads=threads)
    assert np.array_equal(got, x @ (y + y2) + x2 @ y + share_of_zero(got.size).reshape(got.shape))


def convolved(
    x: Words,
    kernel: Words,
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    group: int,
) -> Words:
    """The definition, one word of the kernel after the other."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    filters, depth, height, width = kernel.shape
    rows = (padded.shape[2] - (height - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (padded.shape[3] - (width - 1) * dilations[1] - 1) // strides[1] + 1
    out = np.zeros((x.shape[0], filters, rows, columns), dtype=np.uint64)
    for f in range(filters):
        for c in range(depth):
            channel = padded[:, f // (filters // group) * depth + c]
            for i in range(height):
                for j in range(width):
                    down = slice(i * dilations[0], i * dilations[0] + (rows - 1) * strides[0] + 1, strides[0])
                    across = slice(
                        j * dilations[1], j * dilations[1] + (columns - 1) * strides[1] + 1, strides[1]
                    )
                    out[:, f] += channel[:, down, across] * kernel[f, c, i, j]
    return out


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "pads", "dilations", "group"),
    [
        ((3, 1, 28, 28), (20, 1, 5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        ((2, 6, 9, 7), (8, 3, 3, 2), (2, 1), (1, 0, 2, 1), (1, 2), 2),
        ((2, 5, 8, 8), (10, 1, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 5),
        ((1, 7, 5, 5), (9, 7, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        ((0, 2, 5, 5), (4, 2, 3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_convolutions(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    group: int,
    threads: int,
) -> None:
    x, k = (words(*shape, seed=1), words(*shape, seed=2)), (words(*kernel, seed=3), words(*kernel, seed=4))
    placed = (strides, pads, dilations, group)
    got = shares.convolve(
        x[0], k[0], strides=strides, pads=pads, dilations=dilations, group=group, threads=threads
    )
    assert np.array_equal(got, convolved(x[0], k[0], *placed))
    part = zero().convolve(
        x, k, strides=strides, pads=pads, dilations=dilations, group=group, threads=threads
    )
    masks = share_of_zero(part.size).reshape(part.shape)
    expected = convolved(x[0], k[0] + k[1], *placed) + convolved(x[1], k[0], *placed) + masks
    assert np.array_equal(part, expected)


@pytest.mark.parametrize("n", [0, 1, 64, 1100])
def test_bits(n: int) -> None:
    x, y = words(n, seed=1), words(n, seed=2)
    assert np.array_equal(bit(shares.pack(x), n), x & np.uint64(1))
    packed = shares.pack(x)
    assert packed.shape == (shares.plane_words(n),)
    assert np.array_equal(shares.unpack(packed, n, add=[y], subtract=[x]), (x & np.uint64(1)) + y - x)
    assert np.array_equal(shares.chosen(packed, y, add=[x]), np.where(x & np.uint64(1), y, 0) + x)
    assert np.array_equal(shares.turned(packed, y, subtract=[x]), np.where(x & np.uint64(1), -y, y) - x)
    for width in (1, 13, 64):
        planes = shares.to_planes(x, width, plus=y)
        for j in range(width):
            assert np.array_equal(bit(planes[j], n), (x + y) >> np.uint64(j) & np.uint64(1))
        kept = (x + y) & np.uint64((1 << width) - 1)
        assert np.array_equal(shares.from_planes(planes, n), kept)
    parts = [words(n, seed=i) for i in range(4)]
    a, b = (parts[0], parts[1]), (parts[2], parts[3])
    own, following = shares.Stream(SEED, 0).words(n), shares.Stream(OTHER, 0).words(n)
    expected = a[0] & b[0] ^ a[0] & b[1] ^ a[1] & b[0] ^ own ^ following
    assert np.array_equal(zero().both(a, b), expected)


@pytest.mark.parametrize("width", [1, 2, 3, 17, 32, 33, 64])
def test_carry_trees(width: int) -> None:
    n = 200
    x, y = words(n, seed=1), words(n, seed=2)
    seeds = [bytes([i + 1]) * 32 for i in range(3)]
    zeros = [shares.ZeroSharing(seeds[i], seeds[(i + 1) % 3], 0) for i in range(3)]

    def shared(secret: Words, seed: int) -> list[Words]:
        first, second = words(*secret.shape, seed=seed), words(*secret.shape, seed=seed + 1)
        return [first, second, secret ^ first ^ second]

    a, b = shared(shares.to_planes(x, width), 5), shared(shares.to_planes(y, width), 7)
    trees = [shares.CarryTree(n, width, (a[i], a[(i + 1) % 3]), (b[i], b[(i + 1) % 3])) for i in range(3)]
    sent = []
    while not trees[0].is_done:
        messages = [tree.message(each) for tree, each in zip(trees, zeros, strict=True)]
        for i in range(3):
            trees[i].receive(messages[i], messages[(i + 1) % 3])
        sent.append(messages[0].size)
    assert sent == [bits * shares.plane_words(n) for bits in shares.CarryTree.products(width)]
    results = [tree.finish() for tree in trees]
    opened = results[0][0] ^ results[1][0] ^ results[2][0]
    assert np.array_equal(bit(opened, n), (x + y) >> np.uint64(width - 1) & np.uint64(1))
    with pytest.raises(errors.UsageError, match="after it was finished"):
        trees[0].finish()


@pytest.mark.parametrize("cut", [1, 16, 62])
def test_truncation(cut: int) -> None:
    n = 3001
    x = (words(n).view(np.int64) >> np.int64(1)).view(np.uint64)
    r1, r2 = shares.Stream(SEED, 1).words(n), shares.Stream(SEED, 2).words(n)
    r = r1 + r2
    # One part of the mask is known to the first, one to the second; the third makes what they lack.
    high, top = shares.mask_parts(
        [shares.Stream(SEED, 1), shares.Stream(SEED, 2)],
        cut,
        n=n,
        subtract_high=[shares.Stream(SEED, 3)],
        subtract_top=[shares.Stream(SEED, 4)],
    )
    low = np.uint64((1 << 63) - 1)
    assert np.array_equal(high, ((r & low) >> np.uint64(cut)) - shares.Stream(SEED, 3).words(n))
    assert np.array_equal(top, (r >> np.uint64(63)) - shares.Stream(SEED, 4).words(n))
    first = words(n, seed=9)
    sent = [shares.add_up([first], constant=1 << 62), shares.add_up([x, r1], [first]), r2]
    part = shares.quotient(sent, shares.Stream(SEED, 3), shares.Stream(SEED, 4), cut, first=True, add=[first])
    other = shares.quotient(sent, high, top, cut, first=False, subtract=[first])
    got = (part + other).view(np.int64)
    floor = x.view(np.int64) >> np.int64(cut)
    rest = x & np.uint64((1 << cut) - 1)
    up = (rest + (r & np.uint64((1 << cut) - 1))) >> np.uint64(cut)
    assert np.array_equal(got, floor + up.view(np.int64))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: shares.Stream(b"short", 0), errors.InvalidParameterError, "32 bytes"),
        (lambda: shares.Stream(SEED, 1 << 64), errors.InvalidParameterError, "64 bits"),
        (lambda: shares.add_up([words(3), words(4)]), errors.ShapeError, "one shape"),
        (lambda: shares.add_up([shares.Stream(SEED, 0)]), errors.InvalidParameterError, "no length"),
        (lambda: shares.add_up([words(3).astype(np.int64)]), errors.DataError, "int64"),
        (lambda: shares.add_up([[1, 2]]), errors.DataError, "uint64"),
        (lambda: shares.add_up([words(6)[::2]]), errors.ShapeError, "C-contiguous"),
        (lambda: shares.matmul(words(2, 3).T, words(2, 3)), errors.ShapeError, "C-contiguous"),
        (lambda: shares.matmul(words(2, 3), words(2, 3)), errors.ShapeError, "no matrix product"),
        (lambda: shares.matmul(words(3), words(3, 3)), errors.ShapeError, "no matrix product"),
        (lambda: shares.matmul(words(2, 2, 3), words(3, 3, 3)), errors.ShapeError, "no matrix product"),
        (lambda: shares.matmul(words(2, 2), words(2, 2), threads=0), errors.InvalidParameterError, "threads"),
        (lambda: shares.convolve(words(3, 3), words(1, 1, 1, 1)), errors.ShapeError, "four axes"),
        (
            lambda: shares.convolve(words(1, 3, 4, 4), words(2, 2, 1, 1)),
            errors.ShapeError,
            "do not fall into the groups",
        ),
        (
            lambda: shares.convolve(words(1, 3, 4, 4), words(2, 1, 1, 1), group=3),
            errors.ShapeError,
            "do not fall into the groups",
        ),
        (
            lambda: shares.convolve(words(1, 3, 4, 4), words(2, 3, 5, 1)),
            errors.ShapeError,
            "the kernel must fit",
        ),
        (
            lambda: shares.convolve(words(1, 3, 4, 4), words(2, 3, 1, 1), strides=(0, 1)),
            errors.ShapeError,
            "at least 1",
        ),
        (
            lambda: shares.convolve(words(1, 3, 4, 4), words(2, 3, 1, 1), pads=(-1, 0, 0, 0)),
            errors.InvalidParameterError,
            "count",
        ),
        (
            lambda: zero().matmul((words(2, 3), words(3, 2)), (words(3, 2), words(3, 2))),
            errors.ShapeError,
            "one shape",
        ),
        (lambda: shares.product(words(3), words(4)), errors.ShapeError, "one shape"),
        (lambda: shares.product(words(3), words(3), add=[words(4)]), errors.ShapeError, "3 words"),
        (lambda: zero().product((words(3), words(4)), (words(3), words(3))), errors.ShapeError, "one shape"),
        (lambda: zero().both((words(3), words(3)), (words(3), words(2))), errors.ShapeError, "one shape"),
        (lambda: shares.to_planes(words(3), 0), errors.InvalidParameterError, "width"),
        (lambda: shares.to_planes(words(3), 65), errors.InvalidParameterError, "width"),
        (lambda: shares.from_planes(words(65, 1), 3), errors.ShapeError, "at most 64"),
        (lambda: shares.from_planes(words(3, 2), 3), errors.ShapeError, r"\(width, 1\)"),
        (lambda: shares.from_planes(words(3, 1), -1), errors.InvalidParameterError, "count"),
        (lambda: shares.chosen(words(2), words(64)), errors.ShapeError, "1 words"),
        (lambda: shares.mask_parts([], 63, n=1), errors.InvalidParameterError, "cut"),
        (
            lambda: shares.quotient([words(1)], words(1), words(1), 0, first=True),
            errors.InvalidParameterError,
            "cut",
        ),
        (
            lambda: shares.CarryTree(3, 4, (words(4, 1), words(4, 1)), (words(4, 1), words(3, 1))),
            errors.ShapeError,
            "one shape",
        ),
    ],
)
def test_refusals(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_tree_keeps_its_order() -> None:
    part = words(4, 1)
    tree = shares.CarryTree(3, 4, (part, part), (part, part))
    with pytest.raises(errors.UsageError, match="before its last round"):
        tree.finish()
    with pytest.raises(errors.ShapeError, match="3 words"):
        tree.receive(words(3), words(2))
    done = shares.CarryTree(3, 1, (words(1, 1), words(1, 1)), (words(1, 1), words(1, 1)))
    with pytest.raises(errors.UsageError, match="no further round"):
        done.message(zero())


def test_overlaps_are_refused() -> None:
    x = words(100)
    with pytest.raises(errors.InvalidParameterError, match="in use elsewhere"):
        shares.add_up([x[:50]], out=x[:50])
    frozen = x.copy()
    frozen.setflags(write=False)
    with pytest.raises(errors.InvalidParameterError, match="read-only"):
        shares.Stream(SEED, 0).fill(frozen)


def test_a_stream_stands_once_in_a_call() -> None:
    stream = shares.Stream(SEED, 0)
    with pytest.raises(errors.InvalidParameterError, match="twice at the same time"):
        shares.add_up([stream, stream], n=3)


def test_no_copies() -> None:
    tree = shares.CarryTree(1, 1, (words(1, 1), words(1, 1)), (words(1, 1), words(1, 1)))
    for each in (shares.Stream(SEED, 0), zero(), tree):
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(errors.UsageError, match="neither copied nor pickled"):
                copied(each)
        assert repr(each) == f"<{type(each).__name__}>"


def test_threads_of_python_do_not_wait_for_each_other() -> None:
    """The work is done without the interpreter lock: another thread counts meanwhile."""
    x = words(700, 700)
    turns = 0
    done = threading.Event()

    def count() -> None:
        nonlocal turns
        while not done.wait(0.0):
            turns += 1

    other = threading.Thread(target=count)
    other.start()
    before = turns
    while turns < before + 5:
        shares.matmul(x, x)
    done.set()
    other.join()
