"""The text of a graph: exact both ways, canonical, and safe to parse."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tacit.errors import ModelError, TacitError
from tacit.ir import Graph, GraphBuilder, digest, from_text, interpret, to_text

EXPECTED = """tacit graph 1
name "small"
metadata "source" "test"
feature "a"
feature "b"
class "no"
class "yes \\"q\\""
input "x" float64 [?, 2] owner
constant "flag" bool [2] provider AAE=
constant "names" str [2] public ["no", "yes \\"q\\""]
constant "w" float64 [2, 2] provider AAAAAAAA8D8AAAAAAAAAQAAAAAAAAPi/mpmZmZmZuT8=
node "z" = MatMul("x", "w") {} "dense"
node "chosen" = Where("flag", "z", "z") {} ""
node "i" = ArgMax("chosen") {axis=1, keepdims=0} ""
node "label" = Gather("names", "i") {axis=0} ""
node "padded" = Pad("z") {pads=[0, 1, 0, 0], value=0x1.999999999999ap-4} ""
output "padded"
output "label"
role "label" "label"
role "output" "padded"
"""


def _small() -> Graph:
    builder = GraphBuilder("small")
    x = builder.input("x", (None, 2))
    z = builder.node(
        "MatMul", x, builder.constant([[1.0, 2.0], [-1.5, 0.1]], name="w"), output="z", name="dense"
    )
    chosen = builder.node("Where", builder.constant([False, True], name="flag"), z, z, output="chosen")
    i = builder.node("ArgMax", chosen, axis=1, keepdims=0, output="i")
    names = builder.constant(["no", 'yes "q"'], name="names", public=True)
    label = builder.node("Gather", names, i, axis=0, output="label")
    padded = builder.node("Pad", z, pads=(0, 1, 0, 0), value=0.1, output="padded")
    return builder.finish(
        [padded, label],
        roles={"output": padded, "label": label},
        classes=("no", 'yes "q"'),
        feature_names=("a", "b"),
        metadata={"source": "test"},
    )


def test_the_text_is_as_documented() -> None:
    assert to_text(_small()) == EXPECTED


def test_the_text_gives_the_graph_back() -> None:
    graph = from_text(EXPECTED)
    assert to_text(graph) == EXPECTED
    assert graph.classes == ("no", 'yes "q"') and graph.feature_names == ("a", "b")
    assert graph.public_constants == {"names"} and graph.nodes[0].name == "dense"
    x = np.array([[0.1, 0.7], [3.0, -2.0]])
    want, got = interpret(_small(), x), interpret(graph, x)
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


def test_the_digest_is_the_sha_256_of_the_text() -> None:
    import hashlib

    assert digest(_small()) == hashlib.sha256(EXPECTED.encode()).hexdigest()


@pytest.mark.parametrize("value", [0.1, 1e-308, 5e-324, -0.0, 1.7976931348623157e308, 2**-1022])
def test_numbers_come_back_bit_for_bit(value: float) -> None:
    builder = GraphBuilder("n")
    x = builder.input("x", (None, 1))
    y = builder.node(
        "Pad", builder.node("Mul", x, builder.constant([value], name="c")), pads=(0, 1, 0, 0), value=value
    )
    graph = from_text(to_text(builder.finish([y])))
    assert graph.constants["c"].tobytes() == np.array([value]).tobytes()
    assert np.float64(graph.nodes[1].attributes["value"]).tobytes() == np.float64(value).tobytes()


REFUSED: dict[str, tuple[str, str]] = {
    "nothing": ("", "version 1"),
    "another version": (EXPECTED.replace("graph 1", "graph 2"), "version 1"),
    "no last line end": (EXPECTED[:-1], "version 1"),
    "an unknown line": (EXPECTED + 'spell "x"\n', "line 21"),
    "two names": (EXPECTED + 'name "b"\n', "one line `name`"),
    "other order of lines": (EXPECTED.replace('name "small"\n', "") + 'name "small"\n', "canonical"),
    "other spacing": (EXPECTED.replace('"z", "z")', '"z", "z", )'), "malformed|canonical|reads"),
    "decimal for hexadecimal": (EXPECTED.replace("0x1.999999999999ap-4", "0.1"), "kind|malformed"),
    "base64 of a wrong length": (EXPECTED.replace("AAAAAAAA8D8A", "AAAAAAAA"), "base64|elements"),
    "base64 that is none": (EXPECTED.replace("AAAAAAAA8D8", "!!!!!!!!8D8"), "base64"),
    "base64 with loose bits": (EXPECTED.replace("AAE=", "AAF="), "canonical"),
    "bool that is none": (EXPECTED.replace("AAE=", "AAI="), "0 and 1"),
    "a huge constant": (EXPECTED.replace("[2, 2] provider", "[99999999, 99999999] provider"), "elements"),
    "a shape that does not fit": (EXPECTED.replace("[2, 2] provider", "[4, 1] provider"), "do not multiply"),
    "an unknown op": (EXPECTED.replace("MatMul", "Sinh"), "no such op"),
    "an unknown role": (EXPECTED.replace('role "output"', 'role "answer"'), "role"),
    "an escape for a letter": (EXPECTED.replace('name "small"', 'name "\\u0073mall"'), "canonical"),
    "a number too long": (
        EXPECTED.replace("[?, 2] owner", f"[?, {'9' * 5000}] owner"),
        "malformed|holds at most",
    ),
    "endless attributes": (EXPECTED.replace("{axis=1, ", "{" + "a" * 300_000 + ", "), "malformed"),
    "endless lists": (EXPECTED.replace("{axis=1, ", "{" + "a=[1, " * 100_000), "malformed"),
    "attributes twice": (EXPECTED.replace("{axis=1, ", "{axis=1, axis=1, "), "canonical"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_canonical_is_refused(name: str) -> None:
    text, part = REFUSED[name]
    with pytest.raises(TacitError, match=part):
        from_text(text)


def test_mutants_of_the_text_give_a_graph_or_a_typed_error() -> None:
    chance = random.Random(7)
    accepted = 0
    for _ in range(3000):
        letters = list(EXPECTED)
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(letters))
            match chance.randrange(3):
                case 0:
                    letters[place] = chance.choice('0123456789"[]{}(),.=?-abxyz \n\\')
                case 1:
                    del letters[place : place + chance.randint(1, 12)]
                case _:
                    letters[place:place] = letters[place : place + chance.randint(1, 12)]
        text = "".join(letters)
        try:
            graph = from_text(text)
        except TacitError as error:
            assert isinstance(error, ModelError) or type(error).__name__ == "ShapeError"
            continue
        accepted += 1
        assert to_text(graph) == text
    assert accepted > 0
