"""Checks the inputs of a job before money is spent, by their content and with as few bytes as possible."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from decimal import Decimal
from io import SEEK_END
from typing import Any, BinaryIO

from rushes.shared import http
from rushes.shared.domain.http_messages import Request
from rushes.shared.media import formats, mp4_boxes

DEADLINE_S = 20.0  # for one input
MB = 1 << 20  # gateways do not say which MB they mean; the larger one refuses no valid input
# The least size of each range request. A header takes one to three requests, a clip of many fragments more.
MIN_RANGE_BYTES = (1 << 16,) * 16 + (1 << 21,) * 48
PIECE_BYTES = 1 << 16  # of one read, where the server has no ranges

MIN_DURATION_S, MAX_DURATION_S = 3, {"image": 10, "video": 30}  # the maximum by character_orientation
MAX_ASPECT = (5, 2)  # from 1:2.5 to 2.5:1, so the EXIF orientation makes no difference

RETRYABLE_STATUSES = frozenset({408, 425, 429})  # and every 5xx
# Statuses for a range request that a server does not support, or whose end is past the file. The same server may serve
# the whole file to a request without a range.
NO_RANGE_STATUSES = frozenset({400, 403, 405, 416, 501})
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _InputError(Exception):
    """`field` is the input's name, `message` says what is wrong with it; the text holds both."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field, self.message = field, message

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class InputRejected(_InputError):
    """This input breaks a rule or cannot be fetched; the same request will be rejected again."""


class InputUnreachable(_InputError):
    """This input cannot be fetched now; try again later."""


@dataclass(frozen=True)
class ImageInfo:
    """A picture; width and height in pixels as stored, without the EXIF orientation."""

    width: int
    height: int
    size_bytes: int
    format: str


@dataclass(frozen=True)
class VideoInfo:
    """A clip; width and height in pixels as coded, duration rounded to two decimals."""

    width: int
    height: int
    size_bytes: int
    duration_s: Decimal
    codec: str
    format: str


@dataclass(frozen=True)
class _Rules:
    format_names: str
    formats: frozenset[str]
    max_bytes: int
    sides_px: tuple[int, int]


IMAGE_RULES = _Rules("JPG or PNG", frozenset({"jpeg", "png"}), 10 * MB, (300, 65536))
VIDEO_RULES = _Rules("MP4 or MOV", frozenset({"mp4", "mov"}), 100 * MB, (340, 3850))
INPUT_RULES = {"image_url": IMAGE_RULES, "last_image_url": IMAGE_RULES, "video_url": VIDEO_RULES}


class _RuleBroken(Exception):
    """An input breaks a rule; the text holds the measured value."""


class _TryLater(Exception):
    """A response that may be different later."""


def probe_inputs(
    request: Mapping[str, Any],
    http_client: http.HttpClient,
    resolve: Callable[[str], str],
    *,
    deadline_s: float = DEADLINE_S,
) -> dict[str, Any]:
    """Measure every input of a request and check it against the rules. Returns the measurements by field, as JSON.

    `resolve` turns an input's URL into one that can be fetched; `deadline_s` is per input. Raises InputRejected or
    InputUnreachable for the first bad input.
    """
    measured: dict[str, Any] = {}
    for field, rules in INPUT_RULES.items():
        if url := request.get(field):
            file = _RemoteFile(http_client, resolve(url), rules.max_bytes, deadline_s)
            with closing(file):
                measured[field] = _as_json(_check_input(field, file, request))
    return measured


def _check_input(field: str, file: _RemoteFile, request: Mapping[str, Any]) -> ImageInfo | VideoInfo:
    """Measure one input; raises InputRejected, InputUnreachable."""
    # Invariant: these texts hold at most the origin of a URL. Its query or its user part may be secret.
    try:
        return _measure(file, INPUT_RULES[field], request)
    except (_RuleBroken, http.Forbidden) as refusal:
        raise InputRejected(field, str(refusal)) from None
    except (_TryLater, http.NotSent, http.AnswerLost) as failure:
        raise InputUnreachable(field, str(failure)) from None


