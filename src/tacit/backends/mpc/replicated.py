"""The engine `replicated3`: three parties, of which no two collude, all of which follow the protocol.

A secret is x = x_0 + x_1 + x_2 modulo 2^64; party i holds x_i and x_(i+1) (Araki, Furukawa, Lindell, Nof and Ohara,
CCS 2016). What one party sees is uniform and independent of inputs that it does not know, up to what is revealed to
it. A party that deviates can make results wrong without being noticed, and two parties together know everything.
`docs/design/replicated.md`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tacit._native import shares
from tacit._native.shares import Stream, ZeroSharing
from tacit.backends.mpc.engine import Bits, Convolution, Engine, Secret
from tacit.backends.mpc.replicated_choice import as_words, chosen
from tacit.backends.mpc.replicated_parts import combine, component, deal
from tacit.backends.mpc.replicated_roles import Role, thirds
from tacit.backends.mpc.replicated_seeds import SEED_BYTES, fresh_seed, session_key
from tacit.backends.mpc.replicated_sign import sign_part
from tacit.backends.mpc.replicated_truncation import quotient
from tacit.backends.mpc.steps import Round, Steps, Words, together
from tacit.errors import InternalError, MalformedMessageError, RevealError, ShapeError

__all__ = ["PARTIES", "Planes", "Replicated", "Shares", "combine", "deal", "open_engine"]

PARTIES = 3


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Shares(Secret):
    """The components i and i+1 of a secret, of party i: uint64, of one shape."""

    own: Words
    following: Words

    @property
    def shape(self) -> tuple[int, ...]:
        return self.own.shape

    def local(self, linear: Callable[..., Words], *others: Self) -> Self:
        return type(self)(
            np.asarray(linear(self.own, *(other.own for other in others))),
            np.asarray(linear(self.following, *(other.following for other in others))),
        )

    def __repr__(self) -> str:
        return f"<Shares of {self.shape}>"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Planes(Bits):
    """The components i and i+1 of bits, of party i: packed, 64 to a word; bits beyond the last have no meaning."""

    own: Words
    following: Words
    extent: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.extent

    def __repr__(self) -> str:
        return f"<Planes of {self.extent}>"


class Replicated(Engine[Shares, Planes]):
    """One party in one session. Made by `open`; ``openings``: what the plan reveals, by name, each once."""

    name = "replicated3"
    parties = PARTIES

    def __init__(
        self, index: int, *, own: bytes, following: bytes, session: bytes, openings: Iterable[str]
    ) -> None:
        """``own``, ``following``: the seeds k_i and k_(i+1), 32 bytes each. Use `open`, which agrees on them."""
        self.index = index
        self._keys = session_key(own, session), session_key(following, session)
        self._calls = 0
        self._openings = frozenset(openings)
        self._left = set(self._openings)

    def __repr__(self) -> str:
        return f"<Replicated: party {self.index}>"

    @classmethod
    def open(
        cls,
        index: int,
        *,
        session: bytes,
        openings: Iterable[str],
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> Steps[Replicated]:
        """Agrees on seeds: party i makes k_i and gives it to the party before it. One round.

        ``session``: the same for all parties and never used before. ``entropy``: other than the operating system's
        in tests only. Raises ``InternalError`` where the operating system gives no randomness.
        """
        own = fresh_seed(entropy)
        words = np.frombuffer(own, dtype=np.uint64)
        after = (index + 1) % PARTIES
        inbox = yield Round({(index + 2) % PARTIES: [words]}, {after: [SEED_BYTES // 8]})
        following = inbox[after][0].tobytes()
        return cls(index, own=own, following=following, session=session, openings=openings)

    # Local.

    def public(self, words: Words) -> Shares:
        words = np.asarray(words, dtype=np.uint64)
        zero = np.zeros_like(words)
        return Shares(words if self.index == 0 else zero, words if self.index == 2 else zero)

    def add_public(self, x: Shares, words: Words) -> Shares:
        if self.index == 0:
            return Shares(x.own + words, x.following)
        return Shares(x.own, x.following + words) if self.index == 2 else x

    def xor(self, a: Planes, b: Planes) -> Planes:
        _check_equal("xor", a.shape, b.shape)
        return Planes(a.own ^ b.own, a.following ^ b.following, a.extent)

    def flip(self, a: Planes) -> Planes:
        if self.index == 0:
            return Planes(~a.own, a.following, a.extent)
        return Planes(a.own, ~a.following, a.extent) if self.index == 2 else a

    def reshape_bits(self, a: Planes, shape: tuple[int, ...]) -> Planes:
        if int(np.prod(shape, dtype=np.int64)) != a.size:
            raise ShapeError(f"{a.size} bits do not take the shape {shape}")
        return Planes(a.own, a.following, shape)

    # Inputs and openings.

    def share(self, owner: int, words: Words | None, shape: tuple[int, ...]) -> Steps[Shares]:
        """The owner's components are a mask that the party before it makes as well, and the rest; the third is 0."""
        n = int(np.prod(shape, dtype=np.int64))
        own, following = self._streams()
        after = (owner + 1) % PARTIES
        if self.index == owner:
            if words is None:
                raise InternalError(f"party {owner} shares an input that it does not give")
            _check_equal("share", np.shape(words), shape)
            mask = own.words(n).reshape(shape)
            rest = np.asarray(words, dtype=np.uint64) - mask
            yield Round({after: [np.ascontiguousarray(rest)]})
            return Shares(mask, rest)
        if self.index == after:
            inbox = yield Round(awaits={owner: [n]})
            return Shares(inbox[owner][0].reshape(shape), np.zeros(shape, dtype=np.uint64))
        yield Round()
        return Shares(np.zeros(shape, dtype=np.uint64), following.words(n).reshape(shape))

    def reveal(self, x: Shares, to: Sequence[int], name: str) -> Steps[Words | None]:
        """Each party that learns the secret gets the component that it lacks from the party before it."""
        self._take_opening(name)
        receivers = set(to)
        step = Round()
        if (self.index + 1) % PARTIES in receivers:
            step.sends[(self.index + 1) % PARTIES] = [np.ascontiguousarray(x.own)]
        before = (self.index + 2) % PARTIES
        if self.index in receivers:
            step.awaits[before] = [x.size]
        inbox = yield step
        if self.index not in receivers:
            return None
        return np.asarray(x.own + x.following + inbox[before][0].reshape(x.shape))

    def reveal_outside(self, x: Shares, name: str) -> Steps[list[Words]]:
        """What this party hands to a client that is no party, which adds up those of all three: masked afresh."""
        self._take_opening(name)
        yield from ()
        return [self._masked(x)]

    def begin_run(self) -> None:
        """A plan that runs again may make its openings again."""
        self._left = set(self._openings)

    def adopt(self, arrays: Sequence[Words], shape: tuple[int, ...]) -> Shares:
        """A secret from this party's arrays of `deal` or `arrays`. Raises ``MalformedMessageError``."""
        if len(arrays) != 2:
            raise MalformedMessageError(f"a part of a secret is two arrays. Got {len(arrays)} instead.")
        n = int(np.prod(shape, dtype=np.int64))
        own, following = (component(array, n).reshape(shape) for array in arrays)
        return Shares(own, following)

    def arrays(self, x: Shares) -> list[Words]:
        """This party's part of a secret, for its own store alone."""
        return [x.own, x.following]

    def _take_opening(self, name: str) -> None:
        if name not in self._left:
            why = "was revealed before" if name in self._openings else "is not an opening of the plan"
            raise RevealError(
                f"party {self.index} was asked to reveal `{name}`, which {why}",
                hint="reveal only what the plan names, each once",
            )
        self._left.remove(name)

    # Products.

    def multiply(self, x: Shares, y: Shares, *, cut: int = 0) -> Steps[Shares]:
        factors: tuple[Words, ...] = (x.own, x.following, y.own, y.following)
        if x.shape != y.shape:
            factors = np.broadcast_arrays(*factors)
        x0, x1, y0, y1 = map(np.ascontiguousarray, factors)
        part = self._zero_sharing().product((x0, x1), (y0, y1))
        return (yield from self._shared(part, cut))

    def matmul(self, x: Shares, y: Shares, *, cut: int = 0) -> Steps[Shares]:
        part = self._zero_sharing().matmul(_contiguous(x), _contiguous(y))
        return (yield from self._shared(part, cut))

    def convolve(self, x: Shares, kernel: Shares, placement: Convolution, *, cut: int = 0) -> Steps[Shares]:
        part = self._zero_sharing().convolve(
            _contiguous(x),
            _contiguous(kernel),
            strides=placement.strides,
            pads=placement.pads,
            dilations=placement.dilations,
            group=placement.group,
        )
        return (yield from self._shared(part, cut))

    def truncate(self, x: Shares, cut: int) -> Steps[Shares]:
        return (yield from self._shared(self._masked(x), cut)) if cut else x

    def _masked(self, x: Shares) -> Words:
        """This party's own component and a share of zero."""
        part = np.array(x.own, order="C")
        self._zero_sharing().add_to(part)
        return part

    def _shared(self, part: Words, cut: int) -> Steps[Shares]:
        """A secret of which each party has a part with a share of zero, divided by 2^cut."""
        if not cut:
            after = (self.index + 1) % PARTIES
            inbox = yield Round({(self.index + 2) % PARTIES: [part]}, {after: [part.size]})
            return Shares(part, inbox[after][0].reshape(part.shape))
        flat = part.reshape(-1)
        return (
            yield from _in_thirds(
                part.shape, lambda of, first, out: quotient(self._role(first), flat[of], cut, out)
            )
        )

    # Bits.

    def negative(self, x: Shares, width: int) -> Steps[Planes]:
        flat = _flat(x)
        pieces = [(_piece(flat, of), first) for of, first in thirds(x.size)]
        found = yield from together(
            *(self._negative(self._role(first), *each, width) for each, first in pieces)
        )
        own, following = (
            np.concatenate(part) if len(part) > 1 else part[0] for part in zip(*found, strict=True)
        )
        return Planes(own, following, x.shape)

    def _negative(self, role: Role, own: Words, following: Words, width: int) -> Steps[tuple[Words, Words]]:
        part = yield from sign_part(role, own, following, width)
        arrived = yield from role.pass_on(part)
        return part, arrived

    def both(self, a: Planes, b: Planes) -> Steps[Planes]:
        _check_equal("both", a.shape, b.shape)
        part = self._zero_sharing().both((a.own, a.following), (b.own, b.following))
        after = (self.index + 1) % PARTIES
        inbox = yield Round({(self.index + 2) % PARTIES: [part]}, {after: [part.size]})
        arrived = inbox[after][0]
        return Planes(part, arrived, a.extent)

    def select(self, a: Planes, x: Shares) -> Steps[Shares]:
        _check_equal("select", a.shape, x.shape)
        flat = _flat(x)

        def one(of: slice, first: int, out: tuple[Words, Words]) -> Steps[None]:
            role = self._role(first)
            return chosen(role, _known_bit(role, a, of), _piece(flat, of), out, exchange=False)

        return (yield from _in_thirds(x.shape, one))

    def to_ring(self, a: Planes) -> Steps[Shares]:
        def one(of: slice, first: int, out: tuple[Words, Words]) -> Steps[None]:
            role = self._role(first)
            return as_words(role, _known_bit(role, a, of), out)

        return (yield from _in_thirds(a.shape, one))

    def rectify(self, x: Shares, width: int) -> Steps[Shares]:
        """The last product of the sign ends in parts of positions 1 and 2, of which position 0 need not know anything:
        it deals its choice in the round in which they exchange them."""
        flat = _flat(x)
        return (
            yield from _in_thirds(
                x.shape,
                lambda of, first, out: self._rectify(self._role(first), _piece(flat, of), width, out),
            )
        )

    def _rectify(
        self, role: Role, x: tuple[Words, Words], width: int, out: tuple[Words, Words]
    ) -> Steps[None]:
        part = yield from sign_part(role, *x, width)
        yield from chosen(role, ~part if role.position == 0 else part, x, out, exchange=True)

    # Roles and streams.

    def _streams(self) -> tuple[Stream, Stream]:
        """Streams of a number that no other call has. All parties count alike, as they make the same calls."""
        number = self._calls
        self._calls += 1
        own, following = self._keys
        return Stream(own, number), Stream(following, number)

    def _zero_sharing(self) -> ZeroSharing:
        number = self._calls
        self._calls += 1
        return ZeroSharing(*self._keys, number)

    def _role(self, first: int) -> Role:
        return Role((self.index - first) % PARTIES, first, *self._streams())


