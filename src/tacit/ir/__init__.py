"""The intermediate representation: a small graph of tensors, its op table, its meaning and its text form."""

from __future__ import annotations

from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph, Node, Value
from tacit.ir.interpret import interpret
from tacit.ir.ops import OPS
from tacit.ir.text import digest, from_text, to_text
from tacit.ir.verify import verify

__all__ = [
    "OPS",
    "Graph",
    "GraphBuilder",
    "Node",
    "Value",
    "digest",
    "from_text",
    "interpret",
    "to_text",
    "verify",
]
