"""Two roles that exchange bytes: what each holds, and what each refuses."""

from __future__ import annotations

import gc
import types
from typing import Any

import cbor2
import numpy as np
import pytest

from tacit import _native
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.envelope import open_envelope, read_cbor, seal
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.public import PublicPlan
from tacit.errors import (
    DataError,
    DataRangeError,
    InsecureParameterError,
    MalformedMessageError,
    MissingKeyError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PrecisionError,
    ShapeError,
    TacitError,
)
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of

X = samples(60, 8)


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return candidate_of(dense((8, 3), last="Softmax"), X).compile()


@pytest.fixture
def provider(compiled: Compiled) -> Provider:
    return Provider(compiled)


@pytest.fixture
def owner(provider: Provider) -> Owner:
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    return owner


def reachable(root: object) -> list[object]:
    """Everything that an object holds, however deep; modules, classes and functions left out."""
    seen: dict[int, object] = {}
    todo = [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, types.ModuleType | type | types.FunctionType):
            continue
        seen[id(item)] = item
        todo.extend(gc.get_referents(item))
    return list(seen.values())


def test_the_provider_holds_nothing_that_decrypts(provider: Provider, owner: Owner) -> None:
    provider.run(owner.encrypt(X[:1]))
    held = reachable(provider)
    assert any(isinstance(item, _native.Evaluator) for item in reachable(provider._keys)) or len(held) > 100
    assert not any(isinstance(item, _native.SecretKey | Owner) for item in held)
    assert any(isinstance(item, _native.SecretKey) for item in reachable(owner)), "the search finds keys"


def test_the_public_plan_holds_no_weight(compiled: Compiled) -> None:
    data = compiled.public.to_bytes()
    for affine in compiled.model.affines:
        for number in np.concatenate([matrix.data for matrix in affine.matrices])[:50]:
            assert np.float64(number).tobytes() not in data


def test_plans_of_long_chains_are_read() -> None:
    """More than 1024 bits of moduli: no float holds their product."""
    graph = dense((4, *(2,) * 15, 2), "Sigmoid")
    plan = candidate_of(graph, samples(60, 4), max_error=0.05).compile().public
    assert sum(plan.log_q) > 1024
    assert PublicPlan.from_bytes(plan.to_bytes()).plan_id == plan.plan_id


def test_a_bundle_is_the_provider_again(provider: Provider, owner: Owner) -> None:
    again = Provider.from_bytes(provider.to_bytes())
    assert again.public_plan() == provider.public_plan()
    again.load_keys(owner.evaluation_keys())
    assert owner.decrypt(again.run(owner.encrypt(X[:2]))).shape == (2, 3)


def test_keys_that_the_caller_keeps(provider: Provider, owner: Owner) -> None:
    """A service keeps keys by their owner: the name inside a message chooses nothing."""
    other = Owner(provider.public_plan())
    before = set(provider._keys)
    own, foreign = (provider.read_keys(role.evaluation_keys()) for role in (owner, other))
    assert set(provider._keys) == before and own.memory_bytes > 0
    assert owner.decrypt(provider.run(owner.encrypt(X[:2]), keys=own)).shape == (2, 3)
    with pytest.raises(MissingKeyError):
        provider.run(owner.encrypt(X[:1]), keys=foreign)


def test_a_checkpoint_ends_a_run(compiled: Compiled, provider: Provider, owner: Owner) -> None:
    """It is called before every stage, and what it raises passes through."""
    keys, stages = provider.read_keys(owner.evaluation_keys()), len(compiled.program().stages)
    calls: list[int] = []
    provider.run(owner.encrypt(X[:1]), keys=keys, checkpoint=lambda: calls.append(1))
    assert len(calls) == stages

    def stop_at_the_last() -> None:
        calls.append(1)
        if len(calls) == 2 * stages:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        provider.run(owner.encrypt(X[:1]), keys=keys, checkpoint=stop_at_the_last)
    assert len(calls) == 2 * stages


