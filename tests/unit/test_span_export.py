from __future__ import annotations

import pytest
from factories import NOW, POLICY, SECOND, job
from ledger_steps import created, engaged
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rushes.shared import logs
from rushes.shared import tracing as tracing_module
from rushes.shared.domain import events, trace_context
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_each_state_that_a_job_leaves_is_a_span_of_the_callers_trace() -> None:
    seen, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(seen))
    ledger = Ledger(MemoryStore(), POLICY, tracing_module.span_exporter(provider.get_tracer("rushes")))
    created(ledger, trace=f"{TRACE}-01")
    subject, _ = engaged(ledger, NOW + SECOND)
    ledger.apply(subject.id, events.Accepted("task-1", attempt=1), NOW + 3 * SECOND)

    span_rows = [
        (span.name, (span.end_time or 0) // 10**6, f"{span.context.trace_id:032x}")
        for span in seen.get_finished_spans()
    ]
    assert span_rows == [("job queued", NOW + SECOND, TRACE), ("job submitting", NOW + 3 * SECOND, TRACE)]
    assert {span.parent.span_id for span in seen.get_finished_spans() if span.parent} == {
        int(trace_context.traceparent(subject).split("-")[2], 16)
    }


def test_where_no_collector_is_named_nothing_is_loaded() -> None:
    assert tracing_module.move_observer({}, logs.log_move) is logs.log_move


def test_where_one_is_named_the_log_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    moved_jobs: list[str] = []
    both = tracing_module.move_observer(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, lambda old, new, event: moved_jobs.append(new.id)
    )
    subject = job()
    both(None, subject, None)
    assert moved_jobs == [subject.id]
