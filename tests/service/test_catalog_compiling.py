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
from tests.service.test_catalog import Host, Taken, catalog


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


def test_a_program_that_two_were_given_outlives_the_one_that_came_late(tmp_path: Path) -> None:
    """What was compiled is stale: its file was written again, with the same content, and that is half way loaded."""

    class Halting(Host):
        """Takes the second program of whoever comes first when it is let."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.let = asyncio.Event()

        async def offer(self, kind: str, body: bytes) -> Taken:
            self.calls += 1
            if self.calls == 2:
                await self.let.wait()
            return await super().offer(kind, body)

    class Again(Shop):
        """What is compiled again is there at once."""

        async def has(self, model: Path, calibration: Path) -> bool:
            return bool(self.begun)

        async def package(self, model: Path, calibration: Path) -> bytes:
            if not self.begun:
                return await super().package(model, calibration)
            return package().to_bytes()

    async def main() -> None:
        models, host, shop = tmp_path / "models", Halting(), Again(tmp_path / "compiled")
        models.mkdir()
        found = Catalog([models], host=host, workshop=shop)
        path = write_model(models, "a")
        await found.refresh(waits=False)
        await until(lambda: shop.begun == ["a"])
        path.write_bytes(onnx_bytes(1))
        again = asyncio.create_task(found.refresh(waits=False))
        await until(lambda: host.calls == 2)
        shop.finish("a")
        await found.compiled()
        assert host.calls == 4 and states(found) == {"a": "LOADING"}
        host.let.set()
        await again
        assert states(found) == {"a": "READY"}
        assert found.find("a").programs == set(host.programs)
        path.unlink()
        await found.refresh()
        assert not host.programs
        await found.close()

    assert len(package().offers) == 2
    asyncio.run(main())


def test_programs_of_a_model_that_fails_half_way_are_not_kept(tmp_path: Path) -> None:
    class Half(Host):
        async def offer(self, kind: str, body: bytes) -> Taken:
            if self.programs:
                raise ModelError("too little memory for another plan")
            return await super().offer(kind, body)

    host = Half()
    write_package(tmp_path)
    found = catalog(tmp_path, host=host, folder=tmp_path)
    asyncio.run(found.refresh())
    assert states(found) == {"risk": "UNAVAILABLE"} and not host.programs


@pytest.mark.parametrize("place", ["package", "has"])
def test_a_model_that_fails_unforeseen_is_said_and_ends_nothing(tmp_path: Path, place: str) -> None:
    async def told(models: Path, found: Catalog, shop: Shop, host: Host) -> None:
        async def failing(model: Path, calibration: Path) -> bytes:
            if model.stem == "a":
                raise MemoryError("secret")
            return await real(model, calibration)

        async def failing_look(model: Path, calibration: Path) -> bool:
            raise MemoryError("secret")

        real = shop.package
        object.__setattr__(shop, "package", failing)
        if place == "has":
            object.__setattr__(shop, "has", failing_look)
        seen: list[tuple[str, str]] = []
        found._told = lambda name, what: seen.append((name, what))
        for name in ("a", "b"):
            write_model(models, name)
        shop.finish("b")
        await found.refresh(waits=False)
        await found.compiled()
        assert states(found) == {"a": "UNAVAILABLE", "b": "READY"}
        (reason,) = [row["reason"] for row in found.index() if row["name"] == "a"]
        assert "MemoryError" in reason and "secret" not in reason
        assert ("a", f"not loaded: {reason}") in seen

    story(tmp_path, told)
