"""SPU (ABY3, three parties): `compile FOLDER` turns a graph into its program and shares; else one party of a session.

Runs in SPU's own interpreter, without Tacit. The graph is JSON (`mpc_tasks.write_problem`); each op is written in JAX
as its users would. Weights and inputs are secret, single numbers are part of the program.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import spu.libspu as libspu
from partner import Answer, peak_rss_bytes, repeat, reset_peak, serve
from spu.api import Io, Runtime

PARTIES = 3
FRACTION_BITS = 18
_WHOLE = struct.Struct("<q")


def configuration(*, profile: bool = False) -> libspu.RuntimeConfig:
    """ABY3 on 64-bit words. ``profile``: the run tells its bytes and messages in the log."""
    config = libspu.RuntimeConfig(protocol=libspu.ABY3, field=libspu.FM64, fxp_fraction_bits=FRACTION_BITS)
    config.enable_pphlo_profile = profile
    return config


def write_share(path: Path, share: Any) -> None:
    """Length and bytes of the description, then of each chunk."""
    with path.open("wb") as file:
        for part in (share.meta, *share.share_chunks):
            file.write(_WHOLE.pack(len(part)) + part)


def read_share(path: Path) -> Any:
    parts, data, place = [], path.read_bytes(), 0
    while place < len(data):
        (size,) = _WHOLE.unpack_from(data, place)
        parts.append(data[place + 8 : place + 8 + size])
        place += 8 + size
    share = libspu.Share()
    share.meta, share.share_chunks = parts[0], parts[1:]
    return share


def program(graph: dict[str, Any], constants: dict[str, Any]) -> Callable[..., Any]:
    """The graph as a function of its secrets, which come in the order of ``graph["secrets"]``."""

    def run(*secrets: Any) -> Any:
        values: dict[str, Any] = dict(constants)
        values.update(zip(graph["secrets"], secrets, strict=True))
        for node in graph["nodes"]:
            operands = [values[name] for name in node["inputs"]]
            values[node["output"]] = _apply(node["op"], operands, node["attributes"])
        return values[graph["output"]]

    return run


def _apply(op: str, operands: Sequence[Any], attributes: dict[str, Any]) -> Any:
    import jax
    import jax.numpy as jnp

    elementwise: dict[str, Callable[..., Any]] = {
        "Add": lambda a, b: a + b,
        "Sub": lambda a, b: a - b,
        "Mul": lambda a, b: a * b,
        "Div": lambda a, b: a / b,
        "Max": jnp.maximum,
        "Min": jnp.minimum,
        "Sqrt": jnp.sqrt,
        "Relu": jax.nn.relu,
        "MatMul": jnp.matmul,
        "Erf": _erf,
    }
    if op in elementwise:
        return elementwise[op](*operands)
    x = operands[0]
    if op == "Conv":
        return _convolve(operands, attributes)
    if op == "MaxPool":
        pads, kernel = attributes["pads"], attributes["kernel"]
        around = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
        strides = (1, 1, *attributes["strides"])
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, *kernel), strides, around)
    if op == "ReduceSum":
        return jnp.sum(x, axis=tuple(attributes["axes"]), keepdims=bool(attributes["keepdims"]))
    if op == "Reshape":
        return jnp.reshape(x, attributes["shape"])
    if op == "Transpose":
        return jnp.transpose(x, attributes["perm"])
    if op == "Softmax":
        return jax.nn.softmax(x, axis=attributes["axis"])
    raise ValueError(f"the bench has no form of {op} for SPU")


def _convolve(operands: Sequence[Any], attributes: dict[str, Any]) -> Any:
    import jax

    x, kernel, *bias = operands
    pads = attributes["pads"]
    result = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=attributes["strides"],
        padding=((pads[0], pads[2]), (pads[1], pads[3])),
        rhs_dilation=attributes["dilations"],
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=attributes["group"],
    )
    return result + bias[0].reshape(1, -1, 1, 1) if bias else result


def _erf(z: Any) -> Any:
    """By tanh, so that a GELU is the common approximation of `jax.nn.gelu`: SPU has no better one of its own."""
    import jax.numpy as jnp

    return jnp.tanh(jnp.float32(2 / np.sqrt(np.pi)) * (z + jnp.float32(0.08943) * z * z * z))


def compile_problem(folder: Path) -> None:
    """Writes the program and every party's share of every secret into the folder."""
    from spu.utils import frontend

    graph = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as found:
        arrays = {name: found[name] for name in found}
    constants = {name: np.float32(arrays[key]) for name, key in graph["constants"].items()}
    secrets = [arrays[graph["arrays"][name]].astype(np.float32) for name in graph["secrets"]]
    options = libspu.CompilerOptions()
    options.enable_optimize_denominator_with_broadcast = True
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        program(graph, constants),
        secrets,
        {},
        [f"in{i}" for i in range(len(secrets))],
        [libspu.VIS_SECRET] * len(secrets),
        lambda found: [f"out{i}" for i in range(len(found))],
        copts=options,
    )
    (folder / "program").write_bytes(executable.SerializeToString())
    sharing = Io(PARTIES, configuration())
    for i, array in enumerate(secrets):
        for party, share in enumerate(sharing.make_shares(array, libspu.VIS_SECRET)):
            write_share(folder / f"in{i}.{party}", share)


