"""Every misuse has its class of `tacit.errors`, a message with facts, and no value in it."""

from collections.abc import Callable

import numpy as np
import pytest

from tacit import _native, errors
from tacit._native import EvaluationKeys, Evaluator, LinearMap, Parameters, PublicKey, SecretKey


def raised(expected: type[errors.TacitError], call: Callable[[], object]) -> errors.TacitError:
    with pytest.raises(errors.TacitError) as caught:
        call()
    assert type(caught.value) is expected
    assert str(caught.value)
    assert not caught.value.hint or caught.value.hint not in str(caught.value)
    return caught.value


def test_parameters() -> None:
    insecure = raised(
        errors.InsecureParameterError, lambda: Parameters.from_literal(12, [50, 50], [50], log_scale=40)
    )
    assert "150" in str(insecure)
    assert "106" in str(insecure)
    assert "log_n" in insecure.hint
    for arguments in (
        (11, [40], []),
        (17, [40], []),
        (13, [], []),
        (13, [51], []),
        (13, [40], [19]),
        (16, [20] * 20, []),
    ):
        raised(errors.InvalidParameterError, lambda a=arguments: Parameters.from_literal(*a, log_scale=30))
    for log_scale in (0, 61):
        raised(
            errors.InvalidParameterError,
            lambda s=log_scale: Parameters.from_literal(13, [50, 50], [], log_scale=s),
        )
    raised(errors.InvalidParameterError, lambda: Parameters.insecure_from_literal(3, [40], [], log_scale=30))
    params = Parameters.from_literal(13, [50, 40], [50], log_scale=40)
    raised(errors.LevelError, lambda: params.dnum(2))
    raised(errors.LevelError, lambda: params.log_q(2))


def test_cpu_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _native.cpu_path() in _native.cpu_paths()
    monkeypatch.delenv("TACIT_CPU", raising=False)
    assert _native.cpu_path() == _native.cpu_paths()[-1]
    monkeypatch.setenv("TACIT_CPU", "portable")
    assert _native.cpu_path() == "portable"
    assert Parameters.from_literal(12, [40], [], log_scale=30).cpu == "portable"
    assert _native.cpu_path(_native.cpu_paths()[-1]) == _native.cpu_paths()[-1]
    monkeypatch.setenv("TACIT_CPU", "quantum")
    error = raised(errors.InvalidParameterError, _native.cpu_path)
    assert "TACIT_CPU" in str(error)
    assert "portable" in error.hint
    raised(errors.InvalidParameterError, lambda: Parameters.from_literal(12, [40], [], log_scale=30))
    assert _native.cpu_path("portable") == "portable"


def test_encoding(params: Parameters) -> None:
    raised(errors.ShapeError, lambda: params.encode(np.zeros(params.slots + 1)))
    raised(errors.ShapeError, lambda: params.encode(np.zeros((2, 2))))
    raised(errors.ShapeError, lambda: params.encode(1.0))
    for bad in (np.nan, np.inf, -np.inf, complex(0, np.nan)):
        error = raised(errors.DataError, lambda v=bad: params.encode([12345.0, v]))
        assert "value 1 " in str(error)
        assert "12345" not in str(error)
    raised(errors.DataError, lambda: params.encode(np.array(["a"])))
    raised(errors.DataError, lambda: params.encode(np.array([None, 1.0], dtype=object)))
    raised(errors.DataError, lambda: params.encode([[1.0], [1.0, 2.0]]))
    raised(errors.LevelError, lambda: params.encode([1.0], level=3))
    for scale in (0.0, -1.0, np.nan, np.inf):
        raised(errors.ScaleError, lambda s=scale: params.encode([1.0], scale=s))
    for scale in (2.0**60, 2.0**200):
        raised(errors.ScaleError, lambda s=scale: params.encode(np.ones(params.slots), level=0, scale=s))


def test_operands(params: Parameters, secret: SecretKey, evaluator: Evaluator) -> None:
    ct = secret.encrypt(params.encode([1.0]))
    low = evaluator.drop_level(ct, 0)
    scaled = ct.with_scale(2.0**41)
    product = evaluator.mul(ct, ct)
    raised(errors.LevelError, lambda: evaluator.add(ct, low))
    raised(errors.LevelError, lambda: evaluator.drop_level(low, 1))
    raised(errors.LevelError, lambda: evaluator.rescale(low))
    raised(errors.LevelError, lambda: evaluator.mul_plain(ct, params.encode([1.0], level=0)))
    raised(errors.ScaleError, lambda: evaluator.add(ct, scaled))
    raised(errors.ScaleError, lambda: evaluator.add_plain(scaled, params.encode([1.0])))
    raised(errors.ScaleError, lambda: evaluator.mul(low, low))
    raised(errors.ScaleError, lambda: ct.with_scale(-1.0))
    raised(errors.InvalidParameterError, lambda: evaluator.mul(product, ct))
    raised(errors.InvalidParameterError, lambda: evaluator.rotate(product, 1))
    raised(errors.InvalidParameterError, lambda: evaluator.relinearize(ct))
    raised(errors.InvalidParameterError, lambda: ct.residues(2))
    raised(errors.DataError, lambda: evaluator.add_const(ct, float("nan")))
    raised(errors.ShapeError, lambda: evaluator.linear_combinations([ct], np.ones((1, 2)), scale=2.0**30))
    raised(errors.ShapeError, lambda: evaluator.linear_combinations([ct], np.ones(2), scale=2.0**30))
    raised(errors.DataError, lambda: evaluator.linear_combinations([ct], np.array([["x"]]), scale=2.0**30))
    raised(errors.DataError, lambda: evaluator.linear_combinations([ct], [[np.nan]], scale=2.0**30))


