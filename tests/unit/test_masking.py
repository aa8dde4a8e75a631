"""No key, no token and no message is in a log, whoever writes it and however it is formatted."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest
import structlog

from rushes.shared import logs
from rushes.shared.masking import masker, secrets, traceback_text

ENVIRONMENT = {
    "RUSHES_API_KEYS": "acme:key-of-acme, other:key:with:colons",
    "APIMART_API_KEYS": "main:key-of-apimart,old:key-of-old:drain",
    "KLING_API_KEY": "access-key-1,secret-key-1",
    "RUSHES_SECRET_KEY": "tokens-new,tokens-old",
    "RUSHES_WEBHOOK_SECRETS": "acme:whsec_bm90aGluZw==",
    "AWS_SECRET_ACCESS_KEY": "aws/secret+key",
    "AWS_SESSION_TOKEN": "session token",
    "REDIS_URL": "rediss://worker:p%40ss-word@redis.example:6379/0",
    "RUSHES_BROKER_URL": "sentinel://:sentinel-word@a:1,b:2/mymaster",
    "RUSHES_PUBLIC_URL": "https://rushes.example",
    "SHORT_KEY": "abc",
}
SECRET = "the-secret-word"


def test_the_secrets_of_an_environment_are_found() -> None:
    found = secrets(ENVIRONMENT)

    assert found >= {"key-of-acme", "key:with:colons", "key-of-apimart", "key-of-old", "access-key-1", "secret-key-1"}
    assert found >= {"tokens-new", "tokens-old", "aws/secret+key", "session token", "p%40ss-word", "p@ss-word"}
    assert found >= {"sentinel-word", "whsec_bm90aGluZw=="}
    assert not found & {"acme", "main", "drain", "abc", "https://rushes.example"}


@pytest.mark.parametrize(
    "secret", ["key-of-acme", "key-of-old", "p@ss-word", "aws/secret+key", "aws%2Fsecret%2Bkey", "session%20token"]
)
def test_a_secret_of_the_environment_stands_nowhere(secret: str) -> None:
    assert secret not in masker(ENVIRONMENT)(f"a word {secret}, and x{secret}x")


@pytest.mark.parametrize(
    "text",
    [
        f"{{'job': 5, 'api_key': '{SECRET}'}}",
        f'{{"api_key": "{SECRET}", "job": 5}}',
        f'{{"api_key":"it\\"s {SECRET}"}}',
        f'"{{\\"api_key\\": \\"{SECRET}\\"}}"',
        f"[[], {{'api_key': b'{SECRET}'",
        f"{{'api_key': '{SECRET}",
        f"api_key={SECRET} x",
        f"GET /x?api-key={SECRET}&y=1",
        f"X-Api-Key: {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f"Bearer  {SECRET}",
        f"Basic {SECRET}",
        f"AWS_SESSION_TOKEN={SECRET}",
        f"password={SECRET}",
        f"redis://:{SECRET}@host:6379/0",
        f"redis://host:6379/0?password={SECRET}",
        f"amqp://user:{SECRET}@host//",
        f"sentinel://u:{SECRET}@a:1,b:2/x",
        f"https://bucket.example/clip.mp4?X-Amz-Signature={SECRET}&X-Amz-Date=5",
        f"GET /clip.mp4?X-Amz-Date=5&X-Amz-Signature={SECRET} HTTP/1.1",
        f"https://cdn.example/clip.mp4?auth={SECRET}",
        f"POST /callbacks/evolink/job_1/1-{SECRET}",
        f"/callbacks/apimart/job_1/1-{SECRET}/callback",
        f"callback_url=https%3A%2F%2Fr.example%2Fcallbacks%2Fevolink%2Fjob_1%2F1-{SECRET}",
        f"sk-{SECRET}",
        f"whsec_{SECRET}",
        f"eyJhbGciOiJI.{SECRET}.sig",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert SECRET not in masker({})(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"job":"job_01M8NKHZTGZA0FXRCB46WYFB45","task":"task-1","event":"job moved"}',
        "settings: RUSHES_API_KEYS: give name:value pairs, comma separated; RUSHES_SECRET_KEY: Missing",
        "https://rushes.example/callbacks",
        "worker rushes-1@host is ready",
        "redis://host:6379/0",
    ],
)
def test_what_is_no_secret_stands_as_it_was(text: str) -> None:
    assert masker({})(text) == text


def test_a_masked_line_of_json_is_json() -> None:
    line = json.dumps({"api_key": 'it\'s "x"', "inner": json.dumps({"token": "a\\b", "x": 1}), "event": "y"})

    assert json.loads(masker({})(line)) == {"api_key": "…", "inner": '{"token": "…", "x": 1}', "event": "y"}


# --- errors


def broken() -> BaseException:
    try:
        try:
            {}[SECRET]
        except KeyError as first:
            raise ExceptionGroup(SECRET, [ValueError(SECRET), ConnectionResetError("gone")]) from first
    except ExceptionGroup as error:
        return error


def test_a_traceback_tells_where_and_not_what() -> None:
    text = traceback_text(broken())

    assert SECRET not in text.replace("{}[SECRET]", "").replace("SECRET", "")
    assert text.index("KeyError") < text.index("which led to:") < text.index("ExceptionGroup")
    assert "ValueError\n" in text
    assert "ConnectionResetError: gone" in text
    assert "test_masking.py" in text


# --- the process


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to standard error once logging is configured."""
    before, handlers, records = structlog.get_config(), logging.root.handlers[:], logging.getLogRecordFactory()
    level, raises = logging.root.level, logging.raiseExceptions
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("RUSHES_API_KEYS", "acme:key-of-acme")
    logs.configure()
    yield stream
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.raiseExceptions = raises
    logging.setLogRecordFactory(records)


