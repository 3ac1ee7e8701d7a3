"""Words chosen by shared bits, in two rounds and 85 bits from each party on average.

The bit is b = β + γ modulo 2, β known to position 0 (components 0 and 1), γ to positions 1 and 2 (component 2). Then

    b·x = γ·x + (1 - 2γ)·(β·(x_0 + x_1) + β·x_2)

Position 0 deals β and β·(x_0 + x_1) to the other two (one part of each from stream 0, one sent). Both know γ and x_2,
one of them x_1 and the other x_0, so that each has a part of b·x by itself; they exchange their parts, masked by
streams 1 and 0, which become components 1 and 0. The structure follows ABY3's product of a bit and a word (Mohassel
and Rindal, CCS 2018, section 5.4), with the two multiplications there replaced by what the parties know anyway.
"""

from __future__ import annotations

from tacit.backends.mpc import replicated_local as local
from tacit.backends.mpc.replicated_roles import Role
from tacit.backends.mpc.steps import Round, Steps, Words

__all__ = ["as_words", "chosen"]


def chosen(role: Role, bit: Words, x: tuple[Words, Words], *, exchange: bool) -> Steps[tuple[Words, Words]]:
    """Both components of x where the bit, else 0; one-dimensional.

    ``bit``: packed; β in position 0, else γ, or with ``exchange`` a part of γ, which is exchanged in the first round.
    """
    n = x[0].size
    if role.position == 0:
        dealt = local.select_dealt(bit, *x)
        dealt -= role.own.fill(2 * n)
        yield Round({role.party(1): [dealt]})
        return (yield from _replicated(role, None, n))
    dealt, bit = yield from _received(role, 2 * n, bit, exchange)
    common, extra = (x[1], x[0] + x[1]) if role.position == 1 else x
    part = local.select_part(bit, dealt, common, extra)
    return (yield from _replicated(role, part, n))


def as_words(role: Role, bit: Words, n: int) -> Steps[tuple[Words, Words]]:
    """Both components of 1 where the bit, else 0. ``bit``: as in `chosen`."""
    if role.position == 0:
        dealt = local.expand(bit, n)
        dealt -= role.own.fill(n)
        yield Round({role.party(1): [dealt]})
        return (yield from _replicated(role, None, n))
    dealt, bit = yield from _received(role, n, bit, exchange=False)
    return (yield from _replicated(role, local.bit_part(bit, dealt, role.position == 1), n))


def _received(role: Role, size: int, bit: Words, exchange: bool) -> Steps[tuple[Words, Words]]:
    """This position's part of what position 0 dealt, and γ."""
    other = role.party(3 - role.position)
    step = Round()
    if exchange:
        step = role.swap(3 - role.position, [bit], [bit.size])
    if role.position == 1:
        step.awaits[role.party(0)] = [size]
    inbox = yield step
    dealt = inbox[role.party(0)][0] if role.position == 1 else role.following.fill(size)
    return dealt, bit ^ inbox[other][0] if exchange else bit


def _replicated(role: Role, part: Words | None, n: int) -> Steps[tuple[Words, Words]]:
    """Both components of what positions 1 and 2 have a part of each: 0 and 1 are masks, 2 is the masked sum."""
    if part is None:
        yield Round()
        return role.own.fill(n), role.following.fill(n)
    mask = (role.own if role.position == 1 else role.following).fill(n)
    other = 3 - role.position
    part -= mask
    inbox = yield role.swap(other, [part], [n])
    total = part + inbox[role.party(other)][0]
    return (mask, total) if role.position == 1 else (total, mask)
