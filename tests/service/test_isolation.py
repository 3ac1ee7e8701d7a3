"""Client A never uses, sees, resumes, removes or receives what is B's: every way we could think of, on a real one."""

from __future__ import annotations

import concurrent.futures
import hashlib
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tacit.backends.ckks.envelope import open_envelope
from tacit.errors import TacitError
from tacit.service.tokens import add_token, new_token
from tests.service.client import Client, Refusal, Server, serving
from tests.service.models import data, estimator, package, write_package

SAMPLE = data()[:1]
CLEAR = estimator().predict_proba(SAMPLE)


class World:
    """One server with two models that are the same file, and three tokens of which two clients share one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = {name: new_token() for name in ("shared", "mallory")}
        for name, token in self.tokens.items():
            add_token(folder / "tokens", name, token)
        write_package(folder, "risk")
        write_package(folder, "twin")

    def client(self, server: Server, who: str = "shared", **options: object) -> Client:
        return Client(server, self.tokens[who], **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    folder = world.folder
    words = (
        str(folder / "risk.tacit"), str(folder / "twin.tacit"), "--tokens", str(folder / "tokens"),
        "--store", str(folder / "store"), "--rate", "5000", "--grpc-listen", "127.0.0.1:0",
    )  # fmt: skip
    with serving(folder, *words, config=folder / "config") as running:
        yield running


@pytest.fixture
def alice(world: World, server: Server) -> Client:
    """A client whose keys are there, and whose predictions are right at the end of every test."""
    client = world.client(server)
    sent = client.send()
    assert isinstance(sent, httpx.Response), sent
    assert sent.status_code == 201
    return client


@pytest.fixture(params=["same token", "other token", "same secret, other token", "no token"])
def attacker(request: pytest.FixtureRequest, world: World, server: Server, alice: Client) -> Client:
    """Somebody else, with as much of what is alice's as the name says; has keys of their own where that is possible."""
    client = world.client(server, "shared" if request.param == "same token" else "mallory")
    if request.param == "same secret, other token":
        client.secret = alice.secret
    if request.param == "no token":
        client.token = None
    else:
        assert isinstance(client.send(), httpx.Response)
    return client


def is_right(client: Client) -> None:
    assert np.allclose(client.predict(SAMPLE), CLEAR, atol=0.01)


def test_what_is_anothers_looks_absent(alice: Client, attacker: Client) -> None:
    """The answer about keys of another client is, to the byte, the answer about keys that never were."""
    absent = hashlib.sha256(b"never uploaded").hexdigest()
    for method in ("HEAD", "DELETE"):
        about_hers = attacker.call(method, f"/v2/keys/{alice.digest}")
        about_none = attacker.call(method, f"/v2/keys/{absent}")
        assert isinstance(about_hers, Refusal)
        assert about_hers == about_none
        assert about_hers.status == (404 if attacker.token else 401)
    found = attacker.infer(attacker.frame(SAMPLE, key=alice.digest)[0])
    none = attacker.infer(attacker.frame(SAMPLE, key=absent)[0])
    assert isinstance(found, Refusal)
    assert found == none
    assert found.code == ("missing-key" if attacker.token else "access-denied")
    is_right(alice)


def test_an_upload_of_another_is_not_resumed(world: World, server: Server, attacker: Client) -> None:
    victim = world.client(server)
    assert isinstance(victim.send(until=1000), httpx.Response)
    found = attacker.send(victim.keys, offset=1000)
    none = attacker.send(secrets.token_bytes(len(victim.keys)), offset=1000)
    assert isinstance(found, Refusal)
    assert found == none
    if attacker.token is not None:
        assert found.status == 409
        assert found.rest[0]["upload-offset"] == "0"
        # The same digest under another owner is another upload, and touches nothing of the victim's.
        assert isinstance(attacker.send(victim.keys, until=500), httpx.Response)
    state = victim.head(victim.digest)
    assert isinstance(state, httpx.Response)
    assert state.headers["upload-offset"] == "1000"
    assert isinstance(victim.send(offset=1000), httpx.Response)
    is_right(victim)


def test_the_same_keys_of_two_owners_are_two(alice: Client, attacker: Client) -> None:
    """Somebody has a copy of alice's message of keys: it becomes their own entry, and removing it removes theirs."""
    if attacker.token is None:
        pytest.skip("without a token nothing can be stored")
    assert isinstance(attacker.send(alice.keys), httpx.Response)
    assert isinstance(attacker.call("DELETE", f"/v2/keys/{alice.digest}"), httpx.Response)
    assert isinstance(attacker.call("DELETE", f"/v2/keys/{alice.digest}"), Refusal)
    is_right(alice)


def test_frames_of_another_are_of_no_use(alice: Client, attacker: Client) -> None:
    """A captured request, sent by somebody else: it is not theirs, unless they know both of hers."""
    captured, id = alice.frame(SAMPLE)
    refused = attacker.infer(captured)
    assert isinstance(refused, Refusal)
    same_secret = attacker.secret == alice.secret
    expected = "missing-key" if same_secret else "malformed-message"
    assert refused.code == (expected if attacker.token else "access-denied")
    answered = alice.infer(captured)  # it was not used up by that
    assert isinstance(answered, bytes)
    assert alice.opened(answered, id)


