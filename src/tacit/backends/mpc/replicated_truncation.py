"""Exact truncation of a product in two rounds, for three parties with an honest majority.

The quotient by a mask with a shared upper part is that of Escudero, Ghosh, Keller, Rachuri and Scholl (CRYPTO 2020,
ia.cr/2020/338, section 5.1; `crates/share`, module `trunc`). The mask costs nothing here. Let t_p be the parts of z
with a share of zero each, t_p = z_p + F(k_p) - F(k_(p+1)). Positions 0 and 1 exchange theirs; then r = -t_2 is a mask
that position 2 knows and z + r = t_0 + t_1. To position 0 the mask is uniform for F(k_2), to position 1 for F(k_0).

With c = z + 2^62 + r, m and t the top bits of c and r, the quotient is

    ((c mod 2^63) >> f) - 2^(62-f) + 2^(63-f)·m   known to positions 0 and 1: in component 1
    2^(63-f)·t - ((r mod 2^63) >> f)              known to position 2: in components 0 and 2, masked by stream 0
    - 2^(64-f)·m·t                                a product, of which f bits count

In the first round position 2 deals t modulo 2^f to the other two, so that m·t has a part at each, and in the second
they exchange these, masked by streams 0 and 2. In all 64 + f bits from every party (f rounded up to 8, 16, 32 or 64).

Every word that a position receives is the sender's plus its own fresh word of a stream that the receiver does not
know: stream 2 for position 0, stream 0 for position 1; position 2 receives nothing. So what a party sees is uniform,
whatever z. Whether the quotient is rounded up is a function of z and c: who knows c and is later given the quotient
knows z up to an interval of length 2^f with a random begin, as much as the quotient rounded down would tell.
"""

from __future__ import annotations

from tacit._native import shares
from tacit.backends.mpc.replicated_roles import Role
from tacit.backends.mpc.steps import Round, Steps, Words

__all__ = ["quotient"]


def quotient(role: Role, part: Words, cut: int, out: tuple[Words, Words]) -> Steps[None]:
    """``out`` = both components of the quotient by 2^cut of what ``part`` is masked part of; one-dimensional.

    Rounded down or up, never off by more, for numbers of at most 2^62 in magnitude; 1 <= cut <= 62.
    """
    n, fields = part.size, shares.field_words(part.size, cut)
    if role.position == 2:
        rest, tops = shares.quotient_helper(part, cut, role.own, role.following, out)
        yield Round({role.party(1): [rest, tops]})
        yield Round()
        return
    if role.position == 0:
        inbox = yield role.swap(1, [part], [n])
        (other,) = inbox[role.party(1)]
        turned = shares.quotient_first(part, other, cut, role.own, out)
        inbox = yield role.swap(1, [turned], [fields])
        shares.quotient_finish(out[1], turned, inbox[role.party(1)][0], cut)
        return
    first = role.swap(0, [part], [n])
    first.awaits[role.party(2)] = [n, fields]
    inbox = yield first
    (other,) = inbox[role.party(0)]
    rest, tops = inbox[role.party(2)]
    turned = shares.quotient_second(part, other, rest, tops, cut, role.following, out)
    inbox = yield role.swap(0, [turned], [fields])
    shares.quotient_finish(out[0], turned, inbox[role.party(0)][0], cut)
