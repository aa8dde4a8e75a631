"""A picture or a clip from the visitor's disk into the bucket: whole, measured, and never whole in memory."""

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
from rushes.webhook_receiver.console.session import visitor

# Each holds a thread of the server, and as much of the disk as the file has: the rest is left for callbacks.
UPLOADS_MAX = 4
UPLOADS = BoundedSemaphore(UPLOADS_MAX)
# However slowly it comes: 100 MB at 3 Mbit/s.
DEADLINE_S = 300.0
PIECE_BYTES = 64 << 10
# Of everything around the file: its boundary, its name.
WRAPPING_BYTES = 16 << 10
# Of the key, where it is not the name of the format.
SUFFIXES = {"jpeg": "jpg"}


@console.post("/console/uploads")
def upload() -> Response:
    """Keep one file, sent under the name of the field that it is for, and answer its address."""
    visitor()
    if not UPLOADS.acquire(blocking=False):
        raise Unacceptable("rate_limited", "Too many files are on their way. Try again in a minute.", 429)
    try:
        with TemporaryFile() as file, hurried():
            field = received(file)
            facts = fitting(field, file)
            stored = kept(file, facts)
    finally:
        UPLOADS.release()
    archive = services().archive
    measures = {"width": facts.width, "height": facts.height, "size": facts.size_bytes}
    length = {"duration_s": float(facts.duration_s)} if isinstance(facts, VideoInfo) else {}
    url = f"s3://{archive.bucket}/{stored.key}"
    answer = jsonify({"field": field, "url": url, "preview": archive.presign(stored.key), **measures, **length})
    answer.status_code = 201
    return answer


@contextmanager
def hurried() -> Iterator[None]:
    """What comes too slowly ends there: no single read of the server's does."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        yield
        return
    timer = Timer(DEADLINE_S, hung_up, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def hung_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


def received(file: BinaryIO) -> str:
    """Write the one file of the body down; answers the field that it is for. Raises Unacceptable."""
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise Unacceptable("unsupported_media_type", "The body is not multipart/form-data.", 415)
    decoder = MultipartDecoder(boundary.encode(), max_form_memory_size=2 * PIECE_BYTES, max_parts=4)
    try:
        return _unwrapped(decoder, file)
    except (ValueError, RequestEntityTooLarge):  # the latter of anything but the file
        raise Unacceptable("bad_request", "The body is not multipart/form-data as it should be.", 400) from None


def _unwrapped(decoder: MultipartDecoder, file: BinaryIO) -> str:
    field, room_bytes, is_file = "", 0, False
    for event in _events(decoder):
        if isinstance(event, File):
            field, room_bytes = event.name, allowance_bytes(event.name, field)
        if isinstance(event, (File, Field)):
            is_file = isinstance(event, File)
        elif isinstance(event, Data) and is_file:
            room_bytes -= len(event.data)
            if room_bytes < 0:
                raise too_large(field)
            file.write(event.data)
    if not field:
        raise Unacceptable("bad_request", "There is no file in the body.", 400)
    return field


def _events(decoder: MultipartDecoder) -> Iterator[Event]:
    """The parts of the body as they come; raises Unacceptable or ValueError where it ends before its end."""
    for piece in _pieces():
        decoder.receive_data(piece)
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
            if isinstance(event, Epilogue):
                return


def _pieces() -> Iterator[bytes | None]:
    """The body in pieces, and None behind the last."""
    left = request.content_length
    if left is None:
        raise Unacceptable("bad_request", "Say how long the body is.", 411)
    while left:
        piece = request_body.read(min(PIECE_BYTES, left))
        if not piece:
            raise request_body.cut_short()
        left -= len(piece)
        yield piece
    yield None


def allowance_bytes(field: str, before: str) -> int:
    """How large the file for a field may be; raises Unacceptable where that is known to be too little."""
    if before or field not in INPUT_RULES:
        raise Unacceptable("invalid_request", f"Send one file at a time, as one of {', '.join(INPUT_RULES)}.", 422)
    if (request.content_length or 0) > INPUT_RULES[field].max_bytes + WRAPPING_BYTES:
        raise too_large(field)
    return INPUT_RULES[field].max_bytes


def too_large(field: str) -> Unacceptable:
    told = f"The file is larger than {INPUT_RULES[field].max_bytes // MB} MB. Make it smaller, then choose it again."
    return Unacceptable("too_large", told, 413, {field: [told]})


def fitting(field: str, file: BinaryIO) -> ImageInfo | VideoInfo:
    """What the file is, if its field may have it; raises Unacceptable."""
    try:
        return probe_file(field, file)
    except InputRejected as rejected:
        told = f"{rejected.message[0].upper()}{rejected.message[1:]}."
        raise Unacceptable("input_rejected", told, 422, {field: [told]}) from None


def kept(file: BinaryIO, facts: ImageInfo | VideoInfo) -> StoredFile:
    """Put it into the bucket, under a name that nobody had before."""
    suffix, content_type = SUFFIXES.get(facts.format, facts.format), MEDIA_TYPES[facts.format]
    now = services().now()
    folder = services().archive.input_folder(datetime.fromtimestamp(now / 1000, UTC).date())
    return services().archive.put_input(f"{folder}{new_id(now).removeprefix('job_')}.{suffix}", file, content_type)
