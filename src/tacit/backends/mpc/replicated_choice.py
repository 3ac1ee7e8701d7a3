"""Words chosen by shared bits, in two rounds and 85 bits from each party on average.

The bit is b = β + γ modulo 2, β known to position 0 (components 0 and 1), γ to positions 1 and 2 (component 2). Then

    b·x = γ·x + (1 - 2γ)·(β·(x_0 + x_1) + β·x_2)

Position 0 deals β and β·(x_0 + x_1) to the other two (one part of each from stream 0, one sent). Both know γ and x_2,
one of them x_1 and the other x_0, so that each has a part of b·x by itself; they exchange their parts, masked by
streams 1 and 0, which become components 1 and 0. The structure follows ABY3's product of a bit and a word (Mohassel
and Rindal, CCS 2018, section 5.4), with the two multiplications there replaced by what the parties know anyway.
"""

from __future__ import annotations

import numpy as np

from tacit._native import shares
from tacit.backends.mpc.replicated_roles import Role
from tacit.backends.mpc.steps import Round, Steps, Words

__all__ = ["as_words", "chosen"]


def chosen(
    role: Role, bit: Words, x: tuple[Words, Words], out: tuple[Words, Words], *, exchange: bool
) -> Steps[None]:
    """``out`` = both components of x where the bit, else 0; one-dimensional.

    ``bit``: packed; β in position 0, else γ, or with ``exchange`` a part of γ, which is exchanged in the first round.
    """
    if role.position == 0:
        yield Round({role.party(1): [shares.choice_deal(bit, x[0].size, x, role.own)]})
        yield from _masks(role, out)
        return
    dealt, turn = yield from _received(role, x[0].size, 2, bit, exchange)
    if role.position == 1:
        part = shares.choice_part(turn, dealt, x[1], x, role.own, out[0])
    else:
        part = shares.choice_part(turn, dealt, x[0], (x[1],), role.following, out[1])
    yield from _exchanged(role, part, out)


def as_words(role: Role, bit: Words, out: tuple[Words, Words]) -> Steps[None]:
    """``out`` = both components of 1 where the bit, else 0. ``bit``: as in `chosen`."""
    n = out[0].size
    if role.position == 0:
        yield Round({role.party(1): [shares.choice_deal(bit, n, None, role.own)]})
        yield from _masks(role, out)
        return
    dealt, turn = yield from _received(role, n, 1, bit, exchange=False)
    if role.position == 1:
        part = shares.choice_bit(turn, dealt, True, role.own, out[0])
    else:
        part = shares.choice_bit(turn, dealt, False, role.following, out[1])
    yield from _exchanged(role, part, out)


def _received(role: Role, n: int, rows: int, bit: Words, exchange: bool) -> Steps[tuple[Words, Words]]:
    """This position's part of the rows that position 0 dealt, and γ."""
    other = 3 - role.position
    step = role.swap(other, [bit], [bit.size]) if exchange else Round()
    if role.position == 1:
        step.awaits[role.party(0)] = [rows * n]
    inbox = yield step
    if role.position == 1:
        dealt = inbox[role.party(0)][0]
    else:
        # Row by row: a stream throws half a block away after an odd number of words.
        dealt = np.empty(rows * n, dtype=np.uint64)
        for row in range(rows):
            role.following.fill(dealt[row * n : (row + 1) * n])
    return dealt, bit ^ inbox[role.party(other)][0] if exchange else bit


def _masks(role: Role, out: tuple[Words, Words]) -> Steps[None]:
    """Position 0: its components are the masks of the other two, which it takes from the streams as well."""
    yield Round()
    role.own.fill(out[0])
    role.following.fill(out[1])


def _exchanged(role: Role, part: Words, out: tuple[Words, Words]) -> Steps[None]:
    """Positions 1 and 2: component 2 is the sum of their masked parts; the other component, the mask, is there."""
    other = 3 - role.position
    inbox = yield role.swap(other, [part], [part.size])
    np.add(part, inbox[role.party(other)][0], out=out[2 - role.position])
