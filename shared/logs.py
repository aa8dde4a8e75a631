"""One JSON line for each thing that happened; on a terminal, a line for people."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from shared.domain import tracing
from shared.domain.events import Event
from shared.domain.job import Job
from shared.ledger.compact import compact

log = structlog.get_logger()


def moved(old: Job | None, new: Job, event: Event | None) -> None:
    """One line for each move of a job from state to state; nothing in it is secret."""
    if old and old.state is new.state:
        return
    attempt = new.attempt
    log.info(
        "job moved",
        job=new.id,
        tenant=new.tenant,
        was=old.state.value if old else None,
        state=new.state.value,
        by=type(event).__name__ if event else "Created",
        attempt=attempt.number if attempt else None,
        provider=attempt.provider if attempt else None,
        task=attempt.task_id if attempt else None,
        error=new.error.code if new.error else None,
        trace=tracing.trace_id(new),
    )


def configure() -> None:
    """Set structlog and the standard library's logging to the same lines on standard error."""
    before: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(compact)]
    if sys.stderr.isatty():
        # Its usual tracebacks show the values of all variables, keys and tokens among them.
        after = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(
        processors=[*before, *after],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=[meta, *after])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
