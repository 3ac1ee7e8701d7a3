"""Three organisations with files of their own, for tests of jobs."""

from __future__ import annotations

import datetime
import pathlib
from typing import Any

import numpy as np

from tacit.runtime.party import Organisation, create, load_party
from tests.net.channel_parties import free_ports

NAMES = ("clinic", "maker", "third")
LAYERS, ROWS, WIDTH = 6, 4, 5


def matrices(layers: int = LAYERS) -> list[Any]:
    random = np.random.default_rng(3)
    return [np.abs(random.normal(0, 0.5, (WIDTH, WIDTH))) for _ in range(layers)]


def samples() -> Any:
    return np.random.default_rng(4).uniform(0, 1, (ROWS, WIDTH))


def make(folder: pathlib.Path, *, rule: str = "", layers: int = LAYERS) -> dict[str, Organisation]:
    """The parties, who know each other and accept any job; ``rule``: other lines of ``accepts`` for `maker`."""
    now = datetime.datetime.now(datetime.UTC)
    ports = iter(free_ports(2 * len(NAMES)))
    made = {name: create(name, folder, now=now) for name in NAMES}
    places = {name: (next(ports), next(ports)) for name in NAMES}
    np.savez(folder / "model.npz", **{f"{place:03}": each for place, each in enumerate(matrices(layers))})
    np.save(folder / "rows.npy", samples())
    offers = {
        "clinic": '[offers.data]\nrows = "rows.npy"\n',
        "maker": '[offers.models.net]\nfile = "model.npz"\n',
        "third": "",
    }
    anything = "".join(
        f'{key} = ["ANY"]\n' for key in ("starters", "models", "data", "outputs", "protections", "plans")
    )
    for name in NAMES:
        port, session_port = places[name]
        text = f'name = "{name}"\n[identity]\ncertificate = "{name}.pem"\nkey = "{name}.key"\n'
        text += f"[listen]\nport = {port}\nsession_port = {session_port}\n"
        for peer in NAMES:
            if peer != name:
                text += f'[peers.{peer}]\naddress = "127.0.0.1:{places[peer][0]}"\n'
                text += f'session_port = {places[peer][1]}\npin = "{made[peer].pin}"\n'
        text += offers[name] + "[[accepts]]\n" + (rule if name == "maker" and rule else anything)
        (folder / f"{name}.toml").write_text(text)
    write_job(folder)
    return {name: load_party(folder / f"{name}.toml") for name in NAMES}


def write_job(folder: pathlib.Path, **changes: Any) -> pathlib.Path:
    content = {
        "party": "clinic.toml",
        "model": "maker/net",
        "data": "clinic/rows",
        "outputs": ["clinic"],
        "parties": list(NAMES),
        "protection": "replicated3",
        "checkpoint_every": 1,
        **changes,
    }
    path = folder / "job.toml"
    path.write_text(
        "".join(f"{key} = {_toml(value)}\n" for key, value in content.items() if value is not None)
    )
    return path


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
