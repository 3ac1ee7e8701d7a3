"""From a graph and the region of its inputs to a program, its weights, and the error that it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tacit.backends.mpc.engine import SLACK_BITS
from tacit.backends.mpc.executor import Holdings, decode_output, encode_inputs, run
from tacit.backends.mpc.lowering import Lowering, OverflowsError, lower
from tacit.backends.mpc.patterns import Terms, terms_of
from tacit.backends.mpc.program import Input, Instruction, Output, Program, Saturation
from tacit.backends.mpc.ranges import MARGIN, Box, FloatArray
from tacit.backends.mpc.rehearsal import Rehearsal, rehearse
from tacit.backends.mpc.rules import RULES
from tacit.backends.mpc.simplify import simplify
from tacit.backends.mpc.steps import Words
from tacit.errors import InvalidParameterError, NoAdmissiblePlanError, PrecisionError
from tacit.ir.graph import Graph, Value
from tacit.ir.interpret import bind_inputs, interpret
from tacit.ir.signature import Array

__all__ = ["Compiled", "compile_program", "rehearse_program"]

DEFAULT_FRAC_BITS = 16
LEAST_FRAC_BITS, MOST_FRAC_BITS = 12, 20
THRESHOLD_FRAC_BITS = 24
"""Of inputs that are only compared, at least: what is nearer to a threshold than 2^-24 may fall on its other side."""
WHOLE_FRAC_BITS = 4
"""Of inputs that are only compared, where all calibration data are whole numbers."""
SATURATION_MARGIN = 2.0
"""Hidden values are clipped at this many times what calibration samples reach."""
SPREAD_MARGIN = 2.0**-4
"""Sums of squares that values are divided by are taken for at least this part of the least of calibration samples."""
MEASURED_MARGIN = 4.0
"""A measured error is promised this many times as large."""
MEASURED_SAMPLES = 16
_LOOSE = 2.0**-4
"""A proven bound above this part of the size of the outputs says nothing: it is measured where samples are there."""
_MOST_ROWS = 4096
"""Of calibration data, on which the precision of comparisons is tried."""

_SELECTING = frozenset({"Gather", "Reshape", "Transpose", "Slice", "Concat"})
"""Ops that only move elements, between an input and the comparison that alone reads it."""

_MOVING = frozenset({"reshape", "transpose", "slice", "take", "concat", "subtract", "negate", "times"})


@dataclass(frozen=True, eq=False)
class Compiled:
    """``weights``: words of the provider's constants, which the public ``program`` names."""

    program: Program
    weights: Mapping[str, Words]
    graph: Graph


def compile_program(
    graph: Graph,
    region: Box | Mapping[str, Box] | None = None,
    *,
    calibration: FloatArray | Mapping[str, Array] | None = None,
    max_error: float | None = None,
    frac_bits: int | None = None,
) -> Compiled:
    """``region``: of the inputs; from ``calibration`` (samples, …) where it is not given.

    Raises ``UnsupportedOpError`` for a node that is not run, ``PrecisionError`` where a value has no room in the ring
    and no calibration says where to clip it, or ``max_error`` cannot be promised; ``InvalidParameterError`` where
    neither a region nor calibration data is given.
    """
    samples = None if calibration is None else bind_inputs(graph, calibration)[1]
    boxes = _boxes(graph, region, samples)
    terms = terms_of(simplify(graph), [value for _, value, _ in _outputs(graph)])
    if frac_bits is not None:
        tried: tuple[int, ...] = (frac_bits,)
    elif max_error is None:
        tried = (DEFAULT_FRAC_BITS, 14, LEAST_FRAC_BITS)
    else:
        tried = (DEFAULT_FRAC_BITS, 18, MOST_FRAC_BITS)
    found: Compiled | None = None
    failed: PrecisionError | None = None
    for bits in tried:
        try:
            made = _at(graph, terms, boxes, samples, bits)
        except PrecisionError as error:
            failed = error
            continue
        if max_error is None or made.program.error_bound <= max_error:
            return made
        found = made
    if found is not None:
        raise PrecisionError(
            f"the largest error that can be promised is {found.program.error_bound:.3g}, above the {max_error:.3g} "
            "asked for",
            hint="ask for a larger max_error, or scale the model so that its hidden values are smaller",
        )
    raise failed if failed is not None else NoAdmissiblePlanError("no number of fractional bits was tried")


