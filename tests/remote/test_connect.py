"""One call to predict against a provider that is honest, forgetful, busy or a cheat."""

from __future__ import annotations

import pathlib
import socket
from typing import Any

import numpy as np
import pandas
import pytest
from sklearn.linear_model import LogisticRegression

import tacit
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.provider import Provider
from tacit.errors import (
    BusyError,
    ClockSkewError,
    ConnectError,
    DataError,
    DataRangeError,
    InvalidParameterError,
    KeyFileError,
    MalformedMessageError,
    MissingKeyError,
    NotServedError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PeerTimeoutError,
    PlanChangedError,
    PlanRefusedError,
    PrecisionError,
    ShapeError,
    TacitError,
    UsageError,
    WorkerLostError,
)
from tacit.remote.connect import Remote
from tests.patience import SOON_S, soon
from tests.remote.conftest import X
from tests.remote.provider import MODEL, Scripted

BEARER = "sesame"


def connect(server: Scripted, ring: pathlib.Path, **options: Any) -> Remote:
    return tacit.connect(f"{server.url}/{MODEL}", keyring=ring, **{"threads": 1, **options})


@pytest.fixture(scope="session")
def clear(bundles: tuple[bytes, bytes]) -> np.ndarray:
    """Answers of the compiled model for ``X``, encrypted in this process."""
    provider = Provider(bundles[1])
    owner = tacit.Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    return np.asarray(owner.decrypt(provider.run(owner.encrypt(X))))


def test_answers_are_those_of_the_model(server: Scripted, ring: pathlib.Path, clear: np.ndarray) -> None:
    with connect(server, ring) as remote:
        one, all_ = remote.predict(X[:1]), remote.predict(X)
        assert remote.report is all_.report
    assert np.abs(np.asarray(one) - clear[:1]).max() <= one.report.error_bound + all_.report.error_bound
    assert np.abs(np.asarray(all_) - clear).max() <= 2 * all_.report.error_bound
    assert set(all_.labels) == {"ill", "well"}
    assert one.report.plan_id != all_.report.plan_id, "one row and many take different plans"
    assert all_.report.samples == len(X)
    assert all_.report.key_bytes > 0 < all_.report.bytes_up


def test_keys_are_made_and_sent_once(server: Scripted, ring: pathlib.Path) -> None:
    for _ in range(3):
        with connect(server, ring) as remote:
            remote.predict(X[:1])
            remote.predict(X[1:2])
    assert len(list(ring.glob("*.key"))) == 1
    assert server.count("PATCH", "/v2/keys/") == 1
    assert server.count("POST", "infer") == 6


def test_rows_in_pieces_come_back_in_order(
    server: Scripted, ring: pathlib.Path, bundles: tuple[bytes, bytes], clear: np.ndarray
) -> None:
    latency = Compiled.from_bytes(bundles[0]).public.plan_id
    with connect(server, ring, plan=latency) as remote:
        answer = remote.predict(X[:20])
    assert server.count("POST", "infer") == 20
    assert np.abs(np.asarray(answer) - clear[:20]).max() < 1e-3
    assert answer.report.samples == 20


def test_a_table_gives_a_table(server: Scripted, ring: pathlib.Path) -> None:
    table = pandas.DataFrame(X[:3], columns=list("abcd"), index=["x", "y", "z"])
    with connect(server, ring) as remote:
        found = remote.predict(table)
        marked = remote.predict(table, strict=False)
    assert list(found.columns) == ["label", "probabilities_ill", "probabilities_well"]
    assert list(found.index) == ["x", "y", "z"]
    assert list(marked["within_bound"]) == [True, True, True]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.full((1, 4), np.nan), DataError),
        (np.full((1, 4), 1e6), DataRangeError),
        (np.ones((1, 5)), ShapeError),
        (np.ones(4), ShapeError),
        (np.ones((0, 4)), ShapeError),
        ([["a", "b", "c", "d"]], DataError),
    ],
)
def test_bad_data_makes_no_key_and_sends_nothing(
    server: Scripted, ring: pathlib.Path, bad: Any, error: type[Exception]
) -> None:
    with connect(server, ring) as remote, pytest.raises(error):
        remote.predict(bad)
    assert not list(ring.glob("*.key"))
    assert not server.count("POST", "infer")
    assert not server.count("PATCH", "keys")