LIBRARIES = ["celery.worker.consumer", "kombu.transport.redis", "amqp", "redis", "botocore.endpoint", "urllib3"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_of_a_librarys_line_only_its_own_words_are_written(written: io.StringIO, name: str) -> None:
    logger = logging.getLogger(name)

    logger.error("The body was: %s (%d b, %r, %s)", f"{{'prompt': '{SECRET}'}}", 51, SECRET, ValueError(SECRET))
    logger.error("task %(name)s: %(args)r", {"name": SECRET, "args": [SECRET]})
    logger.error("put together: {'prompt': '" + SECRET + "'}")
    logger.error("Couldn't go on")

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "The body was: <str> (51 b, '<str>', ValueError)",
        "task <str>: '<list>'",
        "put together: …",
        "Couldn't go on",
    ]
    assert {line["logger"] for line in lines} == {name}


def test_why_a_connection_broke_is_written(written: io.StringIO) -> None:
    url = "redis://:pass-word@host:6379/0"
    logging.getLogger("celery").error("Cannot connect to %s: %s", url, ConnectionRefusedError(111, "refused"))

    assert "Cannot connect to redis://…@host:6379/0: ConnectionRefusedError: [Errno 111] refused" in written.getvalue()


@pytest.mark.parametrize("layout", ["%(message)s %(data)s", "%(msg)s %(args)s %(exc_text)s %(data)s"])
def test_a_handler_of_a_librarys_own_writes_no_more(written: io.StringIO, layout: str) -> None:
    logger, own = logging.getLogger("celery.app.trace"), io.StringIO()
    handler = logging.StreamHandler(own)
    handler.setFormatter(logging.Formatter(layout))
    logger.addHandler(handler)
    context = {"name": "rushes.enqueue", "kwargs": f"{{'prompt': '{SECRET}'}}"}
    try:
        try:
            raise ValueError(SECRET)
        except ValueError:
            # As Celery does: what it formats stands in the record once more.
            logger.exception("Task %(name)s", context, extra={"data": context})
    finally:
        logger.removeHandler(handler)

    assert "ValueError" in own.getvalue()
    assert SECRET not in own.getvalue() + written.getvalue()


def test_a_request_in_gunicorns_own_handler_is_masked(written: io.StringIO) -> None:
    logger, own = logging.getLogger("gunicorn.access"), io.StringIO()
    handler = logging.StreamHandler(own)
    logger.addHandler(handler)
    try:
        logger.error('%(h)s "%(r)s"', {"h": "10.0.0.1", "r": f"POST /callbacks/evolink/job_1/1-{SECRET} HTTP/1.1"})
    finally:
        logger.removeHandler(handler)

    assert own.getvalue() == '10.0.0.1 "POST /callbacks/evolink/job_1/… HTTP/1.1"\n'


def test_what_is_printed_past_the_logging_is_masked() -> None:
    stream = io.StringIO()
    masked = logs.MaskedStream(logs.MaskedStream(stream, str), masker(ENVIRONMENT))

    print("key-of-acme", file=masked)
    masked.writelines(["Bearer abc\n", "a word\n"])

    assert stream.getvalue() == "…\nBearer …\na word\n"
    assert not masked.isatty()


def test_a_warning_tells_where_it_comes_from(written: io.StringIO) -> None:
    logging.captureWarnings(False)  # a Celery app that an earlier test set up in this process has left it on: no effect
    logging.captureWarnings(True)
    try:
        warnings.warn(f"Exception raised outside body: {SECRET}", RuntimeWarning, stacklevel=1)
    finally:
        logging.captureWarnings(False)

    assert "RuntimeWarning" in written.getvalue()
    assert SECRET not in written.getvalue()


def test_a_line_that_cannot_be_written_is_told_of(written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    (handler,) = (each for each in logging.root.handlers if isinstance(each, logs.LineHandler))
    monkeypatch.setattr(logs, "log", structlog.get_logger())  # one that is tied to no other stream yet
    monkeypatch.setattr(handler, "format", lambda _: {}[SECRET])

    logging.getLogger("celery").error("a message of %s", SECRET)

    assert "a log line was lost" in written.getvalue()
    assert SECRET not in written.getvalue()


def test_a_line_of_ours_is_masked_too(written: io.StringIO) -> None:
    log = structlog.get_logger()
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("broke", key="key-of-acme", url="https://a.example/x?sig=" + SECRET)

    (line,) = map(json.loads, written.getvalue().splitlines())
    assert (line["event"], line["key"], line["url"]) == ("broke", "…", "https://a.example/x?…")
    assert line["exception"].endswith("ValueError")
    assert SECRET not in line["exception"]
