"""Optional: exports the time that a job spent in each state as an OpenTelemetry span, in the caller's trace.

On with `pip install rushes[otel]` and OTEL_EXPORTER_OTLP_ENDPOINT set; the other OTEL_ variables are read as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from rushes.shared.domain import trace_context
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job

MoveObserver = Callable[[Job | None, Job, Event | None], None]
ENDPOINT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NS_PER_MS = 1_000_000


def move_observer(environ: Mapping[str, str], log_move: MoveObserver) -> MoveObserver:
    """The function to call on each move of a job: `log_move`, and the exporter if an endpoint is set.

    Ends the process if an endpoint is set and the exporter is not installed.
    """
    if not any(environ.get(name) for name in ENDPOINT):
        return log_move
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as missing:
        sys.exit(f"settings: {ENDPOINT[0]}: {missing}; install rushes[otel]")
    provider = TracerProvider(resource=Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", "rushes")}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    export = span_exporter(provider.get_tracer("rushes"))

    def both(old: Job | None, new: Job, event: Event | None) -> None:
        log_move(old, new, event)
        export(old, new, event)

    return both


def span_exporter(tracer: Any) -> MoveObserver:
    """A function that gives the tracer a span for each state that a job leaves."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    def export(old: Job | None, new: Job, event: Event | None) -> None:
        if old is None or old.state is new.state:
            return
        _, trace_id, parent_id, flags = trace_context.traceparent(new).split("-")
        parent = SpanContext(
            int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
        )
        began_at = old.history[-1].at if old.history else old.created_at
        attributes = {"rushes.job": new.id, "rushes.tenant": new.tenant, "rushes.provider": new.provider or "-"}
        span = tracer.start_span(
            f"job {old.state.value}",
            set_span_in_context(NonRecordingSpan(parent)),
            attributes=attributes,
            start_time=began_at * NS_PER_MS,
        )
        span.end(end_time=max(began_at, new.updated_at) * NS_PER_MS)

    return export