def rehearse_program(
    compiled: Compiled, inputs: Mapping[str, Array], engine: Rehearsal | None = None
) -> dict[str, Array]:
    """The outputs that the protocols would give, on plain words: nothing is protected."""
    engine = Rehearsal() if engine is None else engine
    program = compiled.program
    words = encode_inputs(program, inputs)
    holdings = Holdings({name: engine.public(each) for name, each in compiled.weights.items()})
    made = rehearse(
        run(engine, program, holdings, {name: engine.public(each) for name, each in words.items()})
    )
    return {output.name: decode_output(output, made[output.name].words) for output in program.outputs}


def _at(
    graph: Graph, terms: Terms, boxes: Mapping[str, Box], samples: Mapping[str, Array] | None, bits: int
) -> Compiled:
    outputs = _outputs(graph)
    input_bits = {
        value.name: _input_bits(terms, value, boxes[value.name], bits, samples) for value in graph.inputs
    }
    limits: dict[str, tuple[float, float]] = {}
    trace: dict[str, Array] | None = None
    spreads: dict[str, float] = {}
    if samples is not None and any(term.op == "Normalize" for term in terms.terms):
        trace = interpret(terms.graph, samples, trace=True)
        spreads = _spreads(terms, trace)

    def relieved(error: OverflowsError) -> set[str]:
        nonlocal trace
        if samples is None:
            return set()
        trace = interpret(terms.graph, samples, trace=True) if trace is None else trace
        return _limited(terms, error, trace, limits)

    work = lower(
        _fresh(terms),
        boxes,
        bits,
        RULES,
        limits=limits,
        input_bits=input_bits,
        spreads=spreads,
        outputs=[value for _, value, _ in outputs],
        relieved=relieved,
    )
    return _finished(graph, boxes, samples, work, outputs)


def _fresh(terms: Terms) -> Terms:
    return replace(terms, constants=dict(terms.constants), public=set(terms.public))


def _finished(
    graph: Graph,
    boxes: Mapping[str, Box],
    samples: Mapping[str, Array] | None,
    work: Lowering,
    outputs: list[tuple[str, str, str]],
) -> Compiled:
    primary = work.values[outputs[0][1]]
    proven = float(primary.range.error.max(initial=0.0)) + 2.0 ** -(work.frac + 8)
    made_outputs = []
    for name, value, role in outputs:
        held = work.values[value]
        shown = graph.values[name]
        classes = _classes(graph, name, value)
        dtype = graph.values[value].dtype if classes else shown.dtype
        made_outputs.append(
            Output(name, role, held.name, graph.values[value].shape, dtype, held.frac, held.factor, classes)
        )
    margin, is_doubtful = _comparisons(work, primary.name)
    program = Program(
        name=graph.name,
        frac_bits=work.frac,
        inputs=tuple(_input(value, boxes[value.name], work) for value in graph.inputs),
        weights=tuple(work.weights.values()),
        publics=work.publics,
        instructions=tuple(work.instructions),
        outputs=tuple(made_outputs),
        saturations=tuple(
            Saturation(_node(work.terms, value), value, low, high)
            for value, (low, high) in work.limits.items()
        )
        + tuple(
            Saturation(
                _node(work.terms, value),
                f"{value}, its sum of squares",
                least,
                2.0 ** (SLACK_BITS - work.frac),
            )
            for value, least in work.spreads.items()
        ),
        error_bound=proven,
        measured=False,
        comparison_margin=margin,
    )
    compiled = Compiled(program, work.words, graph)
    if samples is not None:
        error, size = _measured(compiled, graph, samples)
        if not (work.limits or is_doubtful or proven > _LOOSE * size):
            return compiled
        floor = MEASURED_MARGIN * 2.0**-work.frac
        measured = replace(program, error_bound=max(MEASURED_MARGIN * error, floor), measured=True)
        compiled = Compiled(measured, work.words, graph)
    return compiled


