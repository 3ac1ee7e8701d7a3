"""Traces: off by default and then nothing is loaded; on, spans say what they may and continue the caller's trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tacit.errors import InvalidParameterError
from tacit.service import tracing
from tests.patience import PATIENCE_S

QUIET = """
import sys
from tacit.service import tracing
with tracing.span("infer", {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}, model="m") as stage:
    stage.set("status", 200)
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_nothing_is_loaded_until_it_is_started() -> None:
    done = subprocess.run(
        [sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def spans() -> Iterator[list[object]]:
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    kept: list[object] = []

    class Kept(export.SpanExporter):  # type: ignore[misc, name-defined]
        def export(self, batch: list[object]) -> object:
            kept.extend(batch)
            return export.SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            """Nothing is open."""

    tracing.start_with(Kept())
    assert tracing._tracer is not None
    try:
        yield kept
    finally:
        tracing.stop()
        assert tracing._tracer is None


def test_spans_nest_and_continue_the_callers_trace(spans: list[object]) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with (
        tracing.span("infer", {"traceparent": f"00-{trace}-{parent}-01"}, model="m", request_id="r") as outer,
        tracing.span("compute", worker=1),
    ):
        outer.set("status", 200)
    tracing.stop()
    inner, whole = spans
    assert whole.name == "infer"  # type: ignore[attr-defined]
    assert dict(whole.attributes) == {  # type: ignore[attr-defined]
        "tacit.model": "m",
        "tacit.request_id": "r",
        "tacit.status": 200,
    }
    assert format(whole.context.trace_id, "032x") == trace  # type: ignore[attr-defined]
    assert format(whole.parent.span_id, "016x") == parent  # type: ignore[attr-defined]
    assert inner.parent.span_id == whole.context.span_id  # type: ignore[attr-defined]
    assert dict(whole.resource.attributes) == {"service.name": "tacit"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "line", ["", "00-0-0-01", "00-" + "0" * 32 + "-" + "b" * 16 + "-01", "x" * 10_000, "01-" + "a" * 32]
)
def test_a_malformed_parent_is_no_parent(spans: list[object], line: str) -> None:
    with tracing.span("infer", {"traceparent": line}):
        pass
    tracing.stop()
    assert spans[0].parent is None  # type: ignore[attr-defined]


def test_an_error_is_marked_by_its_class_and_not_by_its_message(spans: list[object]) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("infer"):
        raise ValueError("a secret value")
    tracing.stop()
    (only,) = spans
    assert only.status.description == "ValueError"  # type: ignore[attr-defined]
    assert "secret" not in only.to_json()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["payload", "principal", "bytes", "token"])
def test_what_does_not_belong_into_a_trace_is_refused(name: str) -> None:
    with tracing.span("infer") as quiet, pytest.raises(InvalidParameterError):
        quiet.set(name, 1)
    with pytest.raises(InvalidParameterError), tracing.span("infer", **{name: 1}):
        pass


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="URL"):
        tracing.start("collector")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidParameterError) as caught:
        tracing.start("http://127.0.0.1:4318/v1/traces")
    assert "tacit[otel]" in caught.value.hint
