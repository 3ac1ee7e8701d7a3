"""Models that take long to compile: others do not wait, and what changed meanwhile is never served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.errors import ModelError, NotServedError
from tacit.service.catalog import Catalog
from tacit.service.workshop import Workshop
from tests.service.models import onnx_bytes, package, write_model, write_package
from tests.service.test_catalog import Host, catalog


class Shop(Workshop):
    """Compiles a model when it is told to; what it makes is the same package for all."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        object.__setattr__(self, "begun", [])
        object.__setattr__(self, "let", {})

    begun: list[str]
    let: dict[str, asyncio.Event]

    def finish(self, *names: str) -> None:
        for name in names:
            self.let.setdefault(name, asyncio.Event()).set()

    async def has(self, model: Path, calibration: Path) -> bool:
        return False

    async def package(self, model: Path, calibration: Path) -> bytes:
        self.begun.append(model.stem)
        await self.let.setdefault(model.stem, asyncio.Event()).wait()
        return package().to_bytes()


def states(found: Catalog) -> dict[str, str]:
    return {row["name"]: row["state"] for row in found.index()}


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.001)


def story(tmp_path: Path, told: Callable[[Path, Catalog, Shop, Host], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        models, host, shop = tmp_path / "models", Host(), Shop(tmp_path / "compiled")
        models.mkdir()
        found = Catalog([models], host=host, workshop=shop, **more)
        try:
            await told(models, found, shop, host)
        finally:
            await found.close()

    asyncio.run(main())


def test_a_slow_model_delays_no_other(tmp_path: Path) -> None:
    async def told(models: Path, found: Catalog, shop: Shop, host: Host) -> None:
        for name in ("a", "b"):
            write_model(models, name)
        write_package(models, "c")
        await found.refresh(waits=False)
        assert found.find("c")
        assert states(found) == {"a": "LOADING", "b": "LOADING", "c": "READY"}
        with pytest.raises(NotServedError, match="not ready"):
            found.find("a")
        await until(lambda: shop.begun == ["a"])
        write_package(models, "d")
        await found.refresh(waits=False)
        assert states(found)["d"] == "READY"
        assert shop.begun == ["a"]  # one at a time
        shop.finish("a")
        await until(lambda: states(found)["a"] == "READY")
        assert states(found)["b"] == "LOADING"
        shop.finish("b")
        await found.compiled()
        assert set(states(found).values()) == {"READY"}

    story(tmp_path, told)


def test_models_in_the_clear_do_not_wait_either(tmp_path: Path) -> None:
    async def told(models: Path, found: Catalog, shop: Shop, host: Host) -> None:
        write_model(models, "a")
        await found.refresh(waits=False)
        assert states(found) == {"a": "LOADING", "a-clear": "READY"}
        shop.finish("a")
        await found.refresh()  # nothing changed: it only waits
        assert set(states(found).values()) == {"READY"}

    story(tmp_path, told, protections=("ckks", "clear"))


@pytest.mark.parametrize("how", ["removed", "replaced", "changed"])
def test_what_changed_while_it_was_compiled_is_not_served(tmp_path: Path, how: str) -> None:
    async def told(models: Path, found: Catalog, shop: Shop, host: Host) -> None:
        path = write_model(models, "a")
        await found.refresh(waits=False)
        await until(lambda: shop.begun == ["a"])
        seen: list[str] = []
        found._told = lambda name, what: seen.append(what)
        if how == "removed":
            path.unlink()
        elif how == "replaced":
            (models / "a.tacit").write_bytes(b"bad")
        else:
            path.write_bytes(onnx_bytes(1))
        await found.refresh(waits=False)
        shop.finish("a")
        await found.compiled()
        served = [what for what in seen if what.endswith("is served")]
        if how == "changed":
            assert shop.begun == ["a", "a"] and len(served) == 1 and states(found) == {"a": "READY"}
            return
        assert not served and not found.all() and not host.programs
        assert states(found) == ({} if how == "removed" else {"a": "UNAVAILABLE"})

    story(tmp_path, told)


def test_a_model_that_is_compiled_anew_is_served_as_it_was(tmp_path: Path) -> None:
    async def told(models: Path, found: Catalog, shop: Shop, host: Host) -> None:
        path = write_model(models, "a")
        shop.finish("a")
        await found.refresh()
        shop.let.clear()
        path.write_bytes(onnx_bytes(1))
        await found.refresh(waits=False)
        await until(lambda: shop.begun == ["a", "a"])
        assert found.find("a") and states(found) == {"a": "READY"}

    story(tmp_path, told)


def test_the_end_does_not_wait_for_a_compiler(tmp_path: Path) -> None:
    async def told(models: Path, found: Catalog, shop: Shop, host: Host) -> None:
        write_model(models, "a")
        await found.refresh(waits=False)
        await until(lambda: shop.begun == ["a"])

    story(tmp_path, told)


def test_versions_are_of_the_content(tmp_path: Path) -> None:
    """The same after a restart and in another place; another one for other plans, or for another model."""
    seen = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        write_package(tmp_path / place)
        write_model(tmp_path / place, seed=place == "two")
        found = catalog(tmp_path / place, host=Host(), folder=tmp_path, protections=("ckks", "clear"))
        asyncio.run(found.refresh())
        versions = [found.find(name).version for name in ("risk", "risk-clear")]
        assert found.find("risk", versions[0]) and found.index()[0]["version"] == versions[0]
        assert all(len(version) == 12 for version in versions)
        seen.append(versions)
    assert seen[0][0] == seen[1][0]
    assert len({seen[0][0], seen[0][1], seen[1][1]}) == 3


def test_files_that_change_while_they_are_compiled_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the plans of the new content would be those of the old one, at every start."""
    model = write_model(tmp_path)
    shop = Workshop(tmp_path / "compiled")

    async def compile_(self: Workshop, model: Path, calibration: Path, out: Path) -> None:
        np.savetxt(calibration, np.ones((3, 4)), delimiter=",")
        out.write_bytes(b"made")

    monkeypatch.setattr(Workshop, "_compile", compile_)
    with pytest.raises(ModelError, match="changed while"):
        asyncio.run(shop.package(model, tmp_path / "risk.calibration.csv"))
    assert not list((tmp_path / "compiled").glob("*"))