def probe_file(field: str, file: BinaryIO) -> ImageInfo | VideoInfo:
    """Measure a file on disk that is to be the input of this field; raises InputRejected.

    Its duration may be the longest that any character_orientation allows: the orientation is not known yet.
    """
    try:
        rules = INPUT_RULES[field]
        return _measure(_LocalFile(file, rules.max_bytes), rules, {"character_orientation": "video"})
    except _RuleBroken as refusal:
        raise InputRejected(field, str(refusal)) from None


def _measure(file: _RemoteFile | _LocalFile, rules: _Rules, request: Mapping[str, Any]) -> ImageInfo | VideoInfo:
    name = _format(file, rules)
    try:
        info = _read_clip(file) if rules is VIDEO_RULES else _read_picture(file, name)
    except formats.Unreadable as flaw:
        raise _RuleBroken(f"cannot be read as {name}: {flaw}") from None
    _check_sides(info, rules)
    if isinstance(info, VideoInfo):
        _check_length(info.duration_s, request["character_orientation"])
    else:
        _check_aspect(info)
    return info


def _format(file: _RemoteFile | _LocalFile, rules: _Rules) -> str:
    head = file.peek(formats.HEAD_BYTES)
    if not head:
        raise _RuleBroken("the file is empty")
    name = formats.detect(head)
    if name not in rules.formats:
        raise _RuleBroken(f"the file is {name}, not {rules.format_names}")
    return name


def _read_picture(file: _RemoteFile | _LocalFile, name: str) -> ImageInfo:
    width, height = formats.png_dimensions(file) if name == "png" else formats.jpeg_dimensions(file)
    return ImageInfo(width, height, file.size(), name)


def _read_clip(file: _RemoteFile | _LocalFile) -> VideoInfo:
    header = mp4_boxes.read_header(file)
    return VideoInfo(header.width, header.height, file.size(), header.duration_s, header.codec, header.format)


def _check_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise _RuleBroken(f"{size_bytes} bytes is larger than {max_bytes // MB} MB ({max_bytes} bytes)")


def _check_sides(info: ImageInfo | VideoInfo, rules: _Rules) -> None:
    least, most = rules.sides_px
    for word, side in (("width", info.width), ("height", info.height)):
        if not least <= side <= most:
            raise _RuleBroken(f"its {word} of {side} px is outside {least} to {most} px")


def _check_aspect(picture: ImageInfo) -> None:
    long, short = sorted((picture.width, picture.height), reverse=True)
    if long * MAX_ASPECT[1] > short * MAX_ASPECT[0]:
        raise _RuleBroken(f"its aspect of {picture.width}:{picture.height} is outside 1:2.5 to 2.5:1")


def _check_length(duration_s: Decimal, orientation: str) -> None:
    # No tolerance beyond the rounding: 10.004 s is 10.00 s and passes, 10.02 s and 2.97 s do not. A gateway measures
    # the clip itself, and either refuses it or bills other seconds than estimated.
    if duration_s < MIN_DURATION_S:
        raise _RuleBroken(f"{duration_s} s is shorter than {MIN_DURATION_S} s")
    if duration_s > MAX_DURATION_S[orientation]:
        raise _RuleBroken(
            f"{duration_s} s is longer than {MAX_DURATION_S[orientation]} s (character_orientation {orientation})"
        )


def _as_json(info: ImageInfo | VideoInfo) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(info).items()}


