"""Each rule of the verifier: a graph that breaks it is refused by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tacit.errors import ModelError, ShapeError
from tacit.ir import Graph, GraphBuilder, Node, Value, verify


def _classifier() -> Graph:
    builder = GraphBuilder("classifier")
    x = builder.input("x", (None, 3))
    z = builder.node(
        "MatMul", x, builder.constant(np.arange(6.0).reshape(3, 2), name="w"), output="z", name="dense"
    )
    p = builder.node("Softmax", z, axis=1, output="p")
    index = builder.node("ArgMax", p, axis=1, keepdims=0, output="index")
    label = builder.node(
        "Gather", builder.constant(["no", "yes"], name="names", public=True), index, axis=0, output="l"
    )
    return builder.finish(
        [p, label],
        roles={"probabilities": p, "label": label},
        classes=("no", "yes"),
        feature_names=("a", "b", "c"),
    )


def _readonly(array: Any) -> Any:
    array = np.array(array)
    array.setflags(write=False)
    return array


def _without(graph: Graph, name: str) -> dict[str, Value]:
    return {key: value for key, value in graph.values.items() if key != name}


def _other_node(graph: Graph, position: int, **changes: Any) -> Graph:
    nodes = list(graph.nodes)
    nodes[position] = replace(nodes[position], **changes)
    return replace(graph, nodes=tuple(nodes))


def _with_value(graph: Graph, name: str, **changes: Any) -> Graph:
    return replace(graph, values={**graph.values, name: replace(graph.values[name], **changes)})


GOOD = _classifier()
BAD_ARRAY = _readonly([[0.0, np.nan], [1.0, 2.0], [3.0, 4.0]])

BROKEN: dict[str, tuple[Graph, str]] = {
    "no input": (replace(GOOD, inputs=()), "needs an input"),
    "two inputs of one name": (replace(GOOD, inputs=GOOD.inputs * 2), "two inputs have one name"),
    "input not on record": (replace(GOOD, values=_without(GOOD, "x")), "input `x` is not recorded"),
    "input otherwise on record": (_with_value(GOOD, "x", shape=(None, 4)), "input `x` is not recorded"),
    "string input": (
        replace(
            GOOD,
            inputs=(Value("x", (None, 3), "str"),),
            values={**GOOD.values, "x": Value("x", (None, 3), "str")},
        ),
        "is a string",
    ),
    "too few feature names": (replace(GOOD, feature_names=("a",)), "1 feature names"),
    "constant named as the input": (
        replace(GOOD, constants={**GOOD.constants, "x": _readonly([1.0])}),
        "`x` is made twice",
    ),
    "constant with NaN": (replace(GOOD, constants={**GOOD.constants, "w": BAD_ARRAY}), "`w` holds NaN"),
    "constant of another shape": (
        replace(GOOD, constants={**GOOD.constants, "w": _readonly([[1.0, 2.0]])}),
        "`w` is not recorded",
    ),
    "constant of another type": (
        replace(GOOD, constants={**GOOD.constants, "w": _readonly(np.ones((3, 2), dtype=np.int64))}),
        "`w` is not recorded",
    ),
    "constant in float32": (
        replace(GOOD, constants={**GOOD.constants, "w": _readonly(np.ones((3, 2), dtype=np.float32))}),
        "float32",
    ),
    "secret constant on record as public": (_with_value(GOOD, "w", owner="public"), "`w` is not recorded"),
    "public constant that is none": (
        replace(GOOD, public_constants=frozenset({"names", "z"})),
        "`z` is declared a public constant",
    ),
    "unknown op": (_other_node(GOOD, 0, op="Sinh"), "no such op"),
    "too many inputs": (_other_node(GOOD, 1, inputs=("z", "z")), "takes 1 to 1 inputs"),
    "unordered": (replace(GOOD, nodes=GOOD.nodes[::-1]), "nothing before it makes"),
    "reads nothing": (_other_node(GOOD, 1, inputs=("nobody",)), "`nobody`, which nothing before it makes"),
    "made twice": (
        replace(GOOD, nodes=(*GOOD.nodes, Node("Abs", ("z",), "p"))),
        "the value `p` is made twice",
    ),
    "attribute missing": (_other_node(GOOD, 1, attributes={}), "needs the attribute `axis`"),
    "attribute left to its default": (
        _other_node(GOOD, 2, attributes={"axis": 1}),
        "the type or owner|complete",
    ),
    "attribute of a wrong kind": (_other_node(GOOD, 1, attributes={"axis": 1.0}), "must be of kind int"),
    "attribute that is none": (
        _other_node(GOOD, 1, attributes={"axis": 1, "speed": 2}),
        "has no attribute `speed`",
    ),
    "operand shapes": (_other_node(GOOD, 1, attributes={"axis": 2}), "axis must be in"),
    "shape on record": (_with_value(GOOD, "z", shape=(None, 3)), "not the one that the op gives"),
    "type on record": (_with_value(GOOD, "index", dtype="float64"), "not the one that the op gives"),
    "owner on record": (_with_value(GOOD, "p", owner="public"), "not the one that the op gives"),
    "value without maker": (
        replace(GOOD, values={**GOOD.values, "stray": Value("stray", (1,))}),
        "`stray` is on record and nothing makes it",
    ),
    "no output": (replace(GOOD, outputs=(), roles={}), "needs an output"),
    "output twice": (replace(GOOD, outputs=("p", "p", "l")), "named twice"),
    "output that is none": (replace(GOOD, outputs=("p", "q", "l")), "`q` is made by nothing"),
    "unknown role": (replace(GOOD, roles={"answer": "p"}), "a role is one of"),
    "role of an inner value": (replace(GOOD, roles={"scores": "z"}), "names `z`, which is no output"),
    "mixed classes": (replace(GOOD, classes=("no", 1)), "all integers or all strings"),  # type: ignore[arg-type]
    "class twice": (replace(GOOD, classes=("no", "no")), "named twice"),
}


def test_the_good_graph_is_accepted() -> None:
    verify(GOOD)


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_refuses(name: str) -> None:
    graph, part = BROKEN[name]
    with pytest.raises((ModelError, ShapeError), match=part):
        verify(graph)


def test_a_constant_that_can_be_written_is_frozen_by_the_graph() -> None:
    array = np.ones((3, 2))
    graph = replace(GOOD, constants={**GOOD.constants, "w": array})
    verify(graph)
    array[0, 0] = 9.0
    assert graph.constants["w"][0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        graph.constants["w"][0, 0] = 2.0
