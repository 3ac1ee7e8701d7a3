"""The scheme itself: approximate arithmetic on encrypted vectors (CKKS), with level and noise visible.

    from tacit import ckks

    params = ckks.parameters(depth=3)                      # the smallest ring of 128 bit security
    keys = ckks.keygen(params, sums=[4])
    x = keys.encrypt([1.0, 2.0, 3.0, 4.0])
    y = (x * x + 3 * x - 1).sum()
    keys.decrypt(y)                                        # about [56.]
    keys.noise(y, [56.0]), y.noise_bits                    # measured and expected, log2

The evaluator's side holds no secret: ``ckks.Evaluator(params, keys.evaluation.to_bytes())``, then ``load``
and ``serialize``.
"""

from tacit.ckks.evaluator import Evaluator
from tacit.ckks.keys import Keys, keygen, rotations_for
from tacit.ckks.literals import (
    N12_DEPTH1,
    N13_DEPTH2,
    N13_DEPTH3,
    N14_DEPTH7,
    N15_DEPTH17,
    N16_DEPTH25,
    ParametersLiteral,
)
from tacit.ckks.matrix import Matrix
from tacit.ckks.noise import Noise
from tacit.ckks.parameters import Parameters, parameters
from tacit.ckks.plaintext import Plaintext
from tacit.ckks.vector import Vector

__all__ = [
    "N12_DEPTH1",
    "N13_DEPTH2",
    "N13_DEPTH3",
    "N14_DEPTH7",
    "N15_DEPTH17",
    "N16_DEPTH25",
    "Evaluator",
    "Keys",
    "Matrix",
    "Noise",
    "Parameters",
    "ParametersLiteral",
    "Plaintext",
    "Vector",
    "keygen",
    "parameters",
    "rotations_for",
]
