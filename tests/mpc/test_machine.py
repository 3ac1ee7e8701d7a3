"""Rates of a machine under `mpc`: their file, their fit, and what a network adds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tacit.backends.mpc.machine import INTEL_XEON, MAX_FILE_BYTES, Amounts, fit, load, save
from tacit.backends.mpc.network import LAN, LOOPBACK, WAN, Network
from tacit.backends.mpc.rehearsal import Free, Price
from tacit.backends.mpc.timing import JOBS, amounts_of
from tacit.errors import DataError, InvalidParameterError


class Chatty(Free):
    """Every product is a round in which each of three parties sends a word for each element."""

    parties = 3

    def multiply(self, n: int, cut: int) -> Price:
        return ((64 * n, 64 * n, 64 * n),)

    def rectify(self, n: int, width: int) -> Price:
        return ((n * width, 0, 0), (0, n, n))


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "machine-mpc.json"
    save(INTEL_XEON, path)
    assert load(path) == INTEL_XEON
    assert [entry.name for entry in path.parent.iterdir()] == ["machine-mpc.json"]


def _no_variant(found: dict[str, Any]) -> None:
    del found["rates"]["dealer2"]


def _negative(found: dict[str, Any]) -> None:
    found["rates"]["replicated3"]["rounds"] = -1.0


def _nan(found: dict[str, Any]) -> None:
    found["rates"]["replicated3"]["rounds"] = math.nan


def _unknown(found: dict[str, Any]) -> None:
    found["rates"]["replicated3"]["hopes"] = 1e-9


def _other_format(found: dict[str, Any]) -> None:
    found["format"] = 99


def _escape(found: dict[str, Any]) -> None:
    found["cpu"] = "\x1b[2J"


def _zeros(found: dict[str, Any]) -> None:
    found["rates"]["dealer2"] = dict.fromkeys(found["rates"]["dealer2"], 0)


@pytest.mark.parametrize("change", [_no_variant, _negative, _nan, _unknown, _other_format, _escape, _zeros])
def test_a_broken_file_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    found = INTEL_XEON.to_dict()
    change(found)
    path = tmp_path / "machine-mpc.json"
    path.write_text(json.dumps(found))
    with pytest.raises(DataError) as caught:
        load(path)
    assert "calibrate" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b" " * (MAX_FILE_BYTES + 1), b"[" * 9000])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "machine-mpc.json"
    path.write_bytes(content)
    with pytest.raises(DataError):
        load(path)


def test_jobs_are_what_their_prices_say() -> None:
    found = {(job.method, job.size): amounts_of(job, Chatty()) for job in JOBS}
    assert found["multiply", 1 << 12] == Amounts(calls=1, rounds=1, sent_bytes=8 << 12, elements=1 << 12)
    assert found["chain", 64] == Amounts(calls=64, rounds=64, sent_bytes=64 * 8, elements=64)
    assert found["beside", 64] == Amounts(calls=64, rounds=1, sent_bytes=64 * 8, elements=64)
    assert found["matmul", 128] == Amounts(calls=1, rounds=1, sent_bytes=8 << 14, products=128**3)
    assert found["rectify", 1 << 11] == Amounts(
        calls=1, rounds=2, sent_bytes=4 << 11, compared_bits=(1 << 11) * 32
    )


def test_rates_are_found_again_from_times_that_they_made() -> None:
    known = INTEL_XEON.rates["replicated3"]
    jobs = [amounts_of(job, Chatty()) for job in JOBS]
    rates, worst = fit([(each, INTEL_XEON.seconds("replicated3", each)) for each in jobs])
    assert worst == pytest.approx(1.0, abs=1e-6)
    for each in jobs:
        again = sum(r * a for r, a in zip(rates, each.vector(), strict=True))
        assert again == pytest.approx(sum(r * a for r, a in zip(known, each.vector(), strict=True)), rel=1e-6)


def test_networks_add_waiting_and_a_slower_wire() -> None:
    amounts = Amounts(rounds=30, sent_bytes=2.65e6, products=1e7, compared_bits=1e6)
    here, near, far = (INTEL_XEON.seconds("replicated3", amounts, n) for n in (LOOPBACK, LAN, WAN))
    carried = 2.65e6 * INTEL_XEON.rates["replicated3"][3]
    assert near == pytest.approx(here + 30 * 0.5e-3 + 2.65e6 / 125e6 - carried)
    assert far == pytest.approx(here + 30 * 20e-3 + 2.65e6 / 12.5e6 - carried)


@pytest.mark.parametrize("wrong", [{"latency_s": -1.0}, {"latency_s": math.nan}, {"bytes_per_s": 0.0}])
def test_networks_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameterError):
        Network("odd", **wrong)
