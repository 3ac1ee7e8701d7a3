"""Signs of replicated words: the carry of a sum of two numbers, one known to one party, the other to the other two.

x is a + b with a = x_0 + x_1, known to position 0, and b = x_2, known to positions 1 and 2. The sign of a number of w
bits is the top bit of a, plus that of b, plus the carry of the w - 1 bits below. These fall into groups of up to four.
Whether a group makes a carry, and whether it passes one on, is linear in products of bits of a, with coefficients that
b gives: position 0 deals the products (one round), positions 1 and 2 evaluate their parts and exchange them, masked
(one round). Then a tree of products as in parallel-prefix adders (Kogge and Stone 1973; Brent and Kung 1982), of which
only the carry out is made. What goes over the wire is the sender's bits plus fresh words of a stream that the receiver
does not know.
"""

from __future__ import annotations

import numpy as np

from tacit._native import shares
from tacit.backends.mpc.replicated_roles import Role, carry_groups
from tacit.backends.mpc.steps import Round, Steps, Words

__all__ = ["sign_part"]


def sign_part(role: Role, own: Words, following: Words, width: int) -> Steps[Words]:
    """This party's part, masked, of the packed signs of numbers of ``width`` bits: the three add up modulo 2."""
    sizes = carry_groups(width - 1)
    if not sizes:
        return _masked(role, _lowest(role, own, following), own.size)
    values, top = yield from _group_values(role, own, following, sizes)
    if len(sizes) == 1:
        part = _masked(role, values, own.size)
    else:
        part = yield from _tree(role, values, len(sizes), own.size)
    if top is not None:
        part ^= top
    return part


def _lowest(role: Role, own: Words, following: Words) -> Words | None:
    """Of numbers of one bit: those of a = x_0 + x_1 in position 0, of b = x_2 in position 1."""
    if role.position == 0:
        return shares.pack(own + following)
    return shares.pack(following) if role.position == 1 else None


def _masked(role: Role, part: Words | None, n: int) -> Words:
    """A share of zero, and a part where there is one."""
    out = role.own.words(shares.plane_words(n))
    role.following.xor_to(out)
    if part is not None:
        out ^= part
    return out


def _group_values(
    role: Role, own: Words, following: Words, sizes: tuple[int, ...]
) -> Steps[tuple[Words | None, Words | None]]:
    """The parts of positions 1 and 2 of the values of the groups, and the top bits of a in 0, of b in 1."""
    size = sum((1 << size) - 1 for size in sizes) * shares.plane_words(own.size)
    if role.position == 0:
        dealt, top = shares.carry_deal((own, following), sizes, role.own)
        yield Round({role.party(1): [dealt]})
        return None, top
    if role.position == 1:
        inbox = yield Round(awaits={role.party(0): [size]})
        return shares.carry_values(following, inbox[role.party(0)][0], sizes, True)
    yield Round()
    values, _ = shares.carry_values(own, role.following.words(size), sizes, False)
    return values, None


def _tree(role: Role, values: Words | None, groups: int, n: int) -> Steps[Words]:
    own, following = yield from _replicated(role, values, (2 * groups - 1) * shares.plane_words(n))
    while True:
        products = shares.carry_products((own, following), groups, role.own, role.following)
        if groups > 2:
            arrived = yield from role.pass_on(products)
            following = shares.carry_next(following, arrived, groups)
        own = shares.carry_next(own, products, groups)
        if groups == 2:
            return own
        groups -= groups // 2


def _replicated(role: Role, values: Words | None, size: int) -> Steps[tuple[Words, Words]]:
    """Both components of what positions 1 and 2 have a part of each: 0 and 1 are masks, 2 is the masked sum."""
    if values is None:
        yield Round()
        return role.own.words(size), role.following.words(size)
    mask = (role.own if role.position == 1 else role.following).words(size)
    other = 3 - role.position
    values ^= mask
    inbox = yield role.swap(other, [values], [size])
    total = np.bitwise_xor(values, inbox[role.party(other)][0])
    return (mask, total) if role.position == 1 else (total, mask)