def test_keys(params: Parameters, secret: SecretKey, evaluator: Evaluator) -> None:
    ct = secret.encrypt(params.encode([1.0]))
    missing = raised(errors.MissingKeyError, lambda: evaluator.rotate(ct, 3))
    assert "rotation by 3" in str(missing)
    raised(errors.MissingKeyError, lambda: evaluator.rotate(ct, 2))  # made for level 1
    raised(errors.MissingKeyError, lambda: evaluator.conjugate(ct))
    bare = Evaluator(params)
    raised(errors.MissingKeyError, lambda: bare.mul_relin_rescale(ct, ct))
    raised(errors.MissingKeyError, lambda: bare.rotate_hoisted(ct, [1]))
    raised(errors.LevelError, lambda: secret.evaluation_keys(rotations={1: 3}))
    raised(errors.InvalidParameterError, lambda: SecretKey.insecure_from_seed(params, b"short"))
    for threads in (0, -1, 257):
        raised(errors.InvalidParameterError, lambda t=threads: Evaluator(params, threads=t))
        raised(errors.InvalidParameterError, lambda t=threads: secret.evaluation_keys(threads=t))
    without = Parameters.insecure_from_literal(10, [50, 40], [], log_scale=40)
    key = SecretKey.generate(without)
    raised(errors.InvalidParameterError, lambda: key.evaluation_keys(rotations=[1]))


def test_linear_maps(params: Parameters) -> None:
    def build(diagonals: dict[int, np.ndarray], *, level: int = 2, baby: int = 2) -> LinearMap:
        return LinearMap(params, diagonals, level=level, scale=2.0**40, baby=baby)

    ones = np.ones(params.slots)
    raised(errors.InvalidParameterError, lambda: build({}))
    raised(errors.InvalidParameterError, lambda: build({0: ones}, baby=0))
    raised(errors.LevelError, lambda: build({0: ones}, level=3))
    raised(errors.DataError, lambda: build({0: ones * np.nan}))
    raised(errors.ShapeError, lambda: build({0: np.ones((2, 2))}))


def test_objects_of_other_parameters(params: Parameters, secret: SecretKey, evaluator: Evaluator) -> None:
    other = Parameters.insecure_from_literal(10, [50, 40, 40], [50], log_scale=39)
    foreign = SecretKey.generate(other)
    pt, ct = other.encode([1.0]), foreign.encrypt(other.encode([1.0]))
    own = secret.encrypt(params.encode([1.0]))
    for call in (
        lambda: params.decode(pt),
        lambda: secret.encrypt(pt),
        lambda: secret.public_key().encrypt(pt),
        lambda: secret.decrypt(ct),
        lambda: evaluator.add(own, ct),
        lambda: evaluator.add_plain(own, pt),
        lambda: evaluator.rescale(ct),
        lambda: Evaluator(params, foreign.evaluation_keys()),
    ):
        raised(errors.InvalidParameterError, call)
    for read, data in (
        (_native.Ciphertext.from_bytes, ct.to_bytes()),
        (SecretKey.from_bytes, foreign.reveal_bytes()),
        (PublicKey.from_bytes, foreign.public_key().to_bytes()),
        (EvaluationKeys.from_bytes, foreign.evaluation_keys().to_bytes()),
    ):
        raised(errors.PeerIncompatibleError, lambda r=read, d=data: r(params, d))


def test_integers_out_of_range(params: Parameters, secret: SecretKey, evaluator: Evaluator) -> None:
    ct = secret.encrypt(params.encode([1.0]))
    ones = np.ones(params.slots)
    for call in (
        lambda: params.encode([1.0], level=-1),
        lambda: params.dnum(-1),
        lambda: evaluator.drop_level(ct, -1),
        lambda: secret.evaluation_keys(rotations={1: -1}),
        lambda: secret.evaluation_keys(conjugate=-1),
        lambda: secret.evaluation_keys(relinearize=-1),
        lambda: LinearMap(params, {0: ones}, level=-1, scale=2.0**40, baby=1),
    ):
        raised(errors.LevelError, call)
    for call in (
        lambda: Parameters.from_literal(-1, [40], [], log_scale=30),
        lambda: Parameters.from_literal(13, [-40], [], log_scale=30),
        lambda: Parameters.from_literal(13, [40], [2**70], log_scale=30),
        lambda: Parameters.from_literal(13, [40], [], log_scale=2**33),
        lambda: evaluator.rotate(ct, 2**64),
        lambda: evaluator.rotate_hoisted(ct, [-(2**64)]),
        lambda: LinearMap(params, {0: ones}, level=0, scale=2.0**40, baby=-1),
        lambda: ct.residues(-1),
    ):
        raised(errors.InvalidParameterError, call)
    with pytest.raises(TypeError):
        evaluator.rotate(ct, 1.0)  # type: ignore[arg-type]