def test_the_body_of_another_is_not_computed(alice: Client, attacker: Client) -> None:
    """Alice's ciphertexts in the attacker's frame, under the attacker's keys or under hers."""
    body = alice.owner.encrypt(SAMPLE)
    for key in (attacker.digest, alice.digest):
        refused = attacker.infer(attacker.frame(SAMPLE, body=body, key=key)[0])
        assert isinstance(refused, Refusal)
        assert refused.code == ("missing-key" if attacker.token else "access-denied")
    is_right(alice)


def test_keys_under_the_name_of_another(world: World, server: Server, alice: Client) -> None:
    """The name of a key inside messages is no secret: keys that carry alice's name take nothing over."""
    name = open_envelope(alice.keys, "keys")["key"]
    for token in ("shared", "mallory"):
        impostor = world.client(server, token)
        impostor.owner._key_id = name
        impostor.keys = impostor.owner.evaluation_keys()
        assert isinstance(impostor.send(), httpx.Response)
        for _ in range(2):
            is_right(impostor)
            is_right(alice)
        refused = impostor.infer(
            impostor.frame(SAMPLE, body=alice.owner.encrypt(SAMPLE), key=alice.digest)[0]
        )
        assert isinstance(refused, Refusal)
        # Her ciphertexts under the impostor's keys of the same name give an answer, which is noise to everybody.
        message, id = impostor.frame(SAMPLE, body=alice.owner.encrypt(SAMPLE))
        answer = impostor.infer(message)
        if isinstance(answer, bytes):
            with pytest.raises(TacitError):
                impostor.owner.decrypt(impostor.opened(answer, id))
    is_right(alice)


def test_answers_are_for_their_owner_and_request(alice: Client, attacker: Client) -> None:
    (first, first_id), (second, second_id) = alice.frame(SAMPLE), alice.frame(SAMPLE)
    answers = [alice.infer(first), alice.infer(second)]
    for answer, id in zip(answers, (second_id, first_id), strict=True):
        assert isinstance(answer, bytes)
        with pytest.raises(TacitError):
            alice.opened(answer, id)
        if attacker.secret != alice.secret:
            with pytest.raises(TacitError):
                attacker.opened(answer, id)
        refused = alice.infer(answer)  # an answer sent back as a request
        assert isinstance(refused, Refusal)
        assert refused.code == "malformed-message"
    for answer, id in zip(answers, (first_id, second_id), strict=True):
        assert isinstance(answer, bytes)
        assert np.allclose(alice.owner.decrypt(alice.opened(answer, id)), CLEAR, atol=0.01)


@pytest.mark.parametrize(
    ("change", "model", "code"),
    [
        (
            {"model": "twin"},
            "twin",
            "missing-key",
        ),  # keys are bound to the model, even if it is the same file
        ({"model": "twin"}, "risk", "malformed-message"),
        ({}, "twin", "malformed-message"),
        ({"plan": "00" * 32}, "risk", "not-served"),
        ({"ago_s": 600}, "risk", "clock-skew"),
        ({"ago_s": -600}, "risk", "clock-skew"),
        ({"ago_s": 100}, "risk", "busy"),
        ({"body": b""}, "risk", "malformed-message"),
        ({"body": secrets.token_bytes(5000)}, "risk", "malformed-message"),
    ],
)
def test_rebound_requests(alice: Client, change: dict[str, object], model: str, code: str) -> None:
    refused = alice.infer(alice.frame(SAMPLE, **change)[0], model=model)  # type: ignore[arg-type]
    assert isinstance(refused, Refusal)
    assert refused.code == code
    is_right(alice)


def test_keys_of_another_plan(world: World, server: Server, alice: Client) -> None:
    """Keys made for one plan are neither accepted for another nor used with it."""
    other = world.client(server, plan=1)
    assert other.plan != alice.plan
    refused = alice.send(**{"Tacit-Plan": other.plan})
    assert isinstance(refused, Refusal)
    refused = other.send(alice.keys)
    assert isinstance(refused, Refusal)
    assert refused.code in ("peer-incompatible", "malformed-message", "too-large")
    refused = alice.infer(alice.frame(SAMPLE, plan=other.plan)[0])
    assert isinstance(refused, Refusal)
    assert refused.code == "missing-key"
    assert isinstance(other.send(), httpx.Response)
    is_right(alice)


def test_a_request_is_answered_once(alice: Client) -> None:
    message, id = alice.frame(SAMPLE)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(alice.infer, [message] * 8))
    answers = [answer for answer in found if isinstance(answer, bytes)]
    assert len(answers) == 1
    assert {refusal.code for refusal in found if isinstance(refusal, Refusal)} == {"replay"}
    assert alice.opened(answers[0], id)