def open_engine(index: int, *, session: bytes, plan: bytes, reveals: Collection[str]) -> Steps[Replicated]:
    """`Replicated.open` for a session of one plan; both enter into all streams."""
    bound = len(session).to_bytes(8, "little") + session + plan
    return (yield from Replicated.open(index, session=bound, openings=reveals))


def _known_bit(role: Role, a: Planes, of: slice) -> Words:
    """What this position knows of some of the bits: the sum of components 0 and 1, or component 2."""
    words = slice(of.start // 64, shares.plane_words(of.stop))
    if role.position == 0:
        return a.own[words] ^ a.following[words]
    return (a.following if role.position == 1 else a.own)[words]


def _contiguous(x: Shares) -> tuple[Words, Words]:
    return np.ascontiguousarray(x.own), np.ascontiguousarray(x.following)


def _flat(x: Shares) -> tuple[Words, Words]:
    own, following = (part.reshape(-1) for part in _contiguous(x))
    return own, following


def _piece(flat: tuple[Words, Words], of: slice) -> tuple[Words, Words]:
    return flat[0][of], flat[1][of]


def _in_thirds(
    shape: tuple[int, ...], one: Callable[[slice, int, tuple[Words, Words]], Steps[None]]
) -> Steps[Shares]:
    """A secret of which each third is made by steps of their own, side by side, into its place.

    ``one``: of which elements, the party in position 0, and where both components go.
    """
    own, following = np.empty(shape, dtype=np.uint64), np.empty(shape, dtype=np.uint64)
    flat = own.reshape(-1), following.reshape(-1)
    yield from together(*(one(of, first, _piece(flat, of)) for of, first in thirds(own.size)))
    return Shares(own, following)


def _check_equal(what: str, one: tuple[int, ...], other: tuple[int, ...]) -> None:
    if one != other:
        raise ShapeError(f"`{what}` takes equal shapes. Got {one} and {other} instead.")