def test_secrets_never_cross(server: Scripted, ring: pathlib.Path) -> None:
    """The token crosses in its header only, and the secret key not at all."""
    with connect(server, ring, token=BEARER) as remote:
        remote.predict(X[:1])
        entry = remote.keyring.entries()[0]
        secret = remote.keyring.secrets_of(entry).owner
    uploaded = bytes(next(iter(server.keys.values())))
    assert secret[60:200] not in uploaded
    assert all(headers["authorization"] == f"Bearer {BEARER}" for headers in server.seen)
    assert not any(BEARER in path for _, path in server.calls)
    assert len({headers["x-request-id"] for headers in server.seen}) == len(server.seen)


def test_evicted_keys_are_sent_again(server: Scripted, ring: pathlib.Path) -> None:
    with connect(server, ring) as remote:
        remote.predict(X[:1])
        server.keys.clear()
        server.complete.clear()
        remote.predict(X[:1])
    assert server.count("PATCH", "keys") == 2


def test_keys_that_vanish_every_time_end_in_an_error_and_not_in_a_loop(
    server: Scripted, ring: pathlib.Path
) -> None:
    server.fail = [MissingKeyError("gone") for _ in range(10)]
    with connect(server, ring) as remote, pytest.raises(MissingKeyError, match="as soon as it has them"):
        remote.predict(X[:1])
    assert server.count("POST", "infer") == 2


def test_a_lost_file_of_evaluation_keys_is_made_again(server: Scripted, ring: pathlib.Path) -> None:
    with connect(server, ring) as remote:
        remote.predict(X[:1])
    for path in ring.glob("*.evaluation"):
        path.unlink()
    with connect(server, ring) as remote:
        remote.predict(X[:1])
    assert len(list(ring.glob("*.key"))) == len(list(ring.glob("*.evaluation"))) == 1
    assert len(server.keys) == 2


