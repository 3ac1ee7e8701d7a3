"""All ops that programs run, and how each becomes instructions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tacit.backends.mpc.lowering import Rule
from tacit.backends.mpc.rules_affine import AFFINE
from tacit.backends.mpc.rules_compare import COMPARE
from tacit.backends.mpc.rules_function import FUNCTION
from tacit.backends.mpc.rules_shape import SHAPE

__all__ = ["RULES"]

RULES: Mapping[str, Rule] = MappingProxyType({**AFFINE, **COMPARE, **FUNCTION, **SHAPE})