def _comparisons(work: Lowering, primary: str) -> tuple[float, bool]:
    """Of those that a value depends on and that read a fraction: by how much what is compared may be off, 0 for none.

    And whether one reads more than elements of inputs and constants: nobody can tell then how near it was.
    """
    makers = {each.output: each for each in work.instructions}
    margin, is_doubtful = 0.0, False
    seen: set[str] = set()
    left = [primary]
    while left:
        made = makers.get(left.pop())
        if made is None or made.output in seen:
            continue
        seen.add(made.output)
        left.extend(made.inputs)
        off = work.compared.get(made.output)
        if off is not None and off[1] > 0:
            margin = max(margin, off[1])
            is_doubtful = is_doubtful or not _only_moves(makers, off[0])
    return margin, is_doubtful


def _only_moves(makers: Mapping[str, Instruction], value: str) -> bool:
    """Whether a value holds differences of inputs and constants, and nothing that was computed from them."""
    left = [value]
    while left:
        name = left.pop()
        made = makers.get(name)
        if made is None:
            continue
        if made.kind not in _MOVING and not (made.kind == "matmul" and not made.fields.get("cut", 0)):
            return False
        left.extend(made.inputs)
    return True


def _measured(compiled: Compiled, graph: Graph, samples: Mapping[str, Array]) -> tuple[float, float]:
    """The largest error on calibration samples, and the largest output."""
    few = {name: array[:MEASURED_SAMPLES] for name, array in samples.items()}
    wanted = interpret(graph, few)[graph.primary]
    got = rehearse_program(compiled, few)[compiled.program.outputs[0].name]
    error = np.abs(np.asarray(got, dtype=np.float64) - wanted).max(initial=0.0)
    return float(error), float(np.abs(wanted).max(initial=0.0))


def _limited(
    terms: Terms, error: OverflowsError, trace: Mapping[str, Array], limits: dict[str, tuple[float, float]]
) -> set[str]:
    """Clips what the term that overflows reads, at the nearest activations; none where nothing is left to clip."""
    makers = {term.output: term for term in terms.terms}
    found: set[str] = set()
    seen: set[str] = set()
    work = list(error.term.inputs)
    while work:
        name = work.pop()
        made = makers.get(name)
        if made is None or name in seen or name in limits:
            continue
        seen.add(name)
        if made.op == "Relu" and name in trace:
            limits[name] = 0.0, _reach(trace[name])
            found.add(name)
        else:
            work.extend(made.inputs)
    for name in () if found else error.term.inputs:
        if name in trace and name in makers and name not in limits:
            reach = _reach(trace[name])
            limits[name] = -reach, reach
            found.add(name)
    return found


def _reach(samples: Array) -> float:
    return SATURATION_MARGIN * float(np.abs(samples).max(initial=0.0)) + 2.0**-4


def _spreads(terms: Terms, trace: Mapping[str, Array]) -> dict[str, float]:
    """Of each normalisation the least sum of squares that a sample shows, with a margin."""
    found: dict[str, float] = {}
    for term in terms.terms:
        axes = term.attributes.get("axes")
        if term.op == "Normalize" and isinstance(axes, tuple) and term.inputs[0] in trace:
            x = trace[term.inputs[0]]
            sums = np.sum((x - x.mean(axis=axes, keepdims=True)) ** 2, axis=axes)
            found[term.output] = float(sums.min(initial=np.inf)) * SPREAD_MARGIN
    return {name: least for name, least in found.items() if 0 < least < np.inf}


def _node(terms: Terms, value: str) -> str:
    return next((term.node for term in terms.terms if term.output == value), value)