def test_no_bit_of_a_bundle_may_change() -> None:
    good = candidate_of(dense((100, 10)), samples(60, 100)).compile().to_bytes()
    assert Compiled.from_bytes(good).to_bytes() == good
    for position in np.random.default_rng(0).integers(0, len(good), 200):
        damaged = bytearray(good)
        damaged[position] ^= 1
        with pytest.raises(TacitError):
            Compiled.from_bytes(bytes(damaged))


@pytest.mark.parametrize("change", [{"rescale_last": 1}, {"keeps_maps": "x"}, {"keeps_maps": None}, "matrix"])
def test_a_bundle_of_other_fields_is_no_bundle(compiled: Compiled, change: Any) -> None:
    fields = open_envelope(compiled.to_bytes(), "bundle")
    if change == "matrix":
        nodes = [list(node) for node in fields["nodes"]]
        nodes[0][3] = [nodes[0][3][0][:1]]  # its shape without its entries
        change = {"nodes": nodes}
    with pytest.raises(MalformedMessageError):
        Compiled.from_bytes(seal("bundle", {**fields, **change}))


@pytest.mark.parametrize("salt", [1 << 40, True, None, "0" * 16, b"", bytes(15), [0] * 16])
def test_a_bundle_has_a_salt_of_bytes(compiled: Compiled, salt: object) -> None:
    """A number in its place would make as many bytes, sealed with a digest that is right."""
    fields = open_envelope(compiled.to_bytes(), "bundle")
    with pytest.raises(MalformedMessageError):
        Compiled.from_bytes(seal("bundle", {**fields, "salt": salt}))


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.full((1, 8), np.nan), DataError),
        (np.full((1, 8), np.inf), DataError),
        (np.array([["a"] * 8]), DataError),
        ([[1, 2], [3]], DataError),
        (np.zeros((1, 7)), ShapeError),
        (np.zeros(8), ShapeError),
        (np.zeros((0, 8)), ShapeError),
        (np.zeros((1000, 8)), ShapeError),
        (np.full((1, 8), 50.0), DataRangeError),
    ],
    ids=["nan", "infinity", "text", "ragged", "narrow", "flat", "none", "many", "outside"],
)
def test_bad_samples_are_refused(owner: Owner, x: object, error: type[TacitError]) -> None:
    with pytest.raises(error):
        owner.encrypt(x)


def test_range_errors_name_the_feature_and_not_the_value(owner: Owner) -> None:
    x = X[:3].copy()
    x[1, 4] = 77.125
    with pytest.raises(DataRangeError) as caught:
        owner.encrypt(x)
    assert "feature 4 of sample 1" in str(caught.value)
    assert "77" not in str(caught.value)
    assert "recalibrate" in caught.value.hint


def test_a_request_is_answered_once(provider: Provider, owner: Owner) -> None:
    response = provider.run(owner.encrypt(X[:1]))
    owner.decrypt(response)
    with pytest.raises(PeerIncompatibleError, match="no open request"):
        owner.decrypt(response)


def test_a_swapped_response_is_refused(provider: Provider, owner: Owner) -> None:
    first, second = owner.encrypt(X[:1]), owner.encrypt(X[1:2])
    fields = open_envelope(provider.run(first), "response")
    fields["id"] = bytes(16)
    with pytest.raises(PeerIncompatibleError):
        owner.decrypt(seal("response", fields))
    assert owner.decrypt(provider.run(second)).shape == (1, 3)


def test_keys_plans_and_owners_do_not_mix(provider: Provider, owner: Owner) -> None:
    stranger = Owner(provider.public_plan())
    with pytest.raises(MissingKeyError):
        provider.run(stranger.encrypt(X[:1]))
    response = provider.run(owner.encrypt(X[:1]))
    with pytest.raises(PeerIncompatibleError, match="another key"):
        stranger.decrypt(response)
    other = Provider(candidate_of(dense((8, 3), seed=5), X).compile())
    with pytest.raises(PeerIncompatibleError, match="another plan"):
        other.load_keys(owner.evaluation_keys())
    with pytest.raises(PeerIncompatibleError, match="another plan"):
        other.run(owner.encrypt(X[:1]))
    foreign = Owner(other.public_plan())
    with pytest.raises(PeerIncompatibleError, match="another plan"):
        foreign.decrypt(response)


