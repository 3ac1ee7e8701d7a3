"""Three processes that compute together, on loopback or on a simulated network: the same for every system."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partner import Answer, Partner, PartnerError

__all__ = ["NETWORKS", "Mesh", "Network", "network"]

PARTIES = 3
_LAST_WORDS_S = 5.0
"""What the others get to answer once one has failed."""
NETWORKS: Mapping[str, tuple[int, int] | None] = {"loopback": None, "lan": (1000, 500), "wan": (100, 20_000)}
"""Mbit/s of each sender and microseconds one way."""


@dataclass(frozen=True)
class Network:
    """Where the parties are. ``script``: makes a namespace for each; ``None`` on loopback."""

    name: str
    script: Path | None = None

    def addresses(self) -> list[tuple[str, int]]:
        """Host and free port of each party."""
        if self.script is not None:
            return [(f"10.77.0.{party + 1}", port) for party, port in enumerate(_free_ports())]
        return [("127.0.0.1", port) for port in _free_ports()]

    def hosts(self) -> list[str]:
        return [host for host, _ in self.addresses()]

    def prefixes(self) -> list[list[str]]:
        """What the command of each party begins with."""
        return [[str(part) for part in self.command(party, [])] for party in range(PARTIES)]

    def command(self, party: int, command: Sequence[str | Path]) -> list[str | Path]:
        """``command`` as it is run at the party's place."""
        return list(command) if self.script is None else [self.script, "exec", str(party), *command]


@contextmanager
def network(name: str, script: Path | None) -> Iterator[Network]:
    """The network, which is gone when the block ends. Raises ``PartnerError`` where it cannot be made."""
    shape = NETWORKS[name]
    if shape is None:
        yield Network(name)
        return
    if script is None or not script.exists():
        raise PartnerError(f"the network `{name}` needs a simulator: --netsim PATH")
    if os.geteuid() != 0:
        raise PartnerError(f"the network `{name}` needs root: network namespaces")
    made = subprocess.run(
        [script, "up", str(PARTIES), *map(str, shape)], capture_output=True, text=True, check=False
    )
    try:
        if made.returncode:
            raise PartnerError(f"the network `{name}` did not come up: {made.stderr.strip()[-200:]}")
        yield Network(name, script)
    finally:
        subprocess.run([script, "down"], capture_output=True, check=False)


class Mesh:
    """The processes of one system. Every command goes to all of them at once."""

    def __init__(
        self,
        where: Network,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.addresses = where.addresses()
        self._partners: list[Partner] = []
        try:
            for party in range(PARTIES):
                self._partners.append(Partner(where.command(party, command), environment=environment))
        except OSError as error:
            self.close()
            raise PartnerError(f"its processes do not start: {error}") from error

    def ask(self, do: str, *, timeout_s: float = 600.0, **arguments: Any) -> list[Answer]:
        """The answers of all. Raises what the first that failed told."""
        self.begin(do, **arguments)
        return self.end(do, timeout_s=timeout_s)

    def begin(self, do: str, **arguments: Any) -> None:
        """Asks all and does not wait; each is told which ``party`` it is."""
        for party, partner in enumerate(self._partners):
            partner.begin(do, party=party, **arguments)

    def end(self, do: str, *, timeout_s: float = 600.0) -> list[Answer]:
        answers: list[Answer] = []
        failures: list[PartnerError] = []
        for partner in self._partners:
            try:
                answers.append(partner.end(do, timeout_s=_LAST_WORDS_S if failures else timeout_s))
            except PartnerError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return answers

    def ask_one(self, party: int, do: str, **arguments: Any) -> Answer:
        return self._partners[party].ask(do, party=party, **arguments)

    def run(self, repeats: int, *, timeout_s: float = 600.0) -> list[float]:
        """Seconds of each run: those of the party that took longest."""
        told = [answer["seconds"] for answer in self.ask("run", repeats=repeats, timeout_s=timeout_s)]
        return [max(each) for each in zip(*told, strict=True)]

    def most(self, do: str, name: str) -> int:
        """The largest of what the parties tell."""
        return int(max(answer[name] for answer in self.ask(do)))

    def close(self) -> None:
        for partner in self._partners:
            with contextlib.suppress(PartnerError):
                partner.close()


def _free_ports() -> list[int]:
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(PARTIES)]
        return [int(found.getsockname()[1]) for found in sockets]
