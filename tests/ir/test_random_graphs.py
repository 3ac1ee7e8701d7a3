"""Properties of random graphs: accepted by the verifier, exact as text, and with the shapes that were inferred."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings

from tacit.ir import OPS, Graph, from_text, interpret, to_text, verify
from tests.ir.random_graphs import batches, graphs

SETTINGS = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def test_text_and_values_are_exact_over_the_whole_table() -> None:
    seen: Counter[str] = Counter()

    @settings(SETTINGS, max_examples=400)
    @given(graph=graphs(), data=batches())
    def check(graph: Graph, data: dict[str, Any]) -> None:
        verify(graph)
        seen.update(node.op for node in graph.nodes)
        again = from_text(to_text(graph))
        assert again.digest() == graph.digest()
        want, got = (interpret(g, data, trace=True) for g in (graph, again))
        assert want.keys() == got.keys()
        for name, array in want.items():
            np.testing.assert_array_equal(got[name], array)

    check()
    assert set(OPS) - set(seen) == set()


@SETTINGS
@given(graph=graphs(max_nodes=6), data=batches())
def test_each_sample_is_answered_by_itself(graph: Graph, data: dict[str, Any]) -> None:
    whole = interpret(graph, data)
    for i in range(len(data["x"])):
        alone = interpret(graph, {name: array[i : i + 1] for name, array in data.items()})
        for name in graph.outputs:
            if graph.values[name].has_batch:
                np.testing.assert_allclose(alone[name][0], whole[name][i], rtol=1e-12, atol=1e-12)


@SETTINGS
@given(graph=graphs(), data=batches())
def test_a_cut_anywhere_gives_the_same_answer(graph: Graph, data: dict[str, Any]) -> None:
    trace = interpret(graph, data, trace=True)
    for node in graph.nodes:
        if graph.values[node.output].has_batch and np.isfinite(trace[node.output].astype(np.float64)).all():
            tail = graph.subgraph(
                [*(v.name for v in graph.inputs), node.output],
                [name for name in graph.outputs if name != node.output] or [node.output],
            )
            again = interpret(tail, {**data, node.output: trace[node.output]})
            for name, array in again.items():
                np.testing.assert_array_equal(array, trace[name])
            return
