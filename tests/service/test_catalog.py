"""Models from files: under their names, exchanged while the server runs, one bad file beside good ones."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.errors import InvalidParameterError, MalformedMessageError, ModelError, NotServedError
from tacit.service.catalog import Catalog
from tacit.service.workshop import Workshop
from tests.patience import PATIENCE_S
from tests.service.models import onnx_bytes, package, write_model, write_package


@dataclass
class Taken:
    program_id: str
    inputs: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()


class Host:
    """Takes programs as the pool does, and computes nothing."""

    def __init__(self) -> None:
        self.programs: list[str] = []
        self.refuses = b""

    async def offer(self, kind: str, body: bytes) -> Taken:
        if self.refuses and self.refuses in body:
            raise MalformedMessageError("this is refused")
        name = f"{kind}-{hash(body)}"
        if name not in self.programs:
            self.programs.append(name)
        return Taken(name)

    async def retire(self, program_id: str) -> None:
        self.programs.remove(program_id)


def catalog(*paths: Path, host: Host, folder: Path, **more: Any) -> Catalog:
    workshop = Workshop(folder / "compiled", ("--check=0", "--batch=1", "--threads=1"))
    return Catalog(paths, host=host, workshop=workshop, **more)


def refreshed(found: Catalog) -> Catalog:
    asyncio.run(found.refresh())
    return found


def test_a_package_is_served_with_its_plans(tmp_path: Path) -> None:
    host = Host()
    found = refreshed(catalog(write_package(tmp_path), host=host, folder=tmp_path))
    served = found.find("risk")
    assert served.protection == "ckks"
    assert list(served.rows) == [offer.plan_id for offer in package().offers]
    assert found.index() == [{"name": "risk", "version": served.version, "state": "READY", "reason": ""}]
    assert served.prices["plans"][0]["sees"]
    assert len(host.programs) == 2
    for name, version in (("other", ""), ("risk", "2"), ("Risk", "")):
        with pytest.raises(NotServedError):
            found.find(name, version)


def test_protections_have_names_of_their_own(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_package(tmp_path)
    found = refreshed(catalog(tmp_path, host=Host(), folder=tmp_path, protections=("clear", "ckks")))
    assert found.find("risk").protection == "clear"
    assert found.find("risk-ckks").protection == "ckks"
    assert found.find("risk").prices["plans"][0]["protection"] == "clear"


def test_a_name_that_two_would_have_is_that_of_one(tmp_path: Path) -> None:
    """`risk-clear` is a model, and `risk` under `clear` would have the same name: it waits until the name is free."""
    models = tmp_path / "models"
    models.mkdir()
    write_model(models, "risk")
    write_package(models, "risk")
    first = write_package(models, "risk-clear")
    host = Host()
    found = catalog(models, host=host, folder=tmp_path, protections=("ckks", "clear"))
    refreshed(found)
    assert found.find("risk-clear").protection == "ckks"
    row = {row["name"]: row for row in found.index()}["risk-clear (clear of risk)"]
    assert row["state"] == "UNAVAILABLE" and "rename" in row["reason"]
    refreshed(found)
    assert found.find("risk-clear").protection == "ckks"
    first.unlink()
    refreshed(found)
    assert found.find("risk-clear").protection == "clear"
    assert "risk-clear (clear of risk)" not in {row["name"] for row in found.index()}
    assert any(name.startswith("clear-") for name in host.programs)


def test_a_program_that_is_busy_delays_no_other_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.service.catalog.RETIRED_S", 0.01)

    class Busy(Host):
        ended: asyncio.Event

        async def retire(self, program_id: str) -> None:
            await self.ended.wait()
            await super().retire(program_id)

    async def main() -> None:
        host, models = Busy(), tmp_path / "models"
        host.ended = asyncio.Event()
        models.mkdir()
        old = write_model(models, "old")
        found = catalog(models, host=host, folder=tmp_path, protections=("clear",))
        await found.refresh()
        old.unlink()
        write_model(models, "new", seed=1)
        await asyncio.wait_for(found.refresh(), PATIENCE_S)
        assert found.find("new") and len(host.programs) == 2
        host.ended.set()
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(host.programs) == 1

    asyncio.run(main())


@pytest.mark.parametrize("protections", [(), ("mpc",), ("ckks", "ckks")])
def test_protections_that_are_none(tmp_path: Path, protections: tuple[str, ...]) -> None:
    with pytest.raises(InvalidParameterError):
        catalog(write_package(tmp_path), host=Host(), folder=tmp_path, protections=protections)


def test_paths_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path / "no.onnx", tmp_path / "notes.txt"):
        with pytest.raises(ModelError):
            catalog(path, host=Host(), folder=tmp_path)


def test_one_bad_model_does_not_stop_the_others(tmp_path: Path) -> None:
    write_package(tmp_path, "good")
    (tmp_path / "bad.tacit").write_bytes(b"nothing")
    (tmp_path / "lonely.onnx").write_bytes(onnx_bytes())
    (tmp_path / "bad name.tacit").write_bytes(b"")
    (tmp_path / ".hidden.tacit").write_bytes(b"")
    (tmp_path / "README.md").write_text("not a model")
    host = Host()
    found = refreshed(catalog(tmp_path, host=host, folder=tmp_path))
    rows = {row["name"]: row for row in found.index()}
    assert {name: row["state"] for name, row in rows.items()} == {
        "good": "READY",
        "bad": "UNAVAILABLE",
        "lonely": "UNAVAILABLE",
        "bad name.tacit": "UNAVAILABLE",
    }
    assert "calibration" in rows["lonely"]["reason"]
    assert rows["bad"]["reason"] and rows["bad name.tacit"]["reason"]
    with pytest.raises(NotServedError, match="not ready"):
        found.find("bad")


def test_files_come_change_and_go(tmp_path: Path) -> None:
    host, models = Host(), tmp_path / "models"
    models.mkdir()
    found = refreshed(catalog(models, host=host, folder=tmp_path))
    assert found.index() == []
    path = write_package(models)
    os.utime(path, (1, 1))
    asyncio.run(found.refresh(settled=True))
    version = found.find("risk").version
    before = list(host.programs)

    asyncio.run(found.refresh(settled=True))
    assert host.programs == before, "nothing changed, nothing is loaded again"

    path.write_bytes(b"bad")
    asyncio.run(found.refresh())
    assert found.find("risk").version == version, "what was served is served on"
    assert found.index()[0]["state"] == "READY" and found.index()[0]["reason"]
    assert host.programs == before

    write_package(models)
    asyncio.run(found.refresh())
    assert found.find("risk").version == version and not found.index()[0]["reason"]

    path.unlink()
    asyncio.run(found.refresh())
    assert found.index() == [] and host.programs == []


def test_a_file_that_is_being_written_waits(tmp_path: Path) -> None:
    found = catalog(tmp_path, host=Host(), folder=tmp_path)
    path = write_package(tmp_path)
    now = time.time() + 60  # younger than a second, however long the test waits for its turn
    os.utime(path, (now, now))
    asyncio.run(found.refresh(settled=True))
    assert found.index() == []
    os.utime(path, (1, 1))
    asyncio.run(found.refresh(settled=True))
    assert found.find("risk")


def test_programs_of_two_names_are_retired_with_the_last(tmp_path: Path) -> None:
    host = Host()
    first, second = write_package(tmp_path, "first"), write_package(tmp_path, "second")
    found = refreshed(catalog(tmp_path, host=host, folder=tmp_path))
    used = set(host.programs)
    first.unlink()
    asyncio.run(found.refresh())
    assert set(host.programs) == used
    assert second.exists() and found.find("second")


def test_a_host_that_refuses(tmp_path: Path) -> None:
    host = Host()
    host.refuses = b"bundle"
    found = refreshed(catalog(write_package(tmp_path), host=host, folder=tmp_path))
    assert found.index()[0]["reason"].startswith("this is refused")


def test_plans_outlive_a_restart(tmp_path: Path) -> None:
    """A model that is compiled by the server has the same plans after the next start."""
    model = write_model(tmp_path)
    ids = []
    for _ in range(2):
        found = refreshed(catalog(model, host=Host(), folder=tmp_path))
        ids.append(list(found.find("risk").rows))
    assert ids[0] == ids[1]
    kept = list((tmp_path / "compiled").iterdir())
    assert len(kept) == 1 and kept[0].stat().st_mode & 0o077 == 0

    np.savetxt(
        tmp_path / "risk.calibration.csv", np.random.default_rng(1).normal(size=(50, 4)), delimiter=","
    )
    changed = refreshed(catalog(model, host=Host(), folder=tmp_path))
    assert list(changed.find("risk").rows) != ids[0]


def test_what_the_compiler_says_is_the_reason(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    (tmp_path / "risk.calibration.csv").write_text("1,2\n3,4\n")
    found = refreshed(catalog(model, host=Host(), folder=tmp_path))
    assert "features" in found.index()[0]["reason"] or "shape" in found.index()[0]["reason"]
    assert not list((tmp_path / "compiled").glob("*"))
