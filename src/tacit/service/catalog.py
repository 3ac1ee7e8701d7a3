"""What is served: models from files and folders, under one or more protections, exchanged while the server runs.

A model whose file is bad does not stop the others: the repository index shows its error. If the new content of a file
is bad, the old one is served on. Models that have to be compiled wait for each other, and no other model waits for
them. A version is a name for what is served, by its content: the same after every start, and at every replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tacit.backends.clear import ClearBackend
from tacit.errors import InvalidParameterError, ModelError, NotServedError, TacitError
from tacit.planner.choose import survey
from tacit.planner.plan import declaration_to_dict
from tacit.roles.compilation import load
from tacit.service.package import Package, model_name
from tacit.service.program import KINDS
from tacit.service.workshop import Workshop

__all__ = ["Catalog", "Host", "Offered", "Row", "Served", "Source", "Spec"]

SETTLED_S = 1.0
"""A file that changed less than so long ago may still be written: it waits for the next look."""

RETIRED_S = 0.5
"""Longest time for which an exchange waits until the old program has ended; it ends by itself after that."""

MAX_MODELS = 1000
CALIBRATION = (".calibration.csv", ".calibration.npy", ".calibration.parquet")


class Spec(Protocol):
    """An input or output of a model in the clear."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int | None, ...]: ...


class Offered(Protocol):
    """What a host says of a program that it took."""

    @property
    def program_id(self) -> str: ...
    @property
    def inputs(self) -> Sequence[Spec]: ...
    @property
    def outputs(self) -> Sequence[Spec]: ...


class Host(Protocol):
    """Who computes: `service.pool.Pool`."""

    async def offer(self, kind: str, body: bytes, /) -> Offered: ...
    async def retire(self, program_id: str, /) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Row:
    """One plan that is served: who computes it, what an owner reads of it, and what ``GET …/plans`` says."""

    program_id: str
    plan_id: str
    public_plan: bytes
    facts: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Row of plan {self.plan_id[:12]}>"


