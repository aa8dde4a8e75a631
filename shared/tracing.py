"""Optional: the time that a job spent in each state as an OpenTelemetry span, in the caller's trace.

With `pip install rushes[otel]` and OTEL_EXPORTER_OTLP_ENDPOINT set; the other OTEL_ variables are read as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from rushes.shared.domain import trace_context
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job

Moved = Callable[[Job | None, Job, Event | None], None]
ENDPOINT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NS_PER_MS = 1_000_000


def observed(environ: Mapping[str, str], moved: Moved) -> Moved:
    """What is told of each move: `moved`, and the exporter where one is named; ends the process where it is missing."""
    if not any(environ.get(name) for name in ENDPOINT):
        return moved
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as missing:
        sys.exit(f"settings: {ENDPOINT[0]}: {missing}; install rushes[otel]")
    provider = TracerProvider(resource=Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", "rushes")}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    export = exporting(provider.get_tracer("rushes"))

    def both(old: Job | None, new: Job, event: Event | None) -> None:
        moved(old, new, event)
        export(old, new, event)

    return both


def exporting(tracer: Any) -> Moved:
    """Tell this tracer of each state that a job leaves."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    def export(old: Job | None, new: Job, event: Event | None) -> None:
        if old is None or old.state is new.state:
            return
        _, trace_id, parent_id, flags = trace_context.traceparent(new).split("-")
        above = SpanContext(
            int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
        )
        began_at = old.history[-1].at if old.history else old.created_at
        told = {"rushes.job": new.id, "rushes.tenant": new.tenant, "rushes.provider": new.provider or "-"}
        span = tracer.start_span(
            f"job {old.state.value}",
            set_span_in_context(NonRecordingSpan(above)),
            attributes=told,
            start_time=began_at * NS_PER_MS,
        )
        span.end(end_time=max(began_at, new.updated_at) * NS_PER_MS)

    return export