def test_keys_of_other_parameters_are_refused(provider: Provider) -> None:
    params = _native.Parameters.from_literal(12, [30, 25], [40], log_scale=25)
    body = _native.SecretKey.generate(params).evaluation_keys(rotations=[1]).to_bytes()
    plan = bytes.fromhex(PublicPlan.from_bytes(provider.public_plan()).plan_id)
    with pytest.raises(PeerIncompatibleError):
        provider.load_keys(seal("keys", {"plan": plan, "key": bytes(16), "body": body}))


def test_keys_that_lack_a_rotation_are_refused(provider: Provider, owner: Owner) -> None:
    plan = owner.plan
    few = owner._secret.evaluation_keys(rotations=dict(list(plan.rotations.items())[:-1]))
    message = {"plan": bytes.fromhex(plan.plan_id), "key": bytes(16), "body": few.to_bytes()}
    with pytest.raises(PeerMisbehavedError, match="lack 1 rotations"):
        provider.load_keys(seal("keys", message))


@pytest.mark.parametrize("what", ["request", "response", "keys", "plan"])
def test_damaged_bytes_are_refused(provider: Provider, owner: Owner, what: str) -> None:
    request = owner.encrypt(X[:1])
    good = {
        "request": request,
        "response": provider.run(request),
        "keys": owner.evaluation_keys(),
        "plan": provider.public_plan(),
    }[what]

    def read(data: bytes) -> None:
        if what == "request":
            provider.run(data)
        elif what == "response":
            owner.decrypt(data)
        elif what == "keys":
            provider.load_keys(data)
        elif PublicPlan.from_bytes(data).plan_id != owner.plan.plan_id:
            raise MalformedMessageError("a different plan, with a different name")

    rng = np.random.default_rng(0)
    cuts = [0, 1, 2, len(good) // 2, len(good) - 1]
    for damaged in [good[:cut] for cut in cuts] + [good + b"\0", b"\xff" * 50, bytes(1000)]:
        with pytest.raises(PeerError):
            read(damaged)
    for position in [*range(40), *rng.integers(0, len(good), 60).tolist(), *range(len(good) - 40, len(good))]:
        damaged = bytearray(good)
        damaged[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(PeerError):
            read(bytes(damaged))


def test_wrong_numbers_of_ciphertexts_are_refused(provider: Provider, owner: Owner) -> None:
    fields = open_envelope(owner.encrypt(X[:1]), "request")
    for parts in ([], fields["ciphertexts"] * 100, ["text"], "text", [b""]):
        with pytest.raises(PeerError):
            provider.run(seal("request", {**fields, "ciphertexts": parts}))


def test_a_result_of_another_program_is_not_returned(provider: Provider, owner: Owner) -> None:
    """An answer at the right level and scale that encrypts slots which no honest run gives."""
    plan = owner.plan
    request = owner.encrypt(X[:1])
    fields = open_envelope(provider.run(request), "response")
    params, secret = owner._params, owner._secret
    high = float(plan.high.max()) / plan.unit
    for values in (
        high / 2 * (-1.0) ** np.arange(params.slots),
        np.full(params.slots, 0.5j * high),
        np.full(params.slots, 1.5 * high),
    ):
        forged = secret.encrypt(params.encode(values.astype(complex), level=0, scale=plan.output_scale))
        owner._pending[fields["id"]] = (1, 0.0, 0)
        with pytest.raises(PrecisionError, match="fails its checks"):
            owner.decrypt(seal("response", {**fields, "ciphertexts": [forged.to_bytes()]}))


def test_insecure_plans_are_refused(compiled: Compiled) -> None:
    fields = read_cbor(compiled.public.to_bytes())
    fields["parameters"]["log_q"] = [50] * len(fields["parameters"]["log_q"])
    fields["parameters"]["log_p"] = [50, 50, 50]
    with pytest.raises(InsecureParameterError):
        Owner(cbor2.dumps(fields, canonical=True))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch", 0),
        ("batch", "many"),
        ("scale", -1.0),
        ("scale", float("nan")),
        ("error_bound", 0.0),
        ("input_shape", [9]),
        ("level", 5),
        ("layout", "sideways"),
        ("radius", bytes(64)),
        ("radius", b"\0" * 7),
        ("mean", np.full(8, np.inf).tobytes()),
        ("low", bytes(8)),
        ("tail", "tacit graph 1\n"),
        ("rotations", [[0, 0]]),
        ("parameters", {"log_n": 99, "log_q": [], "log_p": [], "log_scale": 1}),
        (
            "input",
            {"size": 8, "slots": 2048, "period": 6, "block": 8, "copies": 1, "step": 0, "folded": False},
        ),
        ("sights", [["x"]]),
        ("assumptions", None),
    ],
)
def test_plans_that_make_no_sense_are_refused(compiled: Compiled, field: str, value: object) -> None:
    fields = read_cbor(compiled.public.to_bytes())
    with pytest.raises(MalformedMessageError):
        PublicPlan.from_bytes(cbor2.dumps({**fields, field: value}, canonical=True))
    del fields[field]
    with pytest.raises(MalformedMessageError):
        PublicPlan.from_bytes(cbor2.dumps(fields, canonical=True))


