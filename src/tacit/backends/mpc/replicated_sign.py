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

from tacit.backends.mpc import replicated_local as local
from tacit.backends.mpc.replicated_roles import Role, carry_groups
from tacit.backends.mpc.steps import Round, Steps, Words

__all__ = ["sign_part"]


def sign_part(role: Role, own: Words, following: Words, width: int) -> Steps[Words]:
    """This party's part, masked, of the packed signs of numbers of ``width`` bits: the three add up modulo 2."""
    sizes = carry_groups(width - 1)
    # Position 0 has the sum of components 0 and 1; component 2 is `following` of position 1 and `own` of position 2.
    operand = (own + following, following, own)[role.position]
    if len(sizes) > 1:
        part = yield from _tree(role, operand, sizes)
    else:
        values = yield from _group_values(role, operand, sizes) if sizes else _nothing()
        words = local.plane_words(own.size)
        part = role.own.fill(words) ^ role.following.fill(words)
        if values is not None:
            part ^= values[0]
    if role.position < 2:
        part ^= local.top_plane(operand, width)
    return part


def _nothing() -> Steps[Words | None]:
    yield from ()
    return None


def _group_values(role: Role, operand: Words, sizes: tuple[int, ...]) -> Steps[Words | None]:
    """The parts of positions 1 and 2 of `group_values`."""
    words = local.plane_words(operand.size)
    planes = sum((1 << size) - 1 for size in sizes)
    if role.position == 0:
        dealt = local.deal_monomials(operand, sizes)
        dealt ^= role.own.fill(dealt.size).reshape(dealt.shape)
        yield Round({role.party(1): [dealt]})
        return None
    if role.position == 1:
        inbox = yield Round(awaits={role.party(0): [planes * words]})
        dealt = inbox[role.party(0)][0]
    else:
        dealt = role.following.fill(planes * words)
        yield Round()
    return local.group_values(operand, sizes, dealt.reshape(planes, words), role.position == 1)


def _tree(role: Role, operand: Words, sizes: tuple[int, ...]) -> Steps[Words]:
    values = yield from _group_values(role, operand, sizes)
    left = len(sizes)
    shape = 2 * left - 1, local.plane_words(operand.size)
    own, following = yield from _replicated(role, values, shape)
    while True:
        # Of carries made the first `left` rows, of those passed on the rest, which begins with group 1.
        pairs = left // 2
        (made, through), (made_next, through_next) = ((x[:left], x[left:]) for x in (own, following))
        part = local.and_part(
            (_upper(through, pairs), _upper(through_next, pairs)),
            (_lower(made, through, pairs), _lower(made_next, through_next, pairs)),
            role.own,
            role.following,
        )
        if left == 2:
            return np.asarray(part[0] ^ made[1])
        arrived = yield from role.pass_on(part)
        own = _level(made, through, part, pairs)
        following = _level(made_next, through_next, arrived, pairs)
        left -= pairs


def _upper(through: Words, pairs: int) -> Words:
    rows = through[0 : 2 * pairs : 2]
    return np.concatenate([rows, rows[1:]])


def _lower(made: Words, through: Words, pairs: int) -> Words:
    return np.concatenate([made[0 : 2 * pairs : 2], through[1 : 2 * pairs - 2 : 2]])


def _level(made: Words, through: Words, products: Words, pairs: int) -> Words:
    """Pairs of groups as one; a last one without a partner stays."""
    return np.concatenate(
        [
            made[1 : 2 * pairs : 2] ^ products[:pairs],
            made[2 * pairs :],
            products[pairs:],
            through[2 * pairs - 1 :],
        ]
    )


def _replicated(role: Role, values: Words | None, shape: tuple[int, int]) -> Steps[tuple[Words, Words]]:
    """Both components of what positions 1 and 2 have a part of each: 0 and 1 are masks, 2 is the masked sum."""
    size = shape[0] * shape[1]
    if role.position == 0 or values is None:
        yield Round()
        return role.own.fill(size).reshape(shape), role.following.fill(size).reshape(shape)
    mask = (role.own if role.position == 1 else role.following).fill(size).reshape(shape)
    other = 3 - role.position
    part = values ^ mask
    inbox = yield role.swap(other, [part], [size])
    total = part ^ inbox[role.party(other)][0].reshape(shape)
    return (mask, total) if role.position == 1 else (total, mask)