def test_a_cut_upload_goes_on_where_it_was(
    server: Scripted, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.remote.upload.PIECE_BYTES", 20_000)
    server.cut_upload_after = 7_000
    with connect(server, ring) as remote:
        remote.predict(X[:1])
        length = remote.keyring.entries()[0].keys_bytes
    offsets = [int(h["upload-offset"]) for h in server.seen if "upload-offset" in h]
    assert offsets[0] == 0 and 7_000 in offsets
    assert len(next(iter(server.keys.values()))) == length
    assert len(offsets) <= length // 20_000 + 4


def test_a_slow_line_is_no_failure_as_long_as_it_moves(
    server: Scripted, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.remote.upload.PIECE_BYTES", 20_000)
    server.slow_pieces, server.taken_of_slow = 2, 9_000
    with connect(server, ring) as remote:
        assert remote.predict(X[:1]).shape == (1, 2)
    server.keys.clear()
    server.complete.clear()
    server.slow_pieces, server.taken_of_slow = 2, 0
    with connect(server, ring) as remote, pytest.raises(PeerTimeoutError, match="too slow"):
        remote.predict(X[:1])


def test_an_upload_that_never_ends_is_ended(
    server: Scripted, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that takes one byte of every piece: the owner does not send the keys ten thousand times."""
    monkeypatch.setattr("tacit.remote.upload.PIECE_BYTES", 20_000)
    server.crawls = True
    with connect(server, ring) as remote:
        with pytest.raises(PeerMisbehavedError, match="again and again"):
            remote.prepare()
        length = remote.keyring.entries()[0].keys_bytes
    assert server.count("PATCH", "keys") <= 2 * length // 20_000 + 10


def test_a_lost_connection_is_tried_again_with_a_new_frame(server: Scripted, ring: pathlib.Path) -> None:
    server.drop_predictions = 2
    with connect(server, ring) as remote:
        answer = remote.predict(X[:1])
    assert answer.shape == (1, 2)
    assert server.count("POST", "infer") == 3


def test_a_provider_that_always_breaks_off_is_an_error_soon(server: Scripted, ring: pathlib.Path) -> None:
    server.drop_predictions = 100
    with connect(server, ring) as remote:
        remote._deliver(remote._open(), remote._keys(remote.public_plan()))
        with soon(), pytest.raises(ConnectError, match="lost"):
            remote.predict(X[:1])
    assert server.count("POST", "infer") <= 4


@pytest.mark.parametrize("error", [BusyError("full", retry_after_s=0.01), WorkerLostError("gone")])
def test_a_busy_provider_is_asked_again(server: Scripted, ring: pathlib.Path, error: BusyError) -> None:
    server.fail = [error, error]
    with connect(server, ring) as remote:
        assert remote.predict(X[:1]).shape == (1, 2)
    assert server.count("POST", "infer") == 3


def test_a_provider_that_stays_busy_is_an_error_in_time(server: Scripted, ring: pathlib.Path) -> None:
    server.fail = [BusyError("full", retry_after_s=300.0)] * 10
    with connect(server, ring) as remote:
        remote.prepare()
        remote._timeout_s = 2 * SOON_S
        with soon(), pytest.raises(BusyError) as caught:
            remote.predict(X[:1])
    assert caught.value.retry_after_s == 300.0
    assert server.count("POST", "infer") == 1


def test_a_slow_provider_is_an_error_in_time(server: Scripted, ring: pathlib.Path) -> None:
    with connect(server, ring) as remote:
        remote.predict(X[:1])
        remote._timeout_s = 1.0
        server.delay_s = 2 * SOON_S
        with soon(), pytest.raises(PeerTimeoutError):
            remote.predict(X[:1])


@pytest.mark.parametrize("error", [ClockSkewError("the clocks differ", skew_s=300.0), PeerError("no")])
def test_other_refusals_are_not_repeated(server: Scripted, ring: pathlib.Path, error: PeerError) -> None:
    server.fail = [error]
    with connect(server, ring) as remote, pytest.raises(type(error)) as caught:
        remote.predict(X[:1])
    assert server.count("POST", "infer") == 1
    if isinstance(caught.value, ClockSkewError):
        assert caught.value.skew_s == 300.0


@pytest.mark.parametrize("kind", [PlanRefusedError, PlanChangedError, ConnectError, UsageError])
def test_a_provider_cannot_speak_for_the_owner(
    server: Scripted, ring: pathlib.Path, kind: type[tacit.errors.TacitError]
) -> None:
    """An error that only this side can find is never taken from the other."""
    server.fail = [kind("made up")] * 5
    with connect(server, ring) as remote, pytest.raises(PeerError) as caught:
        remote.predict(X[:1])
    assert type(caught.value) is PeerError
    assert server.count("POST", "infer") == 1


def flip(place: int) -> Any:
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "change", [flip(-1), flip(200), flip(60), lambda d: d[:-1], lambda d: b"", lambda d: d + d]
)
def test_a_changed_answer_is_no_answer_and_no_second_question(
    server: Scripted, ring: pathlib.Path, change: Any
) -> None:
    server.change_answer = change
    with connect(server, ring) as remote, pytest.raises(PeerMisbehavedError):
        remote.predict(X[:1])
    assert server.count("POST", "infer") == 1


def test_the_answer_to_another_question_is_refused(server: Scripted, ring: pathlib.Path) -> None:
    kept: list[bytes] = []

    def first(answer: bytes) -> bytes:
        kept.append(answer)
        return kept[0]

    server.change_answer = first
    with connect(server, ring) as remote:
        remote.predict(X[:1])
        with pytest.raises(PeerMisbehavedError, match="another request"):
            remote.predict(X[1:2])


def test_a_response_of_another_program_gives_no_number_and_no_second_question(
    server: Scripted, ring: pathlib.Path
) -> None:
    """A provider that computes something else, in a frame that is authentic: the owner's checks find it."""
    from tacit.backends.ckks.envelope import open_envelope, seal

    def spoiled(response: bytes) -> bytes:
        fields = open_envelope(response, "response")
        part = fields["ciphertexts"][0]
        fields["ciphertexts"] = [part[:2000] + bytes(8) + part[2008:]]
        return seal("response", fields)

    server.change_response = spoiled
    with connect(server, ring) as remote, pytest.raises((PrecisionError, MalformedMessageError)):
        remote.predict(X[:1])
    assert server.count("POST", "infer") == 1


def test_a_changed_plan_is_refused_until_it_is_accepted(
    server: Scripted, ring: pathlib.Path, bundles: tuple[bytes, bytes]
) -> None:
    with connect(server, ring) as remote:
        remote.predict(X[:1])
        before = remote.trusted_plans()
    assert set(before) == set(server.plans)
    other = tacit.Provider.from_model(
        LogisticRegression().fit(X, X[:, 0] > 0),
        calibration=X,
        check=0,
    )
    new = tacit.PublicPlan.from_bytes(other.public_plan()).plan_id
    server.plans = {new: other}
    with connect(server, ring) as remote:
        with pytest.raises(PlanChangedError, match=new[:12]):
            remote.predict(X[:1])
        assert len(list(ring.glob("*.key"))) == 1, "no key was made for it"
    with connect(server, ring) as remote:
        remote.new_keys()
        assert remote.trusted_plans() == (new,)
        remote.predict(X[:1])
    assert len(list(ring.glob("*.key"))) == 1
    assert server.count("DELETE", "keys") == 1


@pytest.fixture(scope="module")
def another() -> dict[str, Provider]:
    """Plans of another model, by their ids."""
    made = tacit.Provider.from_model(
        LogisticRegression().fit(X, X[:, 0] > 0), calibration=X, check=0, batch=1
    )
    provider = Provider(made.to_bytes())
    return {tacit.PublicPlan.from_bytes(provider.public_plan()).plan_id: provider}


def test_a_renamed_model_is_not_trusted_on_first_use(
    server: Scripted, ring: pathlib.Path, another: dict[str, Provider]
) -> None:
    """The provider says that what was encrypted is clear now, and has another plan under another name."""
    with connect(server, ring) as remote:
        remote.predict(X[:1])
    server.in_the_clear, server.name, honest, server.plans = {MODEL}, f"{MODEL}-ckks", server.plans, another
    with connect(server, ring) as remote, pytest.raises(PlanChangedError):
        remote.predict(X[:1])
    assert len(list(ring.glob("*.key"))) == 1, "no key was made for it"
    assert server.count("POST", "infer") == 1
    server.plans = honest
    with connect(server, ring) as remote:
        remote.predict(X[:1])  # the plan that is trusted, wherever it is
    server.plans = another
    with connect(server, ring) as remote:
        remote.new_keys()
    with connect(server, ring) as remote:
        assert remote.predict(X[:1]).report.plan_id in another
    assert len(list(ring.glob("*.key"))) == 1


def test_the_name_that_was_typed_counts_in_the_other_direction_too(
    server: Scripted, ring: pathlib.Path, another: dict[str, Provider]
) -> None:
    server.in_the_clear, server.name = {MODEL}, f"{MODEL}-ckks"
    with connect(server, ring) as remote:
        remote.predict(X[:1])
    server.in_the_clear, server.name, server.plans = set(), MODEL, another
    with connect(server, ring) as remote, pytest.raises(PlanChangedError):
        remote.predict(X[:1])
    assert server.count("POST", "infer") == 1


@pytest.mark.parametrize("typed", ["", f"/{MODEL}"])
def test_the_only_model_cannot_change_its_name_unseen(
    server: Scripted, ring: pathlib.Path, another: dict[str, Provider], typed: str
) -> None:
    with tacit.connect(f"{server.url}{typed}", keyring=ring, threads=1) as remote:
        remote.predict(X[:1])
    server.models, server.name, server.plans = ["prognosis"], "prognosis", another
    with tacit.connect(server.url, keyring=ring, threads=1) as remote:
        with pytest.raises(PlanChangedError, match="changed"):
            remote.predict(X[:1])
        remote.new_keys()
    with tacit.connect(server.url, keyring=ring, threads=1) as remote:
        assert remote.predict(X[:1]).report.plan_id in another


def test_the_provider_sees_nothing_of_what_decrypts(
    server: Scripted, ring: pathlib.Path, bundles: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight requests, the second answer spoiled: all eight are asked before one is opened, and none again."""
    latency = Compiled.from_bytes(bundles[0]).public.plan_id
    asked: list[int] = []
    real = tacit.Owner.decrypt

    def seen(owner: Any, *given: Any, **named: Any) -> Any:
        asked.append(server.count("POST", "infer"))
        return real(owner, *given, **named)

    def spoil(response: bytes) -> bytes:
        return response if server.count("POST", "infer") != 2 else response[: len(response) // 2]

    monkeypatch.setattr(tacit.Owner, "decrypt", seen)
    server.change_response = spoil
    with connect(server, ring, plan=latency) as remote, pytest.raises(TacitError):
        remote.predict(X[:8])
    assert asked and set(asked) == {8}
    assert server.count("POST", "infer") == 8


def test_answers_that_wait_may_lie_on_the_disk(
    server: Scripted, ring: pathlib.Path, bundles: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.remote.arrivals.IN_MEMORY_BYTES", 1)
    with connect(server, ring, plan=Compiled.from_bytes(bundles[0]).public.plan_id) as remote:
        assert remote.predict(X[:3]).shape == (3, 2)


@pytest.mark.parametrize("name", ["a/../../v2", "\x1b[2J", "", "..", "x" * 300, 7, None, ["a"]])
def test_names_that_no_address_may_hold_are_refused(server: Scripted, ring: pathlib.Path, name: Any) -> None:
    server.models = [name]
    with pytest.raises(MalformedMessageError) as caught:
        tacit.connect(server.url, keyring=ring)
    assert "\x1b" not in str(caught.value)


def test_a_damaged_key_of_this_model_stops_all_but_new_keys(server: Scripted, ring: pathlib.Path) -> None:
    """It could hold the pin, so it is no reason to trust anew without a word."""
    with connect(server, ring) as remote:
        remote.predict(X[:1])
    (path,) = ring.glob("*.key")
    path.write_bytes(b"damage")
    path.rename(path.with_name(path.name[:-12] + "00000000.key"))
    with connect(server, ring) as remote, pytest.raises(KeyFileError, match="damaged"):
        remote.predict(X[:1])
    with connect(server, ring) as remote:
        remote.new_keys()
    with connect(server, ring) as remote:
        remote.predict(X[:1])
    assert len(list(ring.glob("*.key"))) == 1


def test_a_plan_named_by_its_id_is_the_only_one_trusted(
    server: Scripted, ring: pathlib.Path, bundles: tuple[bytes, bytes]
) -> None:
    wanted = Compiled.from_bytes(bundles[0]).public.plan_id
    with connect(server, ring, plan=wanted[:32]) as remote:
        assert remote.predict(X).report.plan_id == wanted
        assert remote.trusted_plans() == (wanted,)
    with connect(server, ring, plan="0" * 32) as remote, pytest.raises(NotServedError):
        remote.predict(X)
    for bad in ("abc", "G" * 32, wanted[:31], wanted.upper()):
        with connect(server, ring, plan=bad) as remote, pytest.raises(InvalidParameterError):
            remote.predict(X)


def test_a_plan_that_is_not_what_its_name_says_is_refused(server: Scripted, ring: pathlib.Path) -> None:
    plans = [provider.public_plan() for provider in server.plans.values()]
    server.change_plan = lambda data: plans[plans.index(data) - 1]
    with connect(server, ring) as remote, pytest.raises(PeerMisbehavedError, match="another plan"):
        remote.predict(X[:1])
    assert not list(ring.glob("*.key"))


def test_limits_are_told_before_a_key_is_made(server: Scripted, ring: pathlib.Path) -> None:
    with (
        connect(server, ring, max_error=1e-12) as remote,
        pytest.raises(PlanRefusedError, match="error bound"),
    ):
        remote.predict(X[:1])
    with connect(server, ring, max_key_bytes=999) as remote, pytest.raises(PlanRefusedError, match="of keys"):
        remote.predict(X[:1])
    assert not list(ring.glob("*.key"))


def test_no_encryption_is_never_a_fallback(server: Scripted, ring: pathlib.Path) -> None:
    server.metadata["parameters"] = {"tacit_protection": "clear"}
    with pytest.raises(NotServedError, match="not served under `ckks`"):
        connect(server, ring)
    server.metadata["parameters"] = {}
    with pytest.raises(NotServedError):
        connect(server, ring)
    assert not server.count("POST", "infer")


@pytest.mark.parametrize(
    "document",
    [
        {"name": "triton", "extensions": ["binary_tensor_data"]},
        {"name": "tacit", "extensions": ["tacit"], "parameters": {"tacit_protocol": 2}},
        {"name": "tacit", "extensions": ["tacit"]},
        {"name": "tacit", "extensions": "tacit"},
        {},
    ],
)
def test_other_services_are_told_apart(
    server: Scripted, ring: pathlib.Path, document: dict[str, Any]
) -> None:
    server.server_document = document
    with pytest.raises(PeerIncompatibleError):
        connect(server, ring)


def test_the_only_model_needs_no_name(server: Scripted, ring: pathlib.Path) -> None:
    with tacit.connect(server.url, keyring=ring) as remote:
        assert remote.model == MODEL
    server.models = ["a", "b"]
    with pytest.raises(NotServedError, match="`a`, `b`"):
        tacit.connect(server.url, keyring=ring)
    server.models = []
    with pytest.raises(NotServedError, match="none"):
        tacit.connect(server.url, keyring=ring)


def test_nobody_there_is_an_error_soon(ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with soon(), pytest.raises(ConnectError, match="nothing listens"):
        tacit.connect("http://127.0.0.1:1/m", keyring=ring)

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(
        socket, "getaddrinfo", unknown
    )  # names are a matter of the network that a machine is in
    with soon(), pytest.raises(ConnectError, match="not known"):
        tacit.connect("https://no-such-host.invalid/m", keyring=ring)


@pytest.mark.parametrize(
    "options",
    [
        {"protection": "mpc"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": "1"},
        {"max_error": -1.0},
        {"max_key_bytes": 0},
        {"threads": 0},
        {"token": "two words"},
        {"token": ""},
        {"token": "line\nbreak"},
        {"ca": "file.pem"},
    ],
)
def test_parameters_are_checked_before_anything_is_sent(
    server: Scripted, ring: pathlib.Path, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidParameterError):
        connect(server, ring, **options)
    assert not server.calls


def test_a_closed_object_says_so(server: Scripted, ring: pathlib.Path) -> None:
    remote = connect(server, ring)
    remote.close()
    remote.close()
    with pytest.raises(UsageError, match="closed"):
        remote.predict(X[:1])
