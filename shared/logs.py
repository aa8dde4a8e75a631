"""Logging: one JSON line per event; on a terminal, a line for people.

All masking of logs is here. Keys, tokens and signed links are removed from everything that is written. Of a library's
records only its own words are kept, because Celery, kombu and amqp log whole messages, and botocore whole requests.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from rushes.shared.compact_json import compact
from rushes.shared.domain import trace_context
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.masking import MASK, masker, traceback_text, withheld

log = structlog.get_logger()


def log_move(old: Job | None, new: Job, event: Event | None) -> None:
    """Log a line for each move of a job from state to state; it holds no secret."""
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
        trace=trace_context.trace_id(new),
    )


def configure() -> None:
    """Have structlog and the standard library's logging write the same masked lines to standard error."""
    mask = masker(os.environ)
    logging.setLogRecordFactory(record_factory(mask))
    before: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Processor] = [exception_text, structlog.processors.JSONRenderer(compact)]
    if sys.stderr.isatty():
        after = [exception_text, structlog.dev.ConsoleRenderer()]
    stream = cast(TextIO, MaskedStream(sys.stderr, mask))
    structlog.configure(
        processors=[*before, *after],
        logger_factory=structlog.WriteLoggerFactory(stream),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[record_text, *before], processors=[meta, *after])
    handler = LineHandler(stream)
    handler.setFormatter(formatter)
    logging.raiseExceptions = False  # otherwise a handler that fails prints the whole record, unmasked
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def configure_process() -> None:
    """Configure a serving process: mask what is printed without logging too, and log each thread that crashes."""
    mask = masker(os.environ)
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        setattr(sys, name, MaskedStream(getattr(sys, name), mask))
    configure()
    threading.excepthook = lambda crash: log_crash("a thread ended", crash.exc_value)
    sys.excepthook = lambda _, error, __: log_crash("the process ended", error)
    sys.unraisablehook = lambda ignored: log_crash("an error was ignored", ignored.exc_value)


def log_crash(what: str, error: BaseException | None) -> None:
    if not isinstance(error, SystemExit):
        log.critical(what, exc_info=error)


# --- output


class LineHandler(logging.StreamHandler[Any]):
    """Writes records, and logs an error for one that it cannot write."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        log.error("a log line was lost", logger=record.name, reason=type(error).__name__)


class MaskedStream:
    """A stream that masks what is written to it."""

    def __init__(self, stream: Any, mask: Callable[[str], str]) -> None:
        # Text is masked once, even if the stream was masked before.
        self._stream: Any = stream._stream if isinstance(stream, MaskedStream) else stream
        self._mask = mask

    def write(self, text: str) -> int:
        self._stream.write(self._mask(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# --- records


def exception_text(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add an event's traceback, without the texts of the errors."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = traceback_text(error)
    return event


def record_text(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the logger's name and the traceback of a record of the standard library."""
    record = event["_record"]
    event["logger"] = record.name
    if record.exc_text:
        event["exception"] = record.exc_text
    return event


# These loggers write requests without bodies, as whole texts, so masking their secrets is enough.
KEPT_LOGGERS = ("gunicorn", "werkzeug")
# In a message without arguments, values that were put in stand in brackets or quotes.
INSERTED = re.compile(r"""([(\[{<]|(?<!\w)['"]).*""", re.DOTALL)
WARNING = re.compile(r"\S+:\d+: \w+")


def record_factory(mask: Callable[[str], str]) -> Callable[..., logging.LogRecord]:
    """A factory of the standard library's log records, which masks them before any handler sees them.

    A library may add a handler and a formatter of its own (KOMBU_LOG_DEBUG does), so a record must hold no secret.
    """

    def record(
        name: str,
        level: int,
        path: str,
        line: int,
        message: Any,
        arguments: Any,
        exc_info: Any,
        *more: Any,
        **named: Any,
    ) -> logging.LogRecord:
        error = exc_info[1] if isinstance(exc_info, tuple) else None
        if name and not name.startswith(KEPT_LOGGERS):  # a copy of a record is made without one
            message, arguments = library_words(name, message, arguments)
        log_record = logging.LogRecord(name or "", level, path, line, message, arguments, None, *more, **named)
        log_record.msg, log_record.args = mask(formatted_message(log_record)), None
        log_record.exc_text = mask(traceback_text(error)) if error else None
        return log_record

    return record


def formatted_message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # its arguments do not fit: a withheld one is no number for %d
        return str(record.msg)


def library_words(name: str, message: Any, arguments: Any) -> tuple[str, Any]:
    """A library's message, without the values that were put into it."""
    if name == "py.warnings":
        where = WARNING.match(str(arguments[0] if arguments else message))
        return f"{where[0] if where else 'a warning'}: {MASK}", None
    if not arguments:
        return INSERTED.sub(MASK, str(message)), None
    if isinstance(arguments[0], dict):
        # Changed in place: Celery passes the same mapping to the record once more, as `data`.
        arguments[0].update({key: withheld(value) for key, value in arguments[0].items()})
        return str(message), arguments
    return str(message), tuple(map(withheld, arguments))
