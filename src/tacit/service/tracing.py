"""Traces for OpenTelemetry, an optional extra (``tacit[otel]``): until `start` is called nothing is imported or kept.

A span holds the model, the request id, the status and the seconds of a stage; never a payload, a size of one, a token,
or a principal's name.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tacit.errors import InvalidParameterError

__all__ = ["ATTRIBUTES", "Span", "span", "start", "start_with", "stop"]

ATTRIBUTES = frozenset(
    {"code", "method", "model", "protection", "protocol", "request_id", "route", "status", "worker"}
)
"""What a span may say. Anything else is a mistake of ours and raises."""

# W3C Trace Context, section 3.2.2: version 00, trace id, parent id, flags.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_tracer: Any = None
_close: Callable[[], None] | None = None


class Span:
    """One stage of a request while it runs."""

    def __init__(self, inner: Any = None) -> None:
        self._inner = inner

    def set(self, name: str, value: str | int) -> None:
        """``name``: one of ``ATTRIBUTES``. Raises ``InvalidParameterError`` for any other, traced or not."""
        if name not in ATTRIBUTES:
            raise InvalidParameterError(f"`{name}` does not belong into a trace")
        if self._inner is not None:
            self._inner.set_attribute(f"tacit.{name}", value)


def start(endpoint: str) -> None:
    """Send spans to a collector that speaks OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`.

    Raises ``InvalidParameterError`` where the extra is not installed or the address is none.
    """
    if not re.fullmatch(r"https?://[^\s]+", endpoint):
        raise InvalidParameterError(
            "the address for traces is no URL", hint="such as http://127.0.0.1:4318/v1/traces"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InvalidParameterError(
            "traces need OpenTelemetry, which is not installed", hint='pip install "tacit[otel]"'
        ) from None
    start_with(OTLPSpanExporter(endpoint=endpoint))


def start_with(exporter: object) -> None:
    """Send spans to an exporter of OpenTelemetry's SDK. A collector that is slow or away never delays a request."""
    global _tracer, _close
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise InvalidParameterError(
            "traces need OpenTelemetry, which is not installed", hint='pip install "tacit[otel]"'
        ) from None
    stop()
    # A fixed resource: the default one would add the environment and the command line of the process.
    provider = TracerProvider(resource=Resource({"service.name": "tacit"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer, _close = provider.get_tracer("tacit.service"), provider.shutdown


def stop() -> None:
    """Send what is left, and be as before `start`."""
    global _tracer, _close
    if _close is not None:
        _close()
    _tracer = _close = None


@contextlib.contextmanager
def span(name: str, headers: Mapping[str, str] | None = None, /, **attributes: str | int) -> Iterator[Span]:
    """A stage of a request. ``headers``: of the call (lower case), whose `traceparent` the span continues.

    An exception marks the span by the name of its class: its message may hold what does not belong into a trace.
    """
    if _tracer is None:
        quiet = Span()
        for key, value in attributes.items():
            quiet.set(key, value)
        yield quiet
        return
    from opentelemetry.trace import Status, StatusCode

    with _tracer.start_as_current_span(
        name, context=_parent(headers), record_exception=False, set_status_on_exception=False
    ) as inner:
        traced = Span(inner)
        for key, value in attributes.items():
            traced.set(key, value)
        try:
            yield traced
        except BaseException as error:
            inner.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _parent(headers: Mapping[str, str] | None) -> Any:
    """The context of the caller's trace, or None where there is none or it is malformed."""
    line = (headers or {}).get("traceparent", "")
    if not _TRACEPARENT.fullmatch(line):
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": line})
