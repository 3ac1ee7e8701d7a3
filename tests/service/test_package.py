"""A compiled model in one file: what is in it, who may read it, and what happens when it is damaged."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

import tacit
from tacit.errors import InvalidParameterError, MalformedMessageError, PeerIncompatibleError, PlanError
from tacit.service import package as module
from tacit.service.package import Package, compile_package, model_name
from tests.service.models import data, estimator, onnx_bytes, package, tacit_command, write_model


def test_plans_for_few_samples_come_first() -> None:
    offers = package().offers
    assert [offer.layout for offer in offers] == ["latency", "throughput"]
    assert offers[0].batch == 1 < offers[1].batch
    row = offers[0].row()
    assert row["plan_id"] == offers[0].plan_id == tacit.PublicPlan.from_bytes(offers[0].public_plan).plan_id
    assert row["checked_samples"] == 1
    assert 0 < row["error_bound"] < 0.1


def test_a_package_survives_and_predicts() -> None:
    found = Package.from_bytes(package().to_bytes())
    assert [offer.row() for offer in found.offers] == [offer.row() for offer in package().offers]
    offer = found.offers[0]
    provider, owner = tacit.Provider.from_bytes(offer.bundle), tacit.Owner(offer.public_plan)
    provider.load_keys(owner.evaluation_keys())
    answer = owner.decrypt(provider.run(owner.encrypt(data()[:1])))
    expected = estimator().predict_proba(data()[:1])
    assert np.max(np.abs(np.asarray(answer) - expected)) <= owner.plan.error_bound


def test_plans_that_are_the_same_are_made_once() -> None:
    found = compile_package(onnx_bytes(), calibration=data(), batches=(500, 1000), check=0, threads=1)
    assert len(found.offers) == 1


def test_the_first_plan_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError):
        compile_package(onnx_bytes(), calibration=data(), max_error=1e-30)
    monkeypatch.setattr(module, "MODEST_SECONDS", 0.0)
    found = compile_package(onnx_bytes(), calibration=data(), check=0, threads=1)
    assert [offer.layout for offer in found.offers] == ["latency"]
    assert found.refusals[0]["batch"] == module.THROUGHPUT_BATCH
    assert "--batch" in found.refusals[0]["hint"]


@pytest.mark.parametrize("place", [0, 30, 200, -200, -3])
def test_damage_is_noticed(place: int) -> None:
    damaged = bytearray(package().to_bytes())
    damaged[place] ^= 1
    with pytest.raises((MalformedMessageError, PeerIncompatibleError)):
        Package.from_bytes(bytes(damaged))


def test_other_files_are_refused() -> None:
    for content in (b"", b"\xa0", package().offers[0].bundle, onnx_bytes()):
        with pytest.raises((MalformedMessageError, PeerIncompatibleError)):
            Package.from_bytes(content)


@pytest.mark.parametrize("name", ["a b.onnx", ".onnx", "ä.onnx", "a" * 101 + ".onnx", "-a.onnx"])
def test_names_that_cannot_be_served(name: str) -> None:
    with pytest.raises(InvalidParameterError):
        model_name(Path(name))


def test_the_command_writes_a_file_for_its_owner_only(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    out = tmp_path / "risk.tacit"
    done = tacit_command(
        "compile",
        str(model),
        "--calibration",
        str(tmp_path / "risk.calibration.csv"),
        "-o",
        str(out),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    told = json.loads(done.stdout)
    assert [row["plan_id"] for row in told["plans"]] == [
        offer.plan_id for offer in Package.from_bytes(out.read_bytes()).offers
    ]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_command_refuses_in_two_lines(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    for arguments in (
        ["compile", str(model), "-o", str(tmp_path / "risk.bin")],
        ["compile", str(model), "-o", str(tmp_path / "no" / "risk.tacit")],
        ["compile", str(tmp_path / "no.onnx"), "-o", str(tmp_path / "risk.tacit")],
        ["compile", str(model), "-o", str(tmp_path / "risk.tacit")],
    ):
        done = tacit_command(*arguments)
        assert done.returncode in (2, 3)
        assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert not (tmp_path / "risk.tacit").exists()
