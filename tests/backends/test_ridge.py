"""Maxima as sums of ridge functions: what fits find, rounds in slots and columns, plans that hold, bad bytes."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from tacit.backends.ckks.compiled import Compiled, _ridge_from_list, _ridge_to_list
from tacit.backends.ckks.layout import GridLayout
from tacit.backends.ckks.maximum import Windows, pooled, shift_of
from tacit.backends.ckks.partition import partition
from tacit.backends.ckks.regression import FAMILIES, fit_round, largest_forms, round_values
from tacit.backends.ckks.ridge import Ridge, RidgeRound, positions, steps_of, times
from tacit.backends.ckks.sensitivity import gradients, through_rounds
from tacit.backends.ckks.simulation import Simulation
from tests.backends.reference import assert_matches_reference, candidate_of
from tests.backends.test_maximum import PLACED, images, pools


def fitted(count: int, rectified: bool, depth: int = 4) -> tuple[RidgeRound, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    elements = rng.normal(size=(count, 6000)).clip(-4, 4) / 40
    wanted = elements.max(axis=0)
    wanted = np.maximum(wanted, 0) if rectified else wanted
    reaches = [1.2 * reach for reach in largest_forms(count, rectified, elements)]
    assert max(reaches) <= 1
    turn = fit_round((0, 1), elements, wanted, reaches, depth=depth, rectified=rectified)
    return turn, elements, wanted


@pytest.mark.parametrize(("count", "rectified"), sorted(FAMILIES))
def test_deeper_fits_come_nearer(count: int, rectified: bool) -> None:
    errors = []
    for depth in (3, 4, 5):
        turn, elements, wanted = fitted(count, rectified, depth)
        assert turn.depth == depth
        errors.append(float(np.sqrt(((round_values(turn, elements) - wanted) ** 2).mean() / wanted.var())))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.12


def test_one_step_for_a_maximum_and_its_relu_beats_none() -> None:
    turn, elements, wanted = fitted(2, True)
    straight = np.polynomial.polynomial.polyfit(elements.sum(axis=0), wanted, 4)
    guess = np.polynomial.polynomial.polyval(elements.sum(axis=0), straight)
    assert np.abs(round_values(turn, elements) - wanted).mean() < np.abs(guess - wanted).mean() / 3


def test_rounds_are_symmetric() -> None:
    """Blocks that repeat compare the same elements in other orders, and must agree."""
    for count, rectified in FAMILIES:
        turn, elements, _ = fitted(count, rectified)
        assert np.allclose(round_values(turn, elements), round_values(turn, elements[::-1]), atol=1e-9)


def test_slopes_bound_what_noise_does() -> None:
    turn, elements, _ = fitted(3, True)
    noise = np.random.default_rng(5).choice((-1e-6, 1e-6), elements.shape)
    moved = np.abs(round_values(turn, elements + noise) - round_values(turn, elements))
    assert moved.max() <= turn.slope * 1e-6 * 1.01


@pytest.mark.parametrize(("windows", "layout"), PLACED)
def test_rounds_agree_in_slots_columns_and_samples(windows: Windows, layout: GridLayout) -> None:
    turns = tuple(replace(fitted(count, False)[0], offset=offset) for offset, count in steps_of(windows))
    turns = tuple(times(turn, 0.5) for turn in turns)
    x = np.random.default_rng(6).uniform(-0.05, 0.05, prod(windows.shape))
    slots = np.array(layout.pack(x))
    for turn in turns:
        shift = shift_of(layout, windows, turn.offset) or 0
        slots = round_values(turn, [np.roll(slots, -i * shift) for i in range(turn.count)])
    columns = x
    for turn, groups in zip(turns, Ridge((0,), windows, turns).columns, strict=True):
        columns = round_values(turn, [columns[list(places)] for places in zip(*groups, strict=True)])
    result = pooled(layout, windows)
    held = result.index_at() >= 0
    assert np.allclose(slots[held], columns[result.index_at()[held]], atol=1e-9)


@pytest.mark.parametrize(("layout", "kernel"), [("latency", 2), ("throughput", 2), ("latency", 3)])
def test_measured_plans_hold_on_samples_that_no_fit_saw(layout: str, kernel: int) -> None:
    graph = pools(kernel=kernel, stride=4 - kernel, blocks=2)
    x = images(graph, 400)
    candidate = candidate_of(graph, x, layout=layout, max_error=0.25 * (kernel - 1), measured=True)
    details = candidate.declaration.details
    assert details["promise"] == "measured"
    assert details["fitted_samples"] == details["held_out_samples"] == 200
    again = Compiled.from_bytes(candidate.compile().to_bytes())
    assert again.program().rotations() == candidate.program.rotations()
    assert again.program().relinearize() == candidate.program.relinearize()
    answer = Simulation(again).predict(images(graph, 64, seed=9))
    assert answer.within_bound.all()
    assert_matches_reference(
        graph, images(graph, 2, seed=1), candidate, encrypted=kernel == 2 and layout == "latency"
    )


def test_gradients_are_those_of_differences() -> None:
    graph = pools(blocks=2)
    part = partition(graph)
    x = images(graph, 3).reshape(3, -1).T

    def values(start: int, value: np.ndarray) -> list[np.ndarray]:
        found: list[np.ndarray] = [value] * (start + 1)
        for node in part.nodes[start:]:
            read = found[node.reads[0]]
            found.append(
                node.matrix @ read + node.bias[:, None] if node in part.affines else node.function(read)
            )
        return found

    clear = values(0, x)
    slopes = gradients(part, clear)
    first = part.nodes.index(part.activations[0]) + 1
    slope = slopes[first]
    assert slope is not None
    move = np.random.default_rng(2).normal(size=clear[first].shape) * 1e-7
    found = values(first, clear[first] + move)[-1] - clear[-1]
    assert np.allclose(found, np.einsum("pes,es->ps", slope, move), atol=1e-10)
    windows = part.activations[0].windows
    assert windows is not None
    made = positions(windows, steps_of(windows))
    pairs = clear[first - 1][np.stack([made[1], made[1] + windows.shape[2]])].max(axis=0)
    inner, last = through_rounds(windows, [clear[first - 1], pairs], slope)
    assert last is slope
    move = np.random.default_rng(3).normal(size=pairs.shape) * 1e-7
    after = np.searchsorted(made[1], np.stack([made[2], made[2] + 1]))
    moved = np.einsum("pes,es->ps", slope, (pairs + move)[after].max(axis=0) - pairs[after].max(axis=0))
    assert np.allclose(moved, np.einsum("pes,es->ps", inner, move), atol=1e-10)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weights", [0, 0]),
        ("weights", [-1, -1]),
        ("weights", [100, -1]),
        ("places", [-1]),
        ("places", [1]),
        ("places", []),
        ("width", 0.0),
        ("width", float("nan")),
        ("series", b""),
        ("reach", 0.0),
        ("reach", 2.0),
        ("reach", float("nan")),
    ],
)
def test_rounds_from_bad_bytes_are_refused(field: str, value: object) -> None:
    windows = Windows((1, 4, 4), (1, 2), (1, 2))
    turn, _, _ = fitted(2, False)
    fields = [_ridge_to_list(turn)]
    assert _ridge_from_list(fields, windows) == (turn,)
    fields[0][3][0][["weights", "places", "width", "series", "high", "reach"].index(field)] = value
    with pytest.raises(ValueError, match=r"round|term|empty"):
        _ridge_from_list(fields, windows)