@dataclass(frozen=True, kw_only=True)
class Served:
    """One model under one protection, in one version. ``rows``: its plans, of `ckks` only."""

    name: str
    version: str
    protection: str
    rows: Mapping[str, Row] = field(default_factory=dict)
    program_id: str = ""
    inputs: tuple[Spec, ...] = ()
    outputs: tuple[Spec, ...] = ()
    prices: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    """Of a model in the clear: which output is the primary one, and which holds labels."""

    @property
    def programs(self) -> set[str]:
        return {row.program_id for row in self.rows.values()} | ({self.program_id} - {""})


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one model. ``stamp``: changes when one of them does; ``newest``: when that was (s)."""

    name: str
    onnx: Path | None = None
    package: Path | None = None
    calibration: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.onnx, self.package, self.calibration) if path is not None)

    def stamp(self) -> tuple[Any, ...]:
        """Raises ``OSError`` where a file is gone."""
        found = [(path, path.stat()) for path in self.files]
        return tuple((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino) for path, stat in found)

    def newest(self) -> float:
        return max(path.stat().st_mtime for path in self.files)


@dataclass(kw_only=True)
class _Entry:
    """A name in the index: what is served under it, and the last error."""

    source: str
    protection: str
    served: Served | None = None
    reason: str = ""
    loading: bool = False
    changes: int = 0
    """How often its files changed: what was begun before the last change is not taken over."""
    taken: str = ""
    """The name that it would have, where another has it."""


class Catalog:
    """The models of a server. Not for several threads: one event loop uses it.

    ``paths``: files (`.onnx`, `.tacit`) and folders of them. ``protections``: the first gets the plain name, the others
    `NAME-PROTECTION`. ``calibration``: for the models that have none beside them. ``told``: is called with a model's
    name and what happened to it.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        host: Host,
        workshop: Workshop,
        protections: Sequence[str] = ("ckks",),
        calibration: Path | None = None,
        told: Callable[[str, str], None] = lambda name, what: None,
    ) -> None:
        unknown = [name for name in protections if name not in KINDS]
        if unknown or not protections or len(set(protections)) < len(protections):
            raise InvalidParameterError(f"a served protection is one of {', '.join(KINDS)}, each named once")
        for path in paths:
            if not path.exists():
                raise ModelError(f"no such file: `{path}`", hint="check the path of the model")
            if path.is_file() and path.suffix not in (".onnx", ".tacit"):
                raise ModelError(f"`{path.name}` is neither `.onnx` nor `.tacit`")
        self._paths = tuple(paths)
        self._host = host
        self._workshop = workshop
        self._protections = tuple(protections)
        self._calibration = calibration
        self._told = told
        self._entries: dict[str, _Entry] = {}
        self._stamps: dict[str, tuple[Any, ...]] = {}
        self._retiring: set[asyncio.Future[None]] = set()
        self._pending: Counter[str] = Counter()
        """Programs that the host took for models that are not ready yet, each as often as it took them."""
        self._slow: dict[tuple[str, str], Source] = {}
        """Models that wait to be compiled, by name and protection; the first is next."""
        self._compiling: asyncio.Task[None] | None = None

    def find(self, name: str, version: str = "") -> Served:
        """Raises ``NotServedError``."""
        entry = self._entries.get(name)
        if entry is None or entry.served is None:
            raise NotServedError(
                f"no model `{name[:100]}` is served here"
                if entry is None
                else f"model `{name}` is not ready",
                hint="`POST /v2/repository/index` lists the models",
            )
        if version and version != entry.served.version:
            raise NotServedError(
                f"model `{name}` has no version `{version[:20]}` here",
                hint=f"version {entry.served.version} is served",
            )
        return entry.served

    def all(self) -> list[Served]:
        """Everything that is ready."""
        return [entry.served for entry in self._entries.values() if entry.served is not None]

    def index(self) -> list[dict[str, str]]:
        """The repository index: a row for each name, with its state and what is wrong."""
        rows = []
        for name, entry in sorted(self._entries.items()):
            state = "READY" if entry.served else "LOADING" if entry.loading else "UNAVAILABLE"
            version = entry.served.version if entry.served else ""
            rows.append({"name": name, "version": version, "state": state, "reason": entry.reason})
        return rows

    async def refresh(self, *, settled: bool = False, waits: bool = True) -> None:
        """Looks at the files and takes over what is new, changed or gone. ``settled``: leaves files alone that are
        younger than a second; ``waits``: also for models that have to be compiled, which else happens beside it."""
        sources = self._sources()
        now = time.time()
        for name in [name for name in self._stamps if name not in sources]:
            del self._stamps[name]
            await self._remove(name)
        changed = []
        for name, source in sources.items():
            try:
                stamp = source.stamp()
                if stamp == self._stamps.get(name) or (settled and source.newest() > now - SETTLED_S):
                    continue
            except OSError:
                continue
            self._stamps[name] = stamp
            changed.append(source)
            for protection in self._protections:
                entry = self._entry(name, protection)
                entry.loading = entry.served is None
                entry.changes += 1
                self._slow.pop((name, protection), None)
        for source in changed:
            for protection in self._protections:
                if await self._has_to_be_compiled(source, protection):
                    self._slow[source.name, protection] = source
                else:
                    await self._load(source, protection)
        if self._slow and (self._compiling is None or self._compiling.done()):
            self._compiling = asyncio.create_task(self._compile())
        if waits:
            await self.compiled()

    async def compiled(self) -> None:
        """Waits until nothing is left to compile."""
        while self._compiling is not None and not self._compiling.done():
            await asyncio.shield(self._compiling)

    async def close(self) -> None:
        """Ends what is being compiled."""
        if self._compiling is not None:
            self._compiling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._compiling

    async def _compile(self) -> None:
        """One model after the other: planning takes the memory and the processors that predictions need."""
        while self._slow:
            place = next(iter(self._slow))
            await self._load(self._slow.pop(place), place[1])

    async def _has_to_be_compiled(self, source: Source, protection: str) -> bool:
        if (
            protection != "ckks"
            or source.package is not None
            or source.onnx is None
            or source.calibration is None
        ):
            return False
        try:
            return not await self._workshop.has(source.onnx, source.calibration)
        except OSError:
            return False  # loading it says what is wrong
        except Exception:
            return True  # as above, and beside the others

    def _sources(self) -> dict[str, Source]:
        """Files grouped by the name of their model. A name that cannot be served has an error in the index."""
        files: list[Path] = []
        for path in self._paths:
            files += sorted(path.iterdir()) if path.is_dir() else [path]
        sources: dict[str, Source] = {}
        for path in files:
            if path.suffix not in (".onnx", ".tacit") or path.name.startswith(".") or not path.is_file():
                continue
            try:
                name = model_name(path)
            except TacitError as error:
                self._entry(path.name[:100], self._protections[0]).reason = str(error)
                continue
            found = sources.setdefault(name, Source(name=name))
            if len(sources) > MAX_MODELS:
                raise InvalidParameterError(f"a server has at most {MAX_MODELS} models")
            if path.suffix == ".tacit":
                sources[name] = replace(found, package=found.package or path)
            else:
                beside = (path.with_name(path.stem + end) for end in CALIBRATION)
                calibration = next((file for file in beside if file.is_file()), self._calibration)
                sources[name] = replace(found, onnx=found.onnx or path, calibration=calibration)
        return sources

    def _named(self, name: str, protection: str) -> str:
        return name if protection == self._protections[0] else f"{name}-{protection}"

    def _entry(self, source: str, protection: str) -> _Entry:
        """The entry of a source. Two sources never share one: `a-clear` may be a model, and `a` under `clear`."""
        name = self._named(source, protection)
        entry = self._entries.setdefault(name, _Entry(source=source, protection=protection))
        if (entry.source, entry.protection) == (source, protection):
            return entry
        reason = (
            f"the name `{name}` is that of model `{entry.source}` under `{entry.protection}`: rename one file"
        )
        other = _Entry(source=source, protection=protection, reason=reason, taken=name)
        return self._entries.setdefault(f"{name} ({protection} of {source})", other)

    async def _load(self, source: Source, protection: str) -> None:
        """Takes over one model under one protection, or keeps what was served and notes the error."""
        name = self._named(source.name, protection)
        entry = self._entry(source.name, protection)
        if entry.taken:
            entry.loading = False
            self._told(name, f"not loaded: {entry.reason}")
            return
        change = entry.changes
        taken: list[str] = []
        before: set[str] = set()
        try:
            make = self._protected if protection == "ckks" else self._clear
            served = await make(source, name, taken)
            if self._is_current(entry, change):  # else the file changed again meanwhile, or went
                before = entry.served.programs if entry.served is not None else set()
                entry.served, entry.reason, entry.loading = served, "", False
                self._told(name, f"version {served.version} is served")
        except Exception as error:  # one model is no reason to end, nor to say nothing of the others
            if self._is_current(entry, change):
                entry.reason = _reason(error)
                entry.loading = False
                self._told(name, f"not loaded: {entry.reason}")
        finally:
            self._pending -= Counter(taken)
        await self._retire({*before, *taken})

    async def _offer(self, kind: str, body: bytes, taken: list[str]) -> Offered:
        """Has the host take a program, which stays at least until the model that it is for is ready, or is not."""
        offered = await self._host.offer(kind, body)
        taken.append(offered.program_id)
        self._pending[offered.program_id] += 1
        return offered

    def _is_current(self, entry: _Entry, change: int) -> bool:
        return entry.changes == change and any(entry is other for other in self._entries.values())

    async def _remove(self, name: str) -> None:
        for place in [place for place in self._slow if place[0] == name]:
            del self._slow[place]
        keys = [key for key, entry in self._entries.items() if entry.source == name]
        # Whoever waited for one of these names gets it: its files count as new.
        for key in [key for key, entry in self._entries.items() if entry.taken in keys]:
            self._stamps.pop(self._entries.pop(key).source, None)
        for key in keys:
            entry = self._entries.pop(key, None)
            self._told(key, "removed")
            if entry is not None and entry.served is not None:
                await self._retire(entry.served.programs)

    def _is_used(self, program: str) -> bool:
        """Whether a model has the program, or another that is being loaded was given it too."""
        return program in self._pending or any(program in served.programs for served in self.all())

    async def _retire(self, programs: Iterable[str]) -> None:
        """Ends those of the programs that no model has."""

        async def end(program: str) -> None:
            if not self._is_used(
                program
            ):  # looked at in one step with the end: till now it could be given away
                await self._host.retire(program)

        tasks = [asyncio.ensure_future(end(name)) for name in set(programs) if not self._is_used(name)]
        if not tasks:
            return
        # What a program still computes may take minutes: the other models do not wait for it.
        _, late = await asyncio.wait(tasks, timeout=RETIRED_S)
        self._retiring |= late
        for task in late:
            task.add_done_callback(self._retiring.discard)

    async def _protected(self, source: Source, name: str, taken: list[str]) -> Served:
        """``taken``: gets the programs that the host took, also where this fails."""
        content = await self._package_bytes(source)
        package = await asyncio.to_thread(Package.from_bytes, content)
        rows: dict[str, Row] = {}
        for offer in package.offers:
            offered = await self._offer("ckks", offer.bundle, taken)
            rows[offer.plan_id] = Row(
                program_id=offered.program_id,
                plan_id=offer.plan_id,
                public_plan=offer.public_plan,
                facts=offer.row(),
            )
        prices = {
            "model": name,
            "plans": [{**offer.declared, "plan_id": offer.plan_id} for offer in package.offers],
            "refusals": [{"protection": "ckks", **refusal} for refusal in package.refusals],
        }
        return Served(name=name, version=_version(*sorted(rows)), protection="ckks", rows=rows, prices=prices)

    async def _package_bytes(self, source: Source) -> bytes:
        if source.package is not None:
            return await asyncio.to_thread(source.package.read_bytes)
        if source.onnx is None or source.calibration is None:
            raise ModelError(
                f"model `{source.name}` has no calibration data, which `ckks` needs to promise an error",
                hint=f"put `{source.name}.calibration.csv` beside it, or serve a file of `tacit compile`",
            )
        return await self._workshop.package(source.onnx, source.calibration)

    async def _clear(self, source: Source, name: str, taken: list[str]) -> Served:
        if source.onnx is None:
            raise ModelError(
                f"model `{source.name}` cannot be served in the clear from a `.tacit` file",
                hint="serve its `.onnx` file",
            )
        content = await asyncio.to_thread(source.onnx.read_bytes)
        offered = await self._offer("clear", content, taken)
        prices, roles = await asyncio.to_thread(_clear_facts, content, name)
        return Served(
            name=name,
            version=_version(hashlib.sha256(content).hexdigest()),
            protection="clear",
            program_id=offered.program_id,
            inputs=tuple(offered.inputs),
            outputs=tuple(offered.outputs),
            prices=prices,
            roles=roles,
        )


def _reason(error: Exception) -> str:
    """What the index says of a model that could not be loaded. What was not foreseen may hold data: only its class."""
    if isinstance(error, TacitError):
        return f"{error}; {error.hint}" if error.hint else str(error)
    return (
        "a file cannot be read"
        if isinstance(error, OSError)
        else f"loading it failed: {type(error).__name__}"
    )


def _version(*contents: str) -> str:
    """A name for plans, or for a model in the clear: 12 hexadecimal digits."""
    return hashlib.sha256("\0".join(["tacit version v1", *contents]).encode()).hexdigest()[:12]


def _clear_facts(content: bytes, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The price list of a model that protects nothing, and what its outputs are."""
    graph = load(content)
    roles = {"tacit_primary": graph.primary} | ({"tacit_label": graph.label} if graph.label else {})
    found = survey([ClearBackend()], graph, None, batch=1, max_error=None, threads=1)
    plans = [declaration_to_dict(candidate.declaration) for candidate in found.candidates]
    return {"model": name, "plans": plans, "refusals": []}, roles
