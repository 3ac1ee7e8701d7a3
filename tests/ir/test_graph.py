"""Values, nodes, graphs, the builder, and the parts of graphs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from tacit.errors import ModelError, ShapeError
from tacit.ir import Graph, GraphBuilder, interpret, verify
from tacit.ir.signature import MAX_ELEMENTS, TensorType, broadcast_shapes


def _line() -> Graph:
    builder = GraphBuilder("line")
    x = builder.input("x", (None, 2))
    product = builder.node("MatMul", x, builder.constant([[1.0], [2.0]], name="w"), output="product")
    total = builder.node("Add", product, builder.constant([0.5], name="b"), output="total")
    result = builder.node("Sigmoid", total, output="y")
    return builder.finish([result], roles={"output": result}, metadata={"source": "test"})


def test_owners_follow_the_data() -> None:
    graph = _line()
    owners = {name: value.owner for name, value in graph.values.items()}
    assert owners == {
        "x": "owner",
        "w": "provider",
        "b": "provider",
        "product": "owner",
        "total": "owner",
        "y": "owner",
    }


def test_owners_of_what_only_the_provider_knows() -> None:
    builder = GraphBuilder("g")
    x = builder.input("x", (None, 2))
    w = builder.constant([1.0, 2.0])
    public = builder.constant([3.0, 4.0], public=True)
    assert builder.values[builder.node("Exp", w)].owner == "provider"
    assert builder.values[builder.node("Exp", public)].owner == "public"
    assert builder.values[builder.node("Mul", w, public)].owner == "provider"
    assert builder.values[builder.node("Mul", x, public)].owner == "owner"


def test_graphs_cannot_be_changed() -> None:
    graph = _line()
    with pytest.raises(FrozenInstanceError):
        graph.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        graph.constants["w"] = np.ones(1)  # type: ignore[index]
    with pytest.raises(TypeError):
        graph.nodes[0].attributes["a"] = 1  # type: ignore[index]


def test_makers_and_users() -> None:
    graph = _line()
    maker = graph.node_of("total")
    assert maker is not None and maker.op == "Add"
    assert graph.node_of("x") is None
    assert [node.output for node in graph.users("product")] == ["total"]
    assert graph.primary == "y" and graph.label is None


def test_a_subgraph_computes_the_same_values() -> None:
    graph = _line()
    x = np.array([[1.0, -2.0], [0.25, 3.0]])
    trace = interpret(graph, x, trace=True)
    tail = graph.subgraph(["product"], ["y"])
    verify(tail)
    assert set(tail.constants) == {"b"}
    np.testing.assert_array_equal(interpret(tail, trace["product"])["y"], trace["y"])
    with pytest.raises(ModelError, match="`x`"):
        graph.subgraph(["total"], ["y", "product"])


def test_with_nodes_infers_types_anew() -> None:
    graph = _line()
    shorter = graph.with_nodes(graph.nodes[:-1], outputs=["total"])
    verify(shorter)
    assert shorter.outputs == ("total",) and not shorter.roles
    assert "y" not in shorter.values


def test_the_digest_changes_with_a_weight() -> None:
    graph = _line()
    other = graph.with_nodes(
        graph.nodes, constants={**graph.constants, "b": np.array([np.nextafter(0.5, 1)])}
    )
    assert graph.digest() == _line().digest() != other.digest()
    assert len(graph.digest()) == 64


def test_the_repr_shows_no_weight() -> None:
    assert repr(_line()) == "<Graph 'line' (x: [None, 2]), 3 nodes, 2 constants>"


def test_the_builder_drops_what_no_output_needs() -> None:
    builder = GraphBuilder("g")
    x = builder.input("x", (None, 2))
    builder.node("Exp", builder.constant([1.0], name="unused"))
    y = builder.node("Abs", x)
    graph = builder.finish([y])
    assert len(graph.nodes) == 1 and not graph.constants


def test_the_builder_refuses_names_that_are_taken() -> None:
    builder = GraphBuilder("g")
    x = builder.input("x", (None, 2))
    y = builder.node("Abs", x, output="y")
    with pytest.raises(ModelError, match="made twice"):
        builder.constant([1.0], name="x")
    with pytest.raises(ModelError, match="made twice"):
        builder.node("Abs", x, output="y")
    with pytest.raises(ModelError, match="made twice"):
        builder.rename({y: "x"})
    builder.rename({y: "z"})
    assert builder.finish(["z"]).outputs == ("z",)


@pytest.mark.parametrize(
    ("shapes", "result"),
    [
        ([(None, 3), (3,)], (None, 3)),
        ([(None, 3), (1, 1)], (None, 3)),
        ([(None, 4, 1), (None, 1, 5)], (None, 4, 5)),
        ([(), (2, 3)], (2, 3)),
    ],
)
def test_broadcasting(shapes: list[tuple[int | None, ...]], result: tuple[int | None, ...]) -> None:
    assert broadcast_shapes(shapes) == result


def test_only_one_stretches_to_the_batch() -> None:
    with pytest.raises(ShapeError):
        broadcast_shapes([(None, 3), (4, 3)])


def test_the_batch_comes_first_and_nothing_is_too_large() -> None:
    with pytest.raises(ShapeError, match="first dimension"):
        TensorType((3, None), "float64")
    with pytest.raises(ShapeError, match="at most"):
        TensorType((None, MAX_ELEMENTS, 2), "float64")
