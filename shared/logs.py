"""One JSON line for each thing that happened; on a terminal, a line for people.

The one place where logs are masked. Keys, tokens and signed links are taken out of whatever is written. Of what the
libraries log only their own words are kept: Celery, kombu and amqp log whole messages, botocore whole requests.
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
from rushes.shared.masking import MASK, masker, traced, withheld

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
        trace=trace_context.trace_id(new),
    )


def configure() -> None:
    """Set structlog and the standard library's logging to the same lines on standard error, masked."""
    mask = masker(os.environ)
    logging.setLogRecordFactory(records(mask))
    before: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Processor] = [exception_text, structlog.processors.JSONRenderer(compact)]
    if sys.stderr.isatty():
        after = [exception_text, structlog.dev.ConsoleRenderer()]
    stream = cast(TextIO, Masked(sys.stderr, mask))
    structlog.configure(
        processors=[*before, *after],
        logger_factory=structlog.WriteLoggerFactory(stream),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[record_text, *before], processors=[meta, *after])
    handler = Lines(stream)
    handler.setFormatter(formatter)
    logging.raiseExceptions = False  # or a handler that fails prints the whole of what it was given
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def configure_process() -> None:
    """For a process that serves: what is printed past the logging is masked too, and a thread's end is a line."""
    mask = masker(os.environ)
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        setattr(sys, name, Masked(getattr(sys, name), mask))
    configure()
    threading.excepthook = lambda ended: broke("a thread ended", ended.exc_value)
    sys.excepthook = lambda _, error, __: broke("the process ended", error)
    sys.unraisablehook = lambda ignored: broke("an error was ignored", ignored.exc_value)


def broke(what: str, error: BaseException | None) -> None:
    if not isinstance(error, SystemExit):
        log.critical(what, exc_info=error)


# --- what is written


class Lines(logging.StreamHandler[Any]):
    """Writes records; of one that cannot be written it says so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        log.error("a log line was lost", logger=record.name, reason=type(error).__name__)


class Masked:
    """A stream that masks what is written to it."""

    def __init__(self, stream: Any, mask: Callable[[str], str]) -> None:
        # What is masked once needs no second time.
        self._stream: Any = stream._stream if isinstance(stream, Masked) else stream
        self._mask = mask

    def write(self, text: str) -> int:
        self._stream.write(self._mask(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# --- what is logged


def exception_text(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The traceback of an event, without what the errors say."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = traced(error)
    return event


def record_text(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Whose record of the standard library it is, and the traceback that it brings as text."""
    record = event["_record"]
    event["logger"] = record.name
    if record.exc_text:
        event["exception"] = record.exc_text
    return event


# These log requests and not bodies, as whole texts; what is secret in them is masked.
PLAIN_SPOKEN = ("gunicorn", "werkzeug")
# Of a text that was put together before: what stands in brackets or quotes was put in.
PUT_IN = re.compile(r"""([(\[{<]|(?<!\w)['"]).*""", re.DOTALL)
WARNING = re.compile(r"\S+:\d+: \w+")


def records(mask: Callable[[str], str]) -> Callable[..., logging.LogRecord]:
    """Makes the records of the standard library's logging, masked before any handler sees them.

    A library may bring a handler and a formatter of its own (KOMBU_LOG_DEBUG does): what a record does not hold, none
    of them writes.
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
        if name and not name.startswith(PLAIN_SPOKEN):  # a copy of a record is made without one
            message, arguments = own_words(name, message, arguments)
        made = logging.LogRecord(name or "", level, path, line, message, arguments, None, *more, **named)
        made.msg, made.args = mask(whole(made)), None
        made.exc_text = mask(traced(error)) if error else None
        return made

    return record


def whole(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # its arguments do not fit: withheld ones fit no %d
        return str(record.msg)


def own_words(name: str, message: Any, arguments: Any) -> tuple[str, Any]:
    """A library's message without what others put into it."""
    if name == "py.warnings":
        where = WARNING.match(str(arguments[0] if arguments else message))
        return f"{where[0] if where else 'a warning'}: {MASK}", None
    if not arguments:
        return PUT_IN.sub(MASK, str(message)), None
    if isinstance(arguments[0], dict):
        # In place: Celery gives the same mapping to the record once more, as `data`.
        arguments[0].update({key: withheld(value) for key, value in arguments[0].items()})
        return str(message), arguments
    return str(message), tuple(map(withheld, arguments))