class Desk:
    """One party."""

    def join(self, *, party: int, addresses: list[str]) -> Answer:
        """Joins the session."""
        self.party = party
        self.log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115
        logging = libspu.logging.LogOptions()
        logging.system_log_path = self.log.name
        logging.enable_console_logger = False
        libspu.logging.setup_logging(logging)
        desc = libspu.link.Desc()
        desc.recv_timeout_ms = 900_000
        desc.connect_retry_times, desc.connect_retry_interval_ms = 100, 100
        for rank, address in enumerate(addresses):
            desc.add_party(f"party{rank}", address)
        self.link = libspu.link.create_brpc(desc, party)
        return {"version": metadata.version("spu")}

    def prepare(self, *, party: int, folder: str) -> Answer:
        """Takes its shares of a problem; what it had of another one is let go."""
        self.folder = Path(folder)
        self.runtime: Any = None
        self.executable = libspu.Executable()
        self.executable.ParseFromString((self.folder / "program").read_bytes())
        self.output_name = self.executable.output_names[0]
        self.runtime = self._loaded(profile=False)
        return {}

    def _loaded(self, *, profile: bool) -> Any:
        runtime = Runtime(self.link, configuration(profile=profile))
        for name in self.executable.input_names:
            runtime.set_var(name, read_share(self.folder / f"{name}.{self.party}"))
        return runtime

    def traffic(self, *, party: int) -> Answer:
        """Bytes and messages that this party sends in a run, by one that is profiled."""
        before = len(Path(self.log.name).read_text(errors="replace"))
        self._loaded(profile=True).run(self.executable)
        told = Path(self.log.name).read_text(errors="replace")[before:]
        found = re.search(r"total send bytes (\d+).*?send actions (\d+)", told)
        if found is None:
            raise ValueError("the log has no line about the link")
        reset_peak()
        return {"sent_bytes": int(found[1]), "rounds": int(found[2])}

    def run(self, *, party: int, repeats: int) -> Answer:
        """From shared inputs to shared outputs."""
        return repeat(lambda: self.runtime.run(self.executable), repeats)

    def output(self, *, party: int) -> Answer:
        """Writes this party's share of the output."""
        write_share(self.folder / f"{self.output_name}.{party}", self.runtime.get_var(self.output_name))
        return {}

    def gather(self, *, party: int) -> Answer:
        """Opens the output from the files of all parties, into ``output.npy``."""
        shares = [read_share(self.folder / f"{self.output_name}.{each}") for each in range(PARTIES)]
        np.save(self.folder / "output.npy", Io(PARTIES, configuration()).reconstruct(shares))
        return {}

    def memory(self, *, party: int) -> Answer:
        """Peak since the first run."""
        return {"rss_bytes": peak_rss_bytes()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["compile"]:
        compile_problem(Path(sys.argv[2]))
        raise SystemExit(0)
    desk = Desk()
    names = ("join", "prepare", "run", "traffic", "output", "gather", "memory")
    raise SystemExit(serve({name: getattr(desk, name) for name in names}))
