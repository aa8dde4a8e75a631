"""Uploads of pictures and clips to the bucket: checked before they are stored, and never held in memory as a whole."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from tempfile import TemporaryFile
from threading import BoundedSemaphore, Timer
from typing import BinaryIO

from flask import Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from rushes.shared.domain.ids import new_id
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.media.probe import INPUT_RULES, MB, ImageInfo, InputRejected, VideoInfo, probe_file
from rushes.shared.storage.archive import StoredFile
from rushes.webhook_receiver import request_body
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.form_fields import MEDIA_TYPES
from rushes.webhook_receiver.console.session import require_sign_in

# Each upload holds a thread of the server and disk space for its file: the other threads stay free for callbacks.
UPLOADS_MAX = 4
UPLOADS = BoundedSemaphore(UPLOADS_MAX)
# For a whole upload: 100 MB at 3 Mbit/s.
DEADLINE_S = 300.0
PIECE_BYTES = 64 << 10
# For everything around the file: its boundary, its name.
WRAPPING_BYTES = 16 << 10
# The suffix of the key, where it is not the name of the format.
SUFFIXES = {"jpeg": "jpg"}


@console.post("/console/uploads")
def upload() -> Response:
    """Store one file, sent under the name of its field, and return its address."""
    require_sign_in()
    if not UPLOADS.acquire(blocking=False):
        raise Unacceptable("rate_limited", "Too many uploads at once. Try again in a minute.", 429)
    try:
        with TemporaryFile() as file, upload_deadline():
            field = receive_file(file)
            facts = check_file(field, file)
            stored = store_file(file, facts)
    finally:
        UPLOADS.release()
    archive = services().archive
    measures = {"width": facts.width, "height": facts.height, "size": facts.size_bytes}
    duration = {"duration_s": float(facts.duration_s)} if isinstance(facts, VideoInfo) else {}
    url = f"s3://{archive.bucket}/{stored.key}"
    response = jsonify({"field": field, "url": url, "preview": archive.presign(stored.key), **measures, **duration})
    response.status_code = 201
    return response


@contextmanager
def upload_deadline() -> Iterator[None]:
    """End an upload after DEADLINE_S: the server limits each read, but not their sum."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        yield
        return
    timer = Timer(DEADLINE_S, stop_reading, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stop_reading(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


def receive_file(file: BinaryIO) -> str:
    """Write the file of the body to `file` and return its field; raises Unacceptable."""
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise Unacceptable("unsupported_media_type", "The body is not multipart/form-data.", 415)
    decoder = MultipartDecoder(boundary.encode(), max_form_memory_size=2 * PIECE_BYTES, max_parts=4)
    try:
        return _write_parts(decoder, file)
    except (ValueError, RequestEntityTooLarge):  # the latter where a part that is no file is too large
        raise Unacceptable("bad_request", "The body is not valid multipart/form-data.", 400) from None


def _write_parts(decoder: MultipartDecoder, file: BinaryIO) -> str:
    field, left_bytes, is_file = "", 0, False
    for event in _events(decoder):
        if isinstance(event, File):
            field, left_bytes = event.name, max_file_bytes(event.name, field)
        if isinstance(event, (File, Field)):
            is_file = isinstance(event, File)
        elif isinstance(event, Data) and is_file:
            left_bytes -= len(event.data)
            if left_bytes < 0:
                raise too_large(field)
            file.write(event.data)
    if not field:
        raise Unacceptable("bad_request", "There is no file in the body.", 400)
    return field


def _events(decoder: MultipartDecoder) -> Iterator[Event]:
    """The parts of the body as they arrive; raises Unacceptable or ValueError where the body is cut off."""
    for piece in _pieces():
        decoder.receive_data(piece)
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
            if isinstance(event, Epilogue):
                return


def _pieces() -> Iterator[bytes | None]:
    """The body in pieces, and None after the last."""
    left = request.content_length
    if left is None:
        raise Unacceptable("bad_request", "The body needs a Content-Length.", 411)
    while left:
        piece = request_body.read_body(min(PIECE_BYTES, left))
        if not piece:
            raise request_body.incomplete_body()
        left -= len(piece)
        yield piece
    yield None


def max_file_bytes(field: str, previous_field: str) -> int:
    """How large the file for a field may be; raises Unacceptable for a wrong field and for a body that is too large."""
    if previous_field or field not in INPUT_RULES:
        raise Unacceptable("invalid_request", f"Send one file at a time, as one of {', '.join(INPUT_RULES)}.", 422)
    if (request.content_length or 0) > INPUT_RULES[field].max_bytes + WRAPPING_BYTES:
        raise too_large(field)
    return INPUT_RULES[field].max_bytes


def too_large(field: str) -> Unacceptable:
    message = f"The file is larger than {INPUT_RULES[field].max_bytes // MB} MB. Make it smaller, then choose it again."
    return Unacceptable("too_large", message, 413, {field: [message]})


def check_file(field: str, file: BinaryIO) -> ImageInfo | VideoInfo:
    """Check the file against the rules of its field and return its facts; raises Unacceptable."""
    try:
        return probe_file(field, file)
    except InputRejected as rejected:
        message = f"{rejected.message[0].upper()}{rejected.message[1:]}."
        raise Unacceptable("input_rejected", message, 422, {field: [message]}) from None


def store_file(file: BinaryIO, facts: ImageInfo | VideoInfo) -> StoredFile:
    """Put the file into the bucket under a new name."""
    suffix, content_type = SUFFIXES.get(facts.format, facts.format), MEDIA_TYPES[facts.format]
    now = services().now()
    folder = services().archive.input_folder(datetime.fromtimestamp(now / 1000, UTC).date())
    return services().archive.put_input(f"{folder}{new_id(now).removeprefix('job_')}.{suffix}", file, content_type)
