"""Checked parameters, the search for the smallest ring, and the scale that belongs to each level."""

from __future__ import annotations

from math import ceil, log2, sqrt

from tacit import _native
from tacit.ckks.literals import ParametersLiteral
from tacit.errors import DepthError, InsecureParameterError, InvalidParameterError

__all__ = ["Parameters", "parameters"]

_RINGS = range(12, 17)
_LARGEST_DEPTH = 70
_LARGEST_PRIME = 50


class Parameters:
    """Parameters that passed the security table. Built by `from_literal` or `parameters`; immutable.

    A ciphertext at level l has the scale ``scales[l]`` exactly. These satisfy scales[l]² / q_l =
    scales[l-1], so a product
    of two ciphertexts lands on the scale of the level below without any correction (the idea of Kim,
    Papadimitriou and
    Polyakov, ia.cr/2020/1118, with the recursion run upwards from scales[0] = 2^log_scale, where it
    contracts).
    """

    def __init__(self, native: _native.Parameters, literal: ParametersLiteral) -> None:
        self.native = native
        self.literal = literal
        scales = [float(2**literal.log_scale)]
        for prime in native.q[1:]:
            scales.append(sqrt(scales[-1] * prime))
        self.scales: tuple[float, ...] = tuple(scales)
        self._log_q = tuple(native.log_q(level) for level in range(native.max_level + 1))

    @staticmethod
    def from_literal(literal: ParametersLiteral, *, cpu: str | None = None) -> Parameters:
        """Check and build. Raises InsecureParameterError above the 128 bit table, InvalidParameterError out
        of range."""
        native = _native.Parameters.from_literal(
            literal.log_n, literal.log_q, literal.log_p, log_scale=literal.log_scale, cpu=cpu
        )
        return Parameters(native, literal)

    @property
    def n(self) -> int:
        """Ring degree N."""
        return self.native.n

    @property
    def slots(self) -> int:
        """Packed positions, N/2."""
        return self.native.slots

    @property
    def depth(self) -> int:
        """Multiplications in a row: the level of a fresh ciphertext."""
        return self.native.max_level

    @property
    def log_scale(self) -> int:
        """log2 of the scale of a ciphertext at level 0."""
        return self.literal.log_scale

    @property
    def log_qp(self) -> float:
        """log2 of the whole modulus, which the security table limits for each ring degree."""
        return float(self.native.log_qp)

    @property
    def hash(self) -> bytes:
        """32 bytes that identify the primes; ciphertexts and keys carry it."""
        return self.native.hash

    def plain_scale(self, level: int, *, source: float | None = None, target: float | None = None) -> float:
        """The scale of a factor that takes scale ``source`` at ``level`` ≥ 1, after rescaling, to ``target``.

        The defaults are the scales of ``level`` and of the level below.
        """
        source = self.scales[level] if source is None else source
        target = self.scales[level - 1] if target is None else target
        return target * self.native.q[level] / source

    def room_bits(self, level: int, scale: float) -> float:
        """log2 of the largest value that a ciphertext of this level and scale can hold: Q_level / 2 / scale."""
        return self._log_q[level] - 1 - log2(scale)

    def __repr__(self) -> str:
        return (
            f"<Parameters n={self.n} depth={self.depth} log_scale={self.log_scale} log_qp={self.log_qp:.0f}>"
        )


def parameters(
    *, depth: int, log_scale: int = 40, log_bound: int | None = None, cpu: str | None = None
) -> Parameters:
    """The smallest secure ring for ``depth`` multiplications in a row at ``log_scale`` bits (20 … 45).

    ``log_bound``: results at the last level may be as large as 2^log_bound; 6 by default, less when ``log_scale``
    leaves less, since log_scale + log_bound is at most 49. In the ring found, key switching uses the fewest digits,
    but at least three, that the security table allows. Raises InvalidParameterError for a size out of range and
    DepthError when no ring up to N = 2^16 is large enough.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or not 0 <= depth <= _LARGEST_DEPTH:
        raise InvalidParameterError(
            f"the 'depth' parameter must be an integer from 0 to {_LARGEST_DEPTH}; got {depth!r} instead"
        )
    if isinstance(log_scale, bool) or not isinstance(log_scale, int) or not 20 <= log_scale <= 45:
        raise InvalidParameterError(
            f"the 'log_scale' parameter must be an integer in [20, 45]; got {log_scale!r} instead"
        )
    room = _LARGEST_PRIME - 1 - log_scale
    log_bound = min(6, room) if log_bound is None else log_bound
    if not 1 <= log_bound <= room:
        raise InvalidParameterError(
            f"the 'log_bound' parameter must be in [1, {room}] at this log_scale; got {log_bound} instead",
            hint="primes have at most 50 bits: scale and size of values share them",
        )
    first = log_scale + log_bound + 1
    log_q = (first, *(log_scale,) * depth)
    for log_n in _RINGS:
        for width in range(ceil((depth + 1) / 3), 0, -1):
            digit = first + (width - 1) * log_scale
            log_p = (min(_LARGEST_PRIME, ceil(digit / width)),) * width
            literal = ParametersLiteral(log_n, log_q, log_p, log_scale)
            try:
                return Parameters.from_literal(literal, cpu=cpu)
            except InsecureParameterError:
                continue
    raise DepthError(
        f"no secure ring up to N = 2^{_RINGS[-1]} has depth {depth} at a scale of {log_scale} bits",
        hint="lower log_scale or the depth, or let the key owner decrypt and encrypt again half-way",
    )