class _LocalFile:
    """A file on disk."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.position = 0
        self._file = file
        self._size = file.seek(0, SEEK_END)
        _check_size(self._size, max_bytes)

    def take(self, count: int) -> bytes:
        data = self.peek(count)
        self.position += len(data)
        return data

    def peek(self, count: int) -> bytes:
        self._file.seek(min(self.position, self._size))  # a box may name a position past the end of any file
        return self._file.read(count)

    def size(self) -> int:
        return self._size


class _RemoteFile:
    """A file behind a URL, read forwards. Skipped bytes are not fetched if the server supports ranges."""

    def __init__(self, http_client: http.HttpClient, url: str, max_bytes: int, deadline_s: float) -> None:
        self.position = 0  # of the next byte; may be moved forwards
        self._http_client, self._url, self._max_bytes = http_client, url, max_bytes
        self._ends_at = time.monotonic() + deadline_s
        self._size: int | None = None
        self._needed_bytes = 0  # of the current read
        self._has_ranges = True  # until the server shows otherwise
        self._piece_at, self._piece = 0, b""  # the last piece that was fetched, and its position in the file
        self._pieces = self._fetch()

    def take(self, count: int) -> bytes:
        """Read the next `count` bytes; fewer only at the end."""
        data = bytearray()
        while (missing := count - len(data)) and (part := self._next_bytes(missing)):
            data += part
            self.position += len(part)
        return bytes(data)

    def peek(self, count: int) -> bytes:
        """Read as `take` does, without moving forwards."""
        data = self.take(count)
        self._piece = data + self._piece[self.position - self._piece_at :]
        self.position = self._piece_at = self.position - len(data)
        return data

    def size(self) -> int:
        """Return the size of the file in bytes; if the server does not state it, the rest is fetched and counted."""
        while self._size is None:
            self._piece_at, self._piece = next(self._pieces)
        return self._size

    def close(self) -> None:
        self._pieces.close()

    def _next_bytes(self, count: int) -> bytes:
        self._needed_bytes = count
        while self.position >= self._piece_at + len(self._piece):
            if self._size is not None and self.position >= self._size:
                return b""
            self._piece_at, self._piece = next(self._pieces)
        return self._piece[self.position - self._piece_at :][:count]

    def _fetch(self) -> Generator[tuple[int, bytes]]:
        """Yield pieces with their positions: with ranges the one at `position`, else one after the other."""
        for least_bytes in MIN_RANGE_BYTES:
            range_bytes = max(least_bytes, self._needed_bytes)
            with self._http_client.stream(
                self._request(range_bytes), deadline_s=self._ends_at - time.monotonic()
            ) as stream:
                if self._has_ranges and stream.status in NO_RANGE_STATUSES:
                    self._has_ranges = False
                    continue
                self._check_status(stream.status)
                if stream.status == 200 or (http.is_whole(stream) and not self._has_ranges):
                    yield from self._read_whole(stream)
                    return
                piece = self._read_range(stream, range_bytes)
            if piece:
                yield self.position, piece
        raise _RuleBroken(f"its header is spread over more than {len(MIN_RANGE_BYTES)} places")

    def _request(self, range_bytes: int) -> Request:
        # Some servers refuse a range whose end is past the end of the file.
        end = self.position + range_bytes if self._size is None else min(self.position + range_bytes, self._size)
        return Request("GET", self._url, {"Range": f"bytes={self.position}-{end - 1}"} if self._has_ranges else {})

    def _read_range(self, stream: http.ResponseStream, range_bytes: int) -> bytes:
        """Read the requested range. If the response holds another range, return nothing and stop using ranges."""
        content_range = CONTENT_RANGE.fullmatch(stream.headers.get("content-range", ""))
        if content_range is None or int(content_range[1]) != self.position:
            if not self._has_ranges:
                raise _RuleBroken("its address answered with other parts of the file than requested")
            self._has_ranges = False
            return b""
        self._set_size(int(content_range[2]))
        part = bytearray()
        for piece in stream.chunks(range_bytes):  # a second piece only shows whether the first was cut short
            part += piece
            if len(part) >= range_bytes:
                break
        return bytes(part[:range_bytes])

    def _read_whole(self, stream: http.ResponseStream) -> Generator[tuple[int, bytes]]:
        if stream.length_bytes is not None:
            self._set_size(stream.length_bytes)
        position = 0
        for piece in stream.chunks(PIECE_BYTES):
            yield position, piece
            position += len(piece)
            _check_size(position, self._max_bytes)
        self._set_size(position)
        yield position, b""

    def _set_size(self, size_bytes: int) -> None:
        if self._size not in (None, size_bytes):
            raise _TryLater("the file changed while it was read")
        _check_size(size_bytes, self._max_bytes)
        self._size = size_bytes

    def _check_status(self, status: int) -> None:
        if status in RETRYABLE_STATUSES or status >= 500:
            raise _TryLater(f"its address answered {status}")
        if status not in (200, 206):
            raise _RuleBroken(f"its address answered {status}")