@pytest.mark.parametrize("at", [0, 8, 9, 11, 15, 40, 70, 95, 104, 110, 400, -40, -1])
def test_changed_frames(alice: Client, at: int) -> None:
    message = bytearray(alice.frame(SAMPLE)[0])
    message[at] ^= 1
    refused = alice.infer(bytes(message))
    assert isinstance(refused, Refusal)
    assert refused.code in ("malformed-message", "peer-incompatible")


@pytest.mark.parametrize("header", ["", "x", "A" * 42, "A" * 43 + "=", "*" * 43])
def test_malformed_secrets(alice: Client, header: str) -> None:
    for call in (("HEAD", f"/v2/keys/{alice.digest}"), ("DELETE", f"/v2/keys/{alice.digest}")):
        refused = alice.call(*call, **{"Tacit-Client": header})
        assert isinstance(refused, Refusal)
        assert refused.status == 400


@pytest.mark.parametrize("token", ["x", "tacit_", "tacit_" + "A" * 43])
def test_wrong_tokens(alice: Client, token: str) -> None:
    right, alice.token = alice.token, token
    for method, path in (
        ("GET", "/v2"),
        ("GET", "/v2/models/risk/plans"),
        ("HEAD", f"/v2/keys/{alice.digest}"),
    ):
        refused = alice.call(method, path)
        assert isinstance(refused, Refusal)
        assert refused.status == 401
        assert refused.rest[0]["www-authenticate"].startswith("Bearer")
    refused = alice.infer(alice.frame(SAMPLE)[0])
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (401, "access-denied")
    alice.token = right
    is_right(alice)


def test_damaged_keys_are_not_kept(world: World, server: Server) -> None:
    """Bytes that are not keys, under their right digest: refused by the worker, and gone."""
    client = world.client(server)
    for wrong in (client.keys[:-1], client.keys[:-20] + bytes(20), secrets.token_bytes(3000)):
        refused = client.send(wrong)
        assert isinstance(refused, Refusal)
        assert refused.status == 400
        assert isinstance(client.head(hashlib.sha256(wrong).hexdigest()), Refusal)
    assert isinstance(client.send(), httpx.Response)
    is_right(client)


def test_removed_keys_are_gone(alice: Client) -> None:
    is_right(alice)
    assert isinstance(alice.call("DELETE", f"/v2/keys/{alice.digest}"), httpx.Response)
    refused = alice.infer(alice.frame(SAMPLE)[0])
    assert isinstance(refused, Refusal)
    assert refused.code == "missing-key"
    assert isinstance(alice.send(), httpx.Response)
    is_right(alice)


def test_the_disk_and_the_log_hold_nothing_that_lets_anybody_in(world: World, alice: Client) -> None:
    is_right(alice)
    kept = [path for path in (world.folder / "store").rglob("*") if path.is_file()]
    assert len(kept) > 3
    secret_forms = [alice.secret, alice.secret.hex().encode(), alice.token.encode() if alice.token else b"?"]
    secret_forms += [alice.owner.reveal_secret()[:64]]
    for path in [*kept, world.folder / "log", world.folder / "tokens"]:
        content = path.read_bytes()
        assert not [form for form in secret_forms if form in content], path
    for path in kept:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_the_same_over_grpc(world: World, alice: Client, attacker: Client) -> None:
    """The other protocol leads to the same checks."""
    grpc = pytest.importorskip("tritonclient.grpc")
    from tritonclient.utils import InferenceServerException

    authority = str(world.folder / "config" / "tacit" / "dev" / "authority.pem")

    def infer(client: Client, message: bytes) -> bytes:
        headers = {"tacit-client": client.header}
        if client.token is not None:
            headers["authorization"] = f"Bearer {client.token}"
        given = grpc.InferInput("request", [1], "BYTES")
        given.set_data_from_numpy(np.array([message], dtype=object))
        with grpc.InferenceServerClient(client.server.grpc, ssl=True, root_certificates=authority) as triton:
            return bytes(triton.infer("risk", [given], headers=headers).as_numpy("response")[0])

    captured, id = alice.frame(SAMPLE)
    foreign = attacker.frame(SAMPLE, key=alice.digest)[0]
    for message in (captured, foreign):
        with pytest.raises(InferenceServerException) as refused:
            infer(attacker, message)
        expected = ("NOT_FOUND", "INVALID_ARGUMENT") if attacker.token else ("UNAUTHENTICATED",)
        assert any(word in str(refused.value.status()) for word in expected), refused.value
    answer = infer(alice, captured)
    assert np.allclose(alice.owner.decrypt(alice.opened(answer, id)), CLEAR, atol=0.01)
    with pytest.raises(InferenceServerException, match="came before"):
        infer(alice, captured)
    refusal = alice.infer(captured)  # one memory of requests for both protocols
    assert isinstance(refusal, Refusal)
    assert refusal.code == "replay"


def test_models_of_the_test_have_two_plans() -> None:
    assert len(package().offers) >= 2
