"""The public plan: all that the owner needs and the provider agrees to. It holds no weight and no key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, log2, prod
from typing import Any

import cbor2
import numpy as np
import numpy.typing as npt

from tacit.backends.base import Sight
from tacit.backends.ckks.codes import KNOTS, MAX_BITS, Codes
from tacit.backends.ckks.envelope import MAX_MESSAGE_BYTES, read_cbor
from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, WindowLayout
from tacit.backends.ckks.region import Region
from tacit.errors import (
    InvalidParameterError,
    MalformedMessageError,
    ModelError,
    PeerIncompatibleError,
    ShapeError,
    TacitError,
)
from tacit.ir.graph import Graph
from tacit.ir.text import from_text, to_text

__all__ = ["MAX_LATENCY_BATCH", "PLAN_VERSION", "Flag", "PublicPlan"]

FloatArray = npt.NDArray[np.float64]

PLAN_VERSION = 4
MAX_PLAN_BYTES = 1 << 27
MAX_FEATURES = 1 << 20
MAX_TAIL_NODES = 256
MAX_TAIL_NUMBERS = 1 << 28
"""Numbers that the values of a tail may hold together, for a whole request: 2 GiB."""
MAX_TAIL_LINES = 1 << 16
MAX_TAIL_TEXT = 1 << 22
MAX_RANK = 8
MAX_LATENCY_BATCH = 64
"""Most samples, one ciphertext each, that a request in latency packing carries."""
MAX_KEY_BYTES = 1 << 32
"""Evaluation keys that a plan may ask an owner to make: 4 GiB."""


@dataclass(frozen=True)
class Flag:
    """The range flag (`flag`): one more ciphertext, at ``scale``, after the scores of a sample or of a batch.

    Above ``limit`` hidden values of the sample left their ranges. ``noise``: bound on what making the flag added to it.
    """

    scale: float
    limit: float
    noise: float


@dataclass(frozen=True, eq=False, kw_only=True)
class PublicPlan:
    """What both sides agree on; ``plan_id`` is its hash.

    ``commitment``: hash that binds the provider to one model (salted, so it reveals nothing of the weights).
    ``log_n``, ``log_q``, ``log_p``, ``log_scale``: the parameter literal. ``level``, ``scale``: of request ciphertexts;
    ``output_scale``: of response ciphertexts, which are at level 0 and hold scores
    in multiples of ``unit``. ``rotations``: rotation → level of its key;
    ``relinearize``, ``conjugate``: levels of those keys. ``batch``: most samples of one request.
    ``slot_noise``: bound on the noise of a response slot, for the owner's checks. ``low``, ``high``: sound range of
    the decrypted values, in the order of ``tail``'s inputs. ``error_bound``: promised for the primary output.

    ``doubt``: for models that compare, the limit of the last decrypted value, which is no score: samples above it are
    not within the bound. ``margin``: how close to a threshold that can be, over half the range of a feature; ``None``
    where no value can be too close.
    ``flag``: for models whose ranges were observed, as they are wherever ``is_measured``: then the error bound is the
    largest error of calibration samples times a margin, and not proven.
    """

    model: str
    commitment: str
    log_n: int
    log_q: tuple[int, ...]
    log_p: tuple[int, ...]
    log_scale: int
    layout: str
    input: ReplicatedLayout | WindowLayout | ColumnLayout
    output: ReplicatedLayout | ColumnLayout
    input_shape: tuple[int, ...]
    batch: int
    level: int
    scale: float
    output_scale: float
    unit: float
    rotations: Mapping[int, int]
    relinearize: int | None
    conjugate: int | None
    region: Region
    low: FloatArray
    high: FloatArray
    slot_noise: float
    score_error: float
    error_bound: float
    tail: Graph
    doubt: float | None = None
    margin: float | None = None
    flag: Flag | None = None
    is_measured: bool = False
    sights: tuple[Sight, ...] = ()
    assumptions: tuple[str, ...] = field(default=())

    @cached_property
    def plan_id(self) -> str:
        """SHA-256 of the binary form, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def features(self) -> int:
        return prod(self.input_shape)

    @property
    def scores(self) -> int:
        """Decrypted values that the tail takes."""
        return self.output.size - (self.doubt is not None)

    @property
    def needs_keys(self) -> bool:
        """Whether the provider needs evaluation keys at all."""
        return bool(self.rotations) or (self.relinearize, self.conjugate) != (None, None)

    @property
    def evaluation_key_bytes(self) -> int:
        """Of the evaluation keys that the owner makes: digits times primes times ring degree, one half seeded."""
        others = (level for level in (self.relinearize, self.conjugate) if level is not None)
        specials = max(1, len(self.log_p))
        bits = sum(
            -(-(level + 1) // specials) * (sum(self.log_q[: level + 1]) + sum(self.log_p))
            for level in (*self.rotations.values(), *others)
        )
        return (bits << self.log_n) // 8

    @property
    def request_bytes(self) -> int:
        """Of the ciphertexts of a full request, whose second polynomials may be sent as seeds: at least that."""
        ciphertexts = self.batch if self.layout == "latency" else self.input.size
        return ciphertexts * (sum(self.log_q) << self.log_n) // 8

    @property
    def who_sees(self) -> Mapping[str, tuple[str, ...]]:
        """Thing → roles that see it in the clear."""
        return {sight.what: sight.who for sight in self.sights}

    def __repr__(self) -> str:
        return f"<PublicPlan {self.model!r} {self.plan_id[:12]}>"

    def to_bytes(self) -> bytes:
        """Canonical CBOR."""
        return cbor2.dumps(
            {
                "v": PLAN_VERSION,
                "kind": "plan",
                "protection": "ckks",
                "model": self.model,
                "commitment": self.commitment,
                "parameters": {
                    "log_n": self.log_n,
                    "log_q": list(self.log_q),
                    "log_p": list(self.log_p),
                    "log_scale": self.log_scale,
                },
                "layout": self.layout,
                "input": _layout_to_dict(self.input),
                "output": _layout_to_dict(self.output),
                "input_shape": list(self.input_shape),
                "batch": self.batch,
                "level": self.level,
                "scale": float(self.scale),
                "output_scale": float(self.output_scale),
                "unit": float(self.unit),
                "rotations": [[k, level] for k, level in sorted(self.rotations.items())],
                "relinearize": self.relinearize,
                "conjugate": self.conjugate,
                "centre": _bytes(self.region.centre),
                "radius": _bytes(self.region.radius),
                "mean": _bytes(self.region.mean),
                "ball": float(self.region.ball),
                "codes": None if self.region.codes is None else _codes_to_dict(self.region.codes),
                "low": _bytes(self.low),
                "high": _bytes(self.high),
                "slot_noise": float(self.slot_noise),
                "score_error": float(self.score_error),
                "error_bound": float(self.error_bound),
                "tail": to_text(self.tail),
                "doubt": None if self.doubt is None else float(self.doubt),
                "margin": None if self.margin is None else float(self.margin),
                "flag": None
                if self.flag is None
                else [float(self.flag.scale), float(self.flag.limit), float(self.flag.noise)],
                "measured": self.is_measured,
                "sights": [[s.what, list(s.who), s.note] for s in self.sights],
                "assumptions": list(self.assumptions),
            },
            canonical=True,
        )

    @staticmethod
    def from_bytes(data: bytes) -> PublicPlan:
        """Reads and checks a plan received from a provider: shapes, limits, and that it is the only form of itself.

        Raises ``MalformedMessageError`` or ``PeerIncompatibleError``. Parameters are checked for security where they
        are built, by ``Parameters.from_literal``.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise MalformedMessageError(f"a public plan is bytes. Got {type(data).__name__} instead.")
        if len(data) > MAX_PLAN_BYTES:
            raise MalformedMessageError(f"a public plan has at most {MAX_PLAN_BYTES} bytes")
        fields = read_cbor(data)
        if not isinstance(fields, dict) or fields.get("kind") != "plan":
            raise MalformedMessageError("these bytes are no public plan")
        if fields.get("v") != PLAN_VERSION or fields.get("protection") != "ckks":
            raise PeerIncompatibleError(
                "the public plan is of another version or protection",
                hint="install the same version of Tacit on both sides",
            )
        try:
            plan = _read(fields)
            same = plan.to_bytes() == bytes(data)
        except TacitError as error:
            raise MalformedMessageError(f"the public plan is not valid: {error}") from error
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise MalformedMessageError(
                "the public plan is not valid: a field is missing or of a wrong type"
            ) from error
        if not same:
            raise MalformedMessageError("the public plan is not in its canonical form")
        return plan


def _read(fields: dict[str, Any]) -> PublicPlan:
    parameters = fields["parameters"]
    centre = _array(fields["centre"])
    region = Region(
        centre,
        _array(fields["radius"]),
        _array(fields["mean"]),
        _positive(fields["ball"]),
        None if fields["codes"] is None else _codes_from_dict(fields["codes"]),
    )
    plan = PublicPlan(
        model=_text(fields["model"]),
        commitment=_text(fields["commitment"]),
        log_n=_integer(parameters["log_n"], 4, 17),
        log_q=tuple(_integer(bits, 1, 64) for bits in parameters["log_q"]),
        log_p=tuple(_integer(bits, 1, 64) for bits in parameters["log_p"]),
        log_scale=_integer(parameters["log_scale"], 1, 64),
        layout=_text(fields["layout"]),
        input=_input_from_dict(fields["input"]),
        output=_layout_from_dict(fields["output"]),
        input_shape=_shape(fields["input_shape"]),
        batch=_integer(fields["batch"], 1, 1 << 24),
        level=_integer(fields["level"], 0, 64),
        scale=_positive(fields["scale"]),
        output_scale=_positive(fields["output_scale"]),
        unit=_positive(fields["unit"]),
        rotations={_integer(k, 1, 1 << 16): _integer(level, 0, 64) for k, level in fields["rotations"]},
        relinearize=_level(fields["relinearize"]),
        conjugate=_level(fields["conjugate"]),
        region=region,
        low=_array(fields["low"]),
        high=_array(fields["high"]),
        slot_noise=_positive(fields["slot_noise"]),
        score_error=_positive(fields["score_error"]),
        error_bound=_positive(fields["error_bound"]),
        tail=_tail(_text(fields["tail"])),
        doubt=None if fields["doubt"] is None else _positive(fields["doubt"]),
        margin=None if fields["margin"] is None else _positive(fields["margin"]),
        flag=None if fields["flag"] is None else _flag(fields["flag"]),
        is_measured=_truth(fields["measured"]),
        sights=tuple(
            Sight(_text(w), tuple(_text(r) for r in who), _text(n)) for w, who, n in fields["sights"]
        ),
        assumptions=tuple(_text(line) for line in fields["assumptions"]),
    )
    _check(plan)
    return plan


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a truth value")
    return value


def _check(plan: PublicPlan) -> None:
    """What holds between the fields. Raises ``InvalidParameterError``, ``ShapeError`` or ``ModelError``."""
    slots = 1 << (plan.log_n - 1)
    kinds = {
        "latency": ((ReplicatedLayout, WindowLayout), ReplicatedLayout),
        "throughput": ((ColumnLayout,), ColumnLayout),
    }.get(plan.layout)
    if kinds is None or type(plan.input) not in kinds[0] or type(plan.output) is not kinds[1]:
        raise InvalidParameterError("the layouts of the plan do not fit each other")
    if plan.input.slots != slots or plan.output.slots != slots or plan.level != len(plan.log_q) - 1:
        raise InvalidParameterError("layouts or level of the plan do not fit its parameters")
    levels = [*plan.rotations.values(), plan.relinearize or 0, plan.conjugate or 0]
    if any(k >= slots for k in plan.rotations) or max(levels) > plan.level:
        raise InvalidParameterError("the keys of the plan do not fit its parameters")
    if plan.needs_keys and not plan.log_p:
        raise InvalidParameterError("the plan asks for keys and has no special primes")
    if plan.evaluation_key_bytes > MAX_KEY_BYTES:
        raise InvalidParameterError(f"the plan asks for more than {MAX_KEY_BYTES} bytes of keys")
    if plan.layout == "latency" and plan.batch > MAX_LATENCY_BATCH:
        raise InvalidParameterError(f"the batch of this layout is at most {MAX_LATENCY_BATCH}")
    if plan.request_bytes > MAX_MESSAGE_BYTES:
        raise InvalidParameterError(f"a request of the plan has more than {MAX_MESSAGE_BYTES} bytes")
    if not 0 <= log2(plan.scale) < sum(plan.log_q) or not 0 <= log2(plan.output_scale) < plan.log_q[0]:
        raise InvalidParameterError("a scale of the plan does not fit its parameters")
    region = plan.region
    if any(a.size != plan.features for a in (region.centre, region.radius, region.mean)):
        raise ShapeError("the region of the plan does not fit its input shape")
    if plan.input.size != region.columns or (region.radius <= 0).any():
        raise ShapeError("the input layout or the region of the plan is not valid")
    if plan.low.size != plan.output.size or plan.high.size != plan.output.size:
        raise ShapeError("the range of the results does not fit the output layout")
    if isinstance(plan.output, ReplicatedLayout) and plan.output.is_complex:
        raise InvalidParameterError("results of a plan are not complex")
    if isinstance(plan.input, ColumnLayout) and plan.batch != plan.input.samples:
        raise InvalidParameterError("the batch of the plan does not fit its layout")
    if plan.flag is not None and not 0 <= log2(plan.flag.scale) < plan.log_q[0]:
        raise InvalidParameterError("the scale of the plan's flag does not fit its parameters")
    if plan.is_measured and plan.flag is None:
        raise InvalidParameterError("the bound of the plan is measured, and it has no range flag")
    if len(plan.tail.nodes) > MAX_TAIL_NODES or not plan.tail.inputs:
        raise ModelError("the tail of the plan is too long or takes nothing")
    if plan.batch * sum(value.features for value in plan.tail.values.values()) > MAX_TAIL_NUMBERS:
        raise ModelError(f"the tail of the plan makes more than {MAX_TAIL_NUMBERS} numbers of one request")
    if any(name not in plan.tail.public_constants for name in plan.tail.constants):
        raise ModelError("the tail of the plan holds a constant that is not public")
    if region.codes is not None and region.codes.features != plan.features:
        raise ShapeError("the codes of the plan do not fit its input shape")
    if region.codes is not None and region.codes.paired != isinstance(plan.input, ColumnLayout):
        raise InvalidParameterError("the codes of the plan do not fit its layout")
    if sum(value.features for value in plan.tail.inputs) != plan.scores:
        raise ShapeError("the tail of the plan does not take what the program gives")
    if any(value.shape[:1] != (None,) or value.dtype != "float64" for value in plan.tail.inputs):
        raise ShapeError("the tail of the plan takes float batches")


def _codes_to_dict(codes: Codes) -> dict[str, Any]:
    return {
        "group": codes.group,
        "paired": codes.paired,
        "digits": codes.digits.tolist(),
        "decimals": codes.decimals.tolist(),
        "first": codes.first.tolist(),
        "count": codes.count.tolist(),
        "single": codes.single.tolist(),
        "bits": codes.bits,
        "knots": _bytes(codes.knots),
    }


def _codes_from_dict(fields: dict[str, Any]) -> Codes:
    def integers(name: str, low: int, high: int) -> npt.NDArray[np.int64]:
        return np.array([_integer(value, low, high) for value in fields[name]], dtype=np.int64)

    if type(fields["paired"]) is not bool or any(type(value) is not bool for value in fields["single"]):
        raise InvalidParameterError("the codes of the plan are not valid")
    return Codes(
        group=_integer(fields["group"], 1, 2),
        paired=fields["paired"],
        digits=integers("digits", 1, 2 * MAX_BITS),
        decimals=integers("decimals", -1, 16),
        first=integers("first", -(1 << 52), 1 << 52),
        count=integers("count", 1, 1 << MAX_BITS),
        single=np.array(fields["single"], dtype=np.bool_),
        bits=_integer(fields["bits"], 1, MAX_BITS),
        knots=_array(fields["knots"]).reshape(-1, KNOTS),
    )


def _layout_to_dict(layout: ReplicatedLayout | WindowLayout | ColumnLayout) -> dict[str, Any]:
    if isinstance(layout, WindowLayout):
        return {
            "shape": list(layout.shape),
            "slots": layout.slots,
            "block": layout.block,
            "width": layout.width,
            "step": list(layout.step),
            "windows": [list(window) for window in layout.windows],
        }
    if isinstance(layout, ColumnLayout):
        return {"size": layout.size, "slots": layout.slots, "complex": layout.is_complex}
    return {
        "size": layout.size,
        "slots": layout.slots,
        "period": layout.period,
        "block": layout.block,
        "copies": layout.copies,
        "step": layout.step,
        "folded": layout.is_complex,
    }


def _input_from_dict(fields: dict[str, Any]) -> ReplicatedLayout | WindowLayout | ColumnLayout:
    if "windows" not in fields:
        return _layout_from_dict(fields)
    channels, height, width = (_integer(size, 1, MAX_FEATURES) for size in fields["shape"])
    if channels * height * width > MAX_FEATURES:
        raise ShapeError("the input layout of the plan is too large")
    vertical, horizontal = (_integer(step, 1, 1 << 10) for step in fields["step"])
    windows = []
    for window in fields["windows"]:
        c, dy, dx = window
        windows.append(
            (
                _integer(c, -1, channels - 1),
                _integer(dy, -(1 << 16), 1 << 16),
                _integer(dx, -(1 << 16), 1 << 16),
            )
        )
    return WindowLayout(
        (channels, height, width),
        _integer(fields["slots"], 8, 1 << 16),
        _integer(fields["block"], 1, 1 << 16),
        _integer(fields["width"], 1, 1 << 16),
        (vertical, horizontal),
        tuple(windows),
    )


def _layout_from_dict(fields: dict[str, Any]) -> ReplicatedLayout | ColumnLayout:
    size, slots = _integer(fields["size"], 1, MAX_FEATURES), _integer(fields["slots"], 8, 1 << 16)
    if "complex" in fields:
        if type(fields["complex"]) is not bool:
            raise InvalidParameterError("a layout's 'complex' is a boolean")
        return ColumnLayout(size, slots, is_complex=fields["complex"])
    period, block, copies, step = (
        _integer(fields[key], 0, 1 << 16) for key in ("period", "block", "copies", "step")
    )
    if type(fields["folded"]) is not bool:
        raise InvalidParameterError("a layout's 'folded' is a boolean")
    return ReplicatedLayout(size, slots, period, block, copies, step, fields["folded"])


def _bytes(array: FloatArray) -> bytes:
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def _array(data: Any) -> FloatArray:
    if type(data) is not bytes or len(data) % 8 or len(data) > 8 * MAX_FEATURES:
        raise InvalidParameterError("an array of the plan is not valid")
    array = np.frombuffer(data, dtype="<f8").astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidParameterError("an array of the plan holds NaN or infinity")
    return array


def _integer(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise InvalidParameterError(f"an integer of the plan must be in {low}..{high}")
    return value


def _shape(sizes: Any) -> tuple[int, ...]:
    if type(sizes) is not list or len(sizes) > MAX_RANK:
        raise InvalidParameterError(f"an input of the plan has at most {MAX_RANK} dimensions")
    shape = tuple(_integer(size, 1, MAX_FEATURES) for size in sizes)
    if prod(shape) > MAX_FEATURES:
        raise InvalidParameterError(f"an input of the plan has at most {MAX_FEATURES} features")
    return shape


def _tail(text: str) -> Graph:
    if len(text) > MAX_TAIL_TEXT or text.count("\n") > MAX_TAIL_LINES:
        raise ModelError("the tail of the plan is too long")
    return from_text(text)


def _flag(fields: Any) -> Flag:
    scale, limit, noise = (_positive(field) for field in fields)
    return Flag(scale, limit, noise)


def _level(value: Any) -> int | None:
    return None if value is None else _integer(value, 0, 64)


def _positive(value: Any) -> float:
    if type(value) is not float or not isfinite(value) or value <= 0:
        raise InvalidParameterError("a size of the plan must be a positive number")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise InvalidParameterError("a text of the plan is not text")
    return value