def test_plans_that_make_the_owner_allocate_are_refused(compiled: Compiled) -> None:
    """A tail may not blow a few scores up, nor may a shape, a scale or a list of keys."""
    fields = cbor2.loads(compiled.public.to_bytes())
    pad = 'node "bomb" = Pad("s") {pads=[0, 0, 0, 134217728], value=0x0.0p+0} ""\n'
    size = compiled.public.output.size
    tail = f'input "s" float64 [?, {size}] owner\n{pad}output "bomb"\nrole "output" "bomb"\n'
    bombs: dict[str, object] = {
        "tail": f'tacit graph 1\nname "bomb"\n{tail}',
        "input_shape": [1 << 20] * 1000,
        "rotations": [[k, 0] for k in range(1, 65536)],
        "output_scale": 1e-300,
    }
    for field, value in bombs.items():
        with pytest.raises(MalformedMessageError, match=r"numbers of one request|dimensions|keys|scale"):
            PublicPlan.from_bytes(cbor2.dumps({**fields, field: value}, canonical=True))


def test_forgotten_keys_compute_nothing(provider: Provider) -> None:
    owner = Owner(provider.public_plan())
    name = provider.load_keys(owner.evaluation_keys())
    provider.forget_keys("no name")
    assert provider.run(owner.encrypt(X[:1]))
    provider.forget_keys(name)
    with pytest.raises(MissingKeyError):
        provider.run(owner.encrypt(X[:1]))


def test_plans_of_endless_requests_are_refused() -> None:
    """No owner is made to encrypt more than a message may hold."""
    plan = candidate_of(dense((8, 3)), X, layout="throughput").compile().public
    fields = cbor2.loads(plan.to_bytes())
    fields["input"]["size"] = 1 << 20
    with pytest.raises(MalformedMessageError, match="a request of the plan"):
        PublicPlan.from_bytes(cbor2.dumps(fields, canonical=True))


def test_a_plan_of_another_version_is_incompatible(compiled: Compiled) -> None:
    fields = read_cbor(compiled.public.to_bytes())
    version = fields["v"] - 1
    with pytest.raises(PeerIncompatibleError):
        PublicPlan.from_bytes(cbor2.dumps({**fields, "v": version}, canonical=True))


def test_the_commitment_hides_and_binds(compiled: Compiled) -> None:
    candidate = candidate_of(dense((8, 3), last="Softmax"), X)
    one, two = candidate.compile(salt=bytes(16)), candidate.compile(salt=b"1" * 16)
    assert one.public.commitment != two.public.commitment
    assert one.public.plan_id == candidate.compile(salt=bytes(16)).public.plan_id


def test_secrets_do_not_show(owner: Owner, provider: Provider, compiled: Compiled) -> None:
    for item in (owner, provider, compiled, compiled.public):
        assert len(repr(item)) < 100
