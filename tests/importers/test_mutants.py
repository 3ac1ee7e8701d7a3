"""Seeded mutants of ONNX files: whatever the bytes, the importer gives a graph or a typed error."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import onnx
import pytest

from tacit.errors import ModelError, TacitError
from tacit.importers import load
from tests.importers.fitted import fit
from tests.importers.onnx_models import residual, transformer_block
from tests.importers.test_onnx_runtime import _exported

MUTANTS = 1200
"""Of each of the four models."""


def _classifier() -> onnx.ModelProto:
    return _exported(*fit("logistic, named classes"))


def _forest() -> onnx.ModelProto:
    return _exported(*fit("boosting, three classes"))


def _mutant(source: bytes, chance: random.Random) -> bytes:
    """One to four changes: bits, bytes, runs cut out, doubled, moved or replaced, and truncation."""
    data = bytearray(source)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        length = min(len(data) - place, chance.choice((1, 2, 4, 8, 64)))
        match chance.randrange(7):
            case 0:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2 if len(data) > 64:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length]
            case 4:
                target = chance.randrange(len(data))
                data[target : target + length] = data[place : place + length]
            case 5:
                data[place : place + length] = chance.randbytes(length)
            case _ if chance.random() < 0.1 and place > 16:
                del data[place:]
    return bytes(data)


@pytest.mark.parametrize("make", [_classifier, _forest, residual, transformer_block])
def test_mutants_give_a_graph_or_a_typed_error(make: Callable[[], onnx.ModelProto]) -> None:
    chance = random.Random(2026)
    source = _small(make()).SerializeToString()
    outcomes: Counter[str] = Counter()
    started = time.perf_counter()
    for number in range(MUTANTS):
        mutant = _mutant(source, chance)
        try:
            load(mutant)
            outcomes["graph"] += 1
        except TacitError as error:
            assert isinstance(error, ModelError), f"mutant {number}: {type(error).__name__}"
            outcomes[type(error).__name__] += 1
    print(dict(outcomes), round(time.perf_counter() - started, 1), "s")
    assert outcomes["ModelError"] > MUTANTS // 20
    assert outcomes["graph"] > 0


def _small(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with names of nodes shortened, so that changes hit structure and not prose."""
    for index, node in enumerate(proto.graph.node):
        node.name = str(index)
    proto.doc_string = ""
    return proto
