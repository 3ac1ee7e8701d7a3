"""Keys in memory: least recently used go first, those in use stay, the limit holds; nobody takes another's."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tacit.service.room import KeyFile, Room


def test_the_least_recently_used_go_first() -> None:
    room = Room(100)
    for worker, name in ((1, b"a"), (2, b"b"), (1, b"c")):
        assert room.hold((worker, name), 30, ()) == []
    room.touch((1, b"a"))
    assert room.hold((2, b"d"), 40, ()) == [(2, b"b")]
    assert room.bytes == 100 and (1, b"a") in room and (2, b"b") not in room


def test_what_is_in_use_stays() -> None:
    room = Room(100)
    room.hold((1, b"a"), 60, ())
    room.hold((2, b"b"), 40, ())
    assert not room.fits(50, {(1, b"a")})
    assert room.fits(40, {(1, b"a")})
    assert room.hold((2, b"c"), 40, {(1, b"a")}) == [(2, b"b")]


def test_keys_that_requests_wait_for_go_last_and_latest_turn_first() -> None:
    room = Room(100)
    for name in (b"a", b"b", b"c", b"d"):
        room.hold((1, name), 25, ())
    assert room.hold((2, b"e"), 25, (), {b"a", b"b", b"d"}) == [(1, b"c")]
    assert room.hold((2, b"f"), 25, (), {b"a", b"b", b"d", b"e"}) == [(2, b"e")]
    assert room.hold((2, b"g"), 25, {(1, b"d")}, {b"a", b"b", b"d"}) == [(2, b"f")]


def test_one_owner_too_many_costs_little() -> None:
    """Owners take turns and there is room for all but one: most find their keys; least recently used would lose all."""
    owners, found, asked = [bytes([i]) for i in range(11)], 0, 0
    room = Room(10)
    for owner in owners * 20:
        asked += 1
        if (1, owner) in room:
            room.touch((1, owner))
            found += 1
        else:
            room.hold((1, owner), 1, (), set(owners) - {owner})
    assert found / asked > 0.8


def test_a_worker_goes_with_all_that_it_held() -> None:
    room = Room(100)
    room.hold((1, b"a"), 10, ())
    room.hold((1, b"b"), 10, ())
    room.hold((2, b"a"), 10, ())
    room.drop_worker(1)
    room.drop((1, b"a"))
    assert room.bytes == 10 and room.holders(b"a") == [2] and room.count(1) == 0


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 50)), max_size=40
    )
)
def test_the_limit_holds(steps: list[tuple[int, bytes, int]]) -> None:
    room = Room(100)
    sizes: dict[tuple[int, bytes], int] = {}
    for worker, name, size in steps:
        if (worker, name) in room:
            room.touch((worker, name))
            continue
        for gone in room.hold((worker, name), size, ()):
            del sizes[gone]
        sizes[worker, name] = size
        assert room.bytes == sum(sizes.values()) <= 100 and len(room) == len(sizes)


def test_names_tell_owners_contents_and_programs_apart() -> None:
    """Also where the parts only differ in where one ends and the next begins."""
    path = Path("keys")
    names = [
        KeyFile(b"o" * 32, b"s" * 32, path).name("p"),
        KeyFile(b"o" * 32, b"t" * 32, path).name("p"),
        KeyFile(b"p" * 32, b"s" * 32, path).name("p"),
        KeyFile(b"o" * 32, b"s" * 32, path).name("q"),
        KeyFile(b"o" * 31, b"o" + b"s" * 32, path).name("p"),
        KeyFile(b"o" * 32, b"s" * 31, path).name("sp"),
    ]
    assert len(set(names)) == len(names)
    assert KeyFile(b"o" * 32, b"s" * 32, Path("elsewhere")).name("p") == names[0]
