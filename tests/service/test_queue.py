"""Admission and turns: bounded, fair, and never a ticket lost or counted twice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import BusyError, InvalidParameterError, RateLimitError
from tacit.service.queue import Limits, Queue, Ticket

NUMBERS = itertools.count(1)


def ticket(
    owner: bytes = b"a", *, program: str = "p", principal: str = "alice", body: bytes = b"12"
) -> Ticket:
    return Ticket(
        number=next(NUMBERS),
        kind="run",
        program=program,
        owner=owner,
        principal=principal,
        fields={},
        body=body,
        keys=None,
        admitted_s=0.0,
        deadline_s=1.0,
        future=None,
    )


def anything(ticket: Ticket) -> bool:
    return True


def test_owners_take_turns() -> None:
    """One who sends a hundred delays itself: the second one's only request is answered second."""
    queue = Queue(Limits())
    first = [ticket(b"a") for _ in range(100)]
    for one in first:
        queue.add(one)
    second, third = ticket(b"b"), ticket(b"c")
    queue.add(second)
    queue.add(third)
    assert [queue.take(anything) for _ in range(4)] == [first[0], second, third, first[1]]


def test_principals_take_turns_however_many_owners_they_name() -> None:
    """Client secrets are free to make: who makes a hundred owners gets no more turns than who has one."""
    queue = Queue(Limits())
    many = [ticket(bytes([owner]), principal="mallory") for owner in range(100)]
    for one in many:
        queue.add(one)
    few = [ticket(b"b", principal="bob") for _ in range(3)]
    for one in few:
        queue.add(one)
    taken = [queue.take(anything) for _ in range(6)]
    assert taken == [many[0], few[0], many[1], few[1], many[2], few[2]]


def test_bytes_of_one_principal_are_bounded() -> None:
    queue = Queue(Limits(queue_bytes=100, principal_bytes=10))
    queue.admit("alice", 40, 1.0)  # one request alone, whatever its size
    held = ticket(b"a", body=b"x" * 8)
    queue.add(held)
    queue.admit("alice", 2, 1.0)
    with pytest.raises(RateLimitError):
        queue.admit("alice", 3, 1.0)
    queue.admit("bob", 10, 1.0)
    assert queue.take(anything) is held
    with pytest.raises(RateLimitError):
        queue.admit("alice", 3, 1.0)  # it runs, and its bytes are held still
    queue.leave(held)
    queue.admit("alice", 3, 1.0)


def test_one_lane_waits_without_the_others() -> None:
    queue = Queue(Limits())
    blocked, free = ticket(b"a"), ticket(b"b")
    queue.add(blocked)
    queue.add(free)
    assert queue.take(lambda t: t is not blocked) is free
    assert queue.take(lambda t: t is not blocked) is None
    assert queue.waiting == 1 and queue.take(anything) is blocked


def test_what_was_not_begun_comes_first_again() -> None:
    queue = Queue(Limits())
    tickets = [ticket(b"a") for _ in range(3)]
    for one in tickets:
        queue.add(one)
    taken = queue.take(anything)
    assert taken is tickets[0]
    queue.put_back(taken)
    assert [queue.take(anything) for _ in range(3)] == tickets


def test_limits_of_one_and_of_all() -> None:
    queue = Queue(Limits(queue_count=3, queue_bytes=10, principal_count=2))
    for _ in range(2):
        queue.admit("alice", 2, 1.0)
        queue.add(ticket())
    with pytest.raises(RateLimitError) as limited:
        queue.admit("alice", 2, 1.5)
    assert limited.value.retry_after_s == 1.5
    with pytest.raises(BusyError) as full:
        queue.admit("bob", 7, 1.0)
    assert not isinstance(full.value, RateLimitError), "bytes over all are nobody's own fault"
    queue.admit("bob", 6, 1.0)
    bob = ticket(b"b", principal="bob", body=b"123456")
    queue.add(bob)
    with pytest.raises(BusyError):
        queue.admit("carol", 0, 1.0)
    assert queue.drop(bob)
    assert not queue.drop(bob)
    queue.leave(bob)
    queue.admit("carol", 6, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"threads": True}, {"queue_count": 1.5}, {"request_s": float("nan")}, {"grace_s": -1}],
)
def test_limits_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameterError):
        Limits(**wrong)  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(st.sampled_from("atdbl"), st.integers(0, 3), st.integers(0, 2), st.integers(0, 5)),
        max_size=60,
    )
)
def test_every_ticket_is_somewhere_once(steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever happens, in whatever order: counts and bytes are those of the tickets that did not leave."""
    queue = Queue(Limits(queue_count=10, queue_bytes=20, principal_count=4))
    waiting: list[Ticket] = []
    flying: list[Ticket] = []
    for step, owner, program, size in steps:
        if step == "a":
            one = ticket(bytes([owner]), program=str(program), principal=str(owner % 2), body=b"x" * size)
            try:
                queue.admit(one.principal, one.size_bytes, 1.0)
            except BusyError:
                continue
            queue.add(one)
            waiting.append(one)
        elif step == "t":
            taken = queue.take(lambda t, p=str(program): t.program == p)
            assert (taken is None) == all(t.program != str(program) for t in waiting)
            if taken is not None:
                waiting.remove(taken)
                flying.append(taken)
        elif step == "d" and waiting:
            gone = waiting.pop(size % len(waiting))
            assert queue.drop(gone)
            queue.leave(gone)
        elif step == "b" and flying:
            back = flying.pop()
            queue.put_back(back)
            waiting.append(back)
        elif step == "l" and flying:
            queue.leave(flying.pop())
        assert sorted(t.number for t in queue) == sorted(t.number for t in waiting)
        assert queue.waiting == len(waiting) and queue.admitted == len(waiting) + len(flying) <= 10
        assert queue.bytes == sum(t.size_bytes for t in waiting + flying) <= 20
