"""What a party opens, what it hands to a client outside, and that nothing goes on without the system's randomness."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from tacit._native.shares import Stream
from tacit.backends.mpc.replicated import Replicated, combine, deal, open_engine
from tacit.backends.mpc.replicated_seeds import session_key
from tacit.backends.mpc.steps import Words, lockstep
from tacit.errors import InternalError, MalformedMessageError, RevealError
from tests.mpc.trio import entropy, opened, shared, together_run, trio


def random_words(n: int, seed: int = 1) -> Words:
    return np.random.default_rng(seed).integers(0, 1 << 64, n, dtype=np.uint64)


def test_only_what_the_plan_lists_is_revealed() -> None:
    engine = trio(openings=["answer"])[0]
    secret = shared(random_words(3))[0]
    with pytest.raises(RevealError, match="not an opening of the plan"):
        next(engine.reveal(secret, (0,), "weights"))
    with pytest.raises(RevealError, match="not an opening of the plan"):
        next(engine.reveal_outside(secret, "weights"))


def test_nothing_is_revealed_twice() -> None:
    engine = trio(openings=["answer"])[0]
    secret = shared(random_words(3))[0]
    next(engine.reveal(secret, (0,), "answer"))
    for again in (engine.reveal(secret, (0,), "answer"), engine.reveal_outside(secret, "answer")):
        with pytest.raises(RevealError, match="was revealed before"):
            next(again)
    engine.begin_run()
    next(engine.reveal(secret, (0,), "answer"))


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 1000])
def test_a_client_deals_and_combines(n: int) -> None:
    x = random_words(n)
    parts = deal(x)
    if n > 4:
        assert sorted(array.size for array in parts[0]) == [4, 4]
    engines = trio(openings=["answer"])
    secrets = [engine.adopt(parts[engine.index], (n, 1)) for engine in engines]
    np.testing.assert_array_equal(opened(secrets), x.reshape(n, 1))
    kept = [engine.adopt(engine.arrays(secrets[engine.index]), (n,)) for engine in engines]
    np.testing.assert_array_equal(opened(kept), x)
    out = together_run(engines, lambda party: party.reveal_outside(secrets[party.index], "answer"))
    np.testing.assert_array_equal(combine(out), x.reshape(n, 1))
    for handed, secret in zip(out, secrets, strict=True):
        assert n == 0 or not np.array_equal(handed[0], secret.own)


def test_dealing_twice_gives_other_parts() -> None:
    x = random_words(100)
    one, two = deal(x), deal(x)
    for index in range(3):
        for a, b in zip(one[index], two[index], strict=True):
            assert not np.array_equal(a, b)


def test_parts_that_do_not_fit_are_refused() -> None:
    engine = trio()[0]
    with pytest.raises(MalformedMessageError):
        engine.adopt([random_words(3)], (3,))
    with pytest.raises(MalformedMessageError):
        engine.adopt([random_words(3), random_words(2)], (3,))
    with pytest.raises(MalformedMessageError):
        engine.adopt([random_words(4), random_words(2)], (2,))
    with pytest.raises(MalformedMessageError):
        combine([[random_words(3)], [random_words(3)]])
    with pytest.raises(MalformedMessageError):
        combine([[random_words(3)], [random_words(3)], [random_words(2)]])


def test_without_randomness_nothing_starts() -> None:
    def broken(size: int) -> bytes:
        raise OSError(errno.ENOSYS, "no random source")

    with pytest.raises(InternalError, match="gave no randomness"):
        next(Replicated.open(0, session=b"s", openings=(), entropy=broken))
    with pytest.raises(InternalError, match="gave 3 random bytes"):
        next(Replicated.open(0, session=b"s", openings=(), entropy=lambda size: bytes(3)))
    with pytest.raises(InternalError, match="gave no randomness"):
        deal(random_words(3), entropy=broken)


def test_seeds_come_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sessions of the same name differ; what is sent at the opening is what the system gave."""
    first = [
        next(open_engine(0, session=b"s", plan=b"p", reveals=())).sends[2][0].tobytes() for _ in range(2)
    ]
    assert first[0] != first[1]


def test_sessions_and_plans_have_streams_of_their_own() -> None:
    seed = entropy(1)(32)
    keys = [session_key(seed, name) for name in (b"", b"a", b"b")]
    assert len(set(keys)) == 3
    words = {tuple(Stream(key, number).words(4)) for key in keys for number in range(50)}
    assert len(words) == 150


def test_one_stream_moves_forward() -> None:
    stream = Stream(entropy(1)(32), 0)
    whole = np.concatenate([stream.words(4), stream.words(6)])
    np.testing.assert_array_equal(whole, Stream(entropy(1)(32), 0).words(10))


def test_secrets_do_not_print() -> None:
    engines = trio()
    secret = shared(random_words(2))[0]
    bits = together_run(engines, lambda party: party.negative(shared(random_words(2))[party.index], 64))[0]
    for thing in (engines[0], secret, bits, Stream(bytes(32), 0)):
        assert len(repr(thing)) < 40
        for word in secret.own:
            assert str(word) not in repr(thing)


def test_the_opening_is_one_round() -> None:
    engines = lockstep([open_engine(index, session=b"s", plan=b"p", reveals=["y"]) for index in range(3)])
    x = random_words(70)
    found = together_run(engines, lambda party: party.share(1, x if party.index == 1 else None, x.shape))
    np.testing.assert_array_equal(opened(found), x)