def _boxes(
    graph: Graph, region: Box | Mapping[str, Box] | None, samples: Mapping[str, Array] | None
) -> dict[str, Box]:
    if region is None and samples is None:
        raise InvalidParameterError(
            "a plan needs the region of the inputs or calibration data",
            hint="give a few rows like those that will be asked about",
        )
    boxes: dict[str, Box] = {}
    for value in graph.inputs:
        given = region if isinstance(region, Box) else (region or {}).get(value.name)
        if given is None:
            if samples is None:
                raise InvalidParameterError(f"the region of input `{value.name}` is missing")
            given = Box.of(samples[value.name], margin=MARGIN if value.dtype == "float64" else 0.0)
        boxes[value.name] = given
    return boxes


def _input(value: Value, box: Box, work: Lowering) -> Input:
    low, high = np.broadcast_arrays(
        np.asarray(box.low, dtype=np.float64), np.asarray(box.high, dtype=np.float64)
    )
    bits = work.input_bits[value.name]
    owner = value.owner
    flat = [tuple(float(each) for each in end.reshape(-1)) for end in (low, high)]
    return Input(value.name, value.shape, value.dtype, owner, bits, flat[0], flat[1], low.shape)


def _input_bits(terms: Terms, value: Value, box: Box, bits: int, samples: Mapping[str, Array] | None) -> int:
    """More where an input is only compared with thresholds: as many as the samples need to be on the right sides."""
    if value.dtype != "float64":
        return 0
    names, compared = {value.name}, []
    for term in terms.terms:
        if not names & set(term.inputs):
            continue
        if term.op == "Less":
            compared.append(term)
        elif term.op in _SELECTING:
            names.add(term.output)
        else:
            return bits
    if not compared:
        return bits
    most = max(float(np.abs(box.low).max(initial=0.0)), float(np.abs(box.high).max(initial=0.0)), 1.0)
    room = 58 - int(np.ceil(np.log2(most)))
    if samples is None:
        return min(THRESHOLD_FRAC_BITS, room)
    given = samples[value.name]
    if (given == np.rint(given)).all():
        return min(WHOLE_FRAC_BITS, room)
    trace = interpret(terms.graph, {name: array[:_MOST_ROWS] for name, array in samples.items()}, trace=True)
    pairs = [tuple(trace[name] for name in term.inputs) for term in compared]
    for tried in range(THRESHOLD_FRAC_BITS, room, 4):
        if all(_is_same(first, second, tried) for first, second in pairs):
            return tried
    return room


def _is_same(first: Array, second: Array, bits: int) -> bool:
    """Whether comparisons come out alike on numbers with so many fractional bits."""
    with np.errstate(over="ignore"):
        rounded = (np.rint(np.ldexp(each.astype(np.float64), bits)) for each in (first, second))
        return bool((np.less(*rounded) == np.less(first, second)).all())


def _outputs(graph: Graph) -> list[tuple[str, str, str]]:
    """(name, value that is opened, role): the primary one first, the label as an index of the classes."""
    names = [graph.primary, *(name for name in graph.outputs if name != graph.primary)]
    roles = {value: role for role, value in graph.roles.items()}
    return [(name, _opened(graph, name), roles.get(name, "output")) for name in names]


def _opened(graph: Graph, name: str) -> str:
    node = graph.node_of(name)
    if node is None or node.op != "Gather" or node.inputs[0] not in graph.public_constants:
        return name
    table = graph.constants[node.inputs[0]]
    return node.inputs[1] if table.ndim == 1 and node.inputs[1] not in graph.constants else name


def _classes(graph: Graph, name: str, value: str) -> tuple[str, ...] | tuple[int, ...]:
    node = graph.node_of(name)
    if node is None or value == name:
        return ()
    table = graph.constants[node.inputs[0]]
    return (
        tuple(str(each) for each in table) if table.dtype.kind == "U" else tuple(int(each) for each in table)
    )
