"""The inputs of a job, probed before money is spent: by their content, and with as few bytes as will do."""

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
MB = 1 << 20  # no gateway says which MB it means; the larger refuses nobody wrongly
# What each request for a range asks for at least. A header takes one to three; a clip of many fragments, more.
RANGES_BYTES = (1 << 16,) * 16 + (1 << 21,) * 48
PIECE_BYTES = 1 << 16  # where the server gives no ranges

SHORTEST_S, LONGEST_S = 3, {"image": 10, "video": 30}  # the latter by character_orientation
WIDEST = (5, 2)  # 2.5:1; and 1:2.5, so an EXIF orientation that turns the picture changes nothing

NOT_NOW = frozenset({408, 425, 429})  # and every 5xx
# What servers say to a range that they do not know, or whose end is past the file; without one they may give it whole.
NO_RANGES = frozenset({400, 403, 405, 416, 501})
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Trouble(Exception):
    """`field` is the input's name, `message` what is wrong with it; the text has both."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field, self.message = field, message

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class InputRejected(_Trouble):
    """This input breaks a rule or is not to be had; asking again will not help."""


class InputUnreachable(_Trouble):
    """The address of this input did not answer now; try again later."""


@dataclass(frozen=True)
class Picture:
    """A picture as stored, whatever its EXIF orientation; sides in pixels."""

    width: int
    height: int
    size_bytes: int
    format: str


@dataclass(frozen=True)
class Clip:
    """A clip; sides in pixels as coded, length rounded to two decimals."""

    width: int
    height: int
    size_bytes: int
    duration_s: Decimal
    codec: str
    format: str


@dataclass(frozen=True)
class _Rules:
    names: str
    formats: frozenset[str]
    max_bytes: int
    sides_px: tuple[int, int]


PICTURES = _Rules("JPG or PNG", frozenset({"jpeg", "png"}), 10 * MB, (300, 65536))
CLIPS = _Rules("MP4 or MOV", frozenset({"mp4", "mov"}), 100 * MB, (340, 3850))
FIELDS = {"image_url": PICTURES, "last_image_url": PICTURES, "video_url": CLIPS}


class _Broken(Exception):
    """A rule that is broken, with the measured value."""


class _NotNow(Exception):
    """An answer that may be another one later."""


def probe(
    request: Mapping[str, Any],
    http_client: http.HttpClient,
    resolve: Callable[[str], str],
    *,
    deadline_s: float = DEADLINE_S,
) -> dict[str, Any]:
    """Measure every input of a request and hold it against the rules; gives what was measured, by field, as JSON.

    `resolve` gives the https address of an input; `deadline_s` is for each of them. Raises InputRejected and
    InputUnreachable, for the first input that is not right.
    """
    found: dict[str, Any] = {}
    for field, rules in FIELDS.items():
        if url := request.get(field):
            remote = _Remote(http_client, resolve(url), rules.max_bytes, deadline_s)
            with closing(remote):
                found[field] = _plain(_judged(field, remote, request))
    return found


def _judged(field: str, remote: _Remote, request: Mapping[str, Any]) -> Picture | Clip:
    """What the field's file is, if it is within the rules; raises InputRejected, InputUnreachable."""
    # Of an address these texts have the origin at most: its query, or a user in it, may be secret.
    try:
        return _measure(remote, FIELDS[field], request)
    except (_Broken, http.Forbidden) as refusal:
        raise InputRejected(field, str(refusal)) from None
    except (_NotNow, http.NotSent, http.AnswerLost) as silence:
        raise InputUnreachable(field, str(silence)) from None


def judged(field: str, file: BinaryIO) -> Picture | Clip:
    """What a file on disk is, if it may be the input of this field; raises InputRejected.

    Its length is held against the longest that any character_orientation allows: which it will be is not known yet.
    """
    try:
        return _measure(_OnDisk(file, FIELDS[field].max_bytes), FIELDS[field], {"character_orientation": "video"})
    except _Broken as refusal:
        raise InputRejected(field, str(refusal)) from None


def _measure(remote: _Remote | _OnDisk, rules: _Rules, request: Mapping[str, Any]) -> Picture | Clip:
    name = _format(remote, rules)
    try:
        facts = _read_clip(remote) if rules is CLIPS else _read_picture(remote, name)
    except formats.Unreadable as flaw:
        raise _Broken(f"cannot be read as {name}: {flaw}") from None
    _check_sides(facts, rules)
    if isinstance(facts, Clip):
        _check_length(facts.duration_s, request["character_orientation"])
    else:
        _check_aspect(facts)
    return facts


def _format(remote: _Remote | _OnDisk, rules: _Rules) -> str:
    head = remote.peek(formats.HEAD_BYTES)
    if not head:
        raise _Broken("the file is empty")
    name = formats.name(head)
    if name not in rules.formats:
        raise _Broken(f"the file is {name}, not {rules.names}")
    return name


def _read_picture(remote: _Remote | _OnDisk, name: str) -> Picture:
    width, height = formats.png_sides(remote) if name == "png" else formats.jpeg_sides(remote)
    return Picture(width, height, remote.size(), name)


def _read_clip(remote: _Remote | _OnDisk) -> Clip:
    header = mp4_boxes.header(remote)
    return Clip(header.width, header.height, remote.size(), header.duration_s, header.codec, header.format)


def _check_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise _Broken(f"{size_bytes} bytes is larger than {max_bytes // MB} MB ({max_bytes} bytes)")


def _check_sides(facts: Picture | Clip, rules: _Rules) -> None:
    least, most = rules.sides_px
    for word, side in (("width", facts.width), ("height", facts.height)):
        if not least <= side <= most:
            raise _Broken(f"its {word} of {side} px is outside {least} to {most} px")


def _check_aspect(picture: Picture) -> None:
    long, short = sorted((picture.width, picture.height), reverse=True)
    if long * WIDEST[1] > short * WIDEST[0]:
        raise _Broken(f"its aspect of {picture.width}:{picture.height} is outside 1:2.5 to 2.5:1")


def _check_length(duration_s: Decimal, orientation: str) -> None:
    # No tolerance beyond the rounding: 10.004 s is 10.00 s and passes, 10.02 s and 2.97 s do not. A gateway probes
    # for itself, and either refuses such a clip or bills other seconds than were estimated.
    if duration_s < SHORTEST_S:
        raise _Broken(f"{duration_s} s is shorter than {SHORTEST_S} s")
    if duration_s > LONGEST_S[orientation]:
        raise _Broken(f"{duration_s} s is longer than {LONGEST_S[orientation]} s (character_orientation {orientation})")


def _plain(facts: Picture | Clip) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(facts).items()}


class _OnDisk:
    """A file on disk, read as one behind an address is."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.at = 0
        self._file = file
        self._size = file.seek(0, SEEK_END)
        _check_size(self._size, max_bytes)

    def take(self, count: int) -> bytes:
        data = self.peek(count)
        self.at += len(data)
        return data

    def peek(self, count: int) -> bytes:
        self._file.seek(min(self.at, self._size))  # a file may name a place that no disk has
        return self._file.read(count)

    def size(self) -> int:
        return self._size


class _Remote:
    """A file behind an address, read forwards; what is passed over is not fetched where the server gives ranges."""

    def __init__(self, http_client: http.HttpClient, url: str, max_bytes: int, deadline_s: float) -> None:
        self.at = 0  # where the next byte is taken; may be set further on
        self._http_client, self._url, self._max_bytes = http_client, url, max_bytes
        self._ends_at = time.monotonic() + deadline_s
        self._size: int | None = None
        self._wanted = 0  # how many bytes are missing just now
        self._has_ranges = True  # until the server shows otherwise
        self._piece_at, self._piece = 0, b""  # the last one fetched, and where it stands in the file
        self._pieces = self._fetch()

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""
        data = bytearray()
        while (missing := count - len(data)) and (part := self._at_hand(missing)):
            data += part
            self.at += len(part)
        return bytes(data)

    def peek(self, count: int) -> bytes:
        """As `take`, without moving on."""
        data = self.take(count)
        self._piece = data + self._piece[self.at - self._piece_at :]
        self.at = self._piece_at = self.at - len(data)
        return data

    def size(self) -> int:
        """Size of the whole file; where the server does not tell it, the rest is fetched and counted."""
        while self._size is None:
            self._piece_at, self._piece = next(self._pieces)
        return self._size

    def close(self) -> None:
        self._pieces.close()

    def _at_hand(self, count: int) -> bytes:
        self._wanted = count
        while self.at >= self._piece_at + len(self._piece):
            if self._size is not None and self.at >= self._size:
                return b""
            self._piece_at, self._piece = next(self._pieces)
        return self._piece[self.at - self._piece_at :][:count]

    def _fetch(self) -> Generator[tuple[int, bytes]]:
        """Pieces with their places: the one at `at` where there are ranges, else one after the other."""
        for least_bytes in RANGES_BYTES:
            asked = max(least_bytes, self._wanted)
            with self._http_client.stream(self._request(asked), deadline_s=self._ends_at - time.monotonic()) as stream:
                if self._has_ranges and stream.status in NO_RANGES:
                    self._has_ranges = False
                    continue
                self._check_status(stream.status)
                if stream.status == 200 or (http.is_whole(stream) and not self._has_ranges):
                    yield from self._whole(stream)
                    return
                piece = self._part(stream, asked)
            if piece:
                yield self.at, piece
        raise _Broken(f"its header is spread over more than {len(RANGES_BYTES)} places")

    def _request(self, asked: int) -> Request:
        # Some servers refuse a range whose end is past the file.
        end = self.at + asked if self._size is None else min(self.at + asked, self._size)
        return Request("GET", self._url, {"Range": f"bytes={self.at}-{end - 1}"} if self._has_ranges else {})

    def _part(self, stream: http.ResponseStream, asked: int) -> bytes:
        """The part of the file in this answer; empty, and no more ranges are asked for, where it is another part."""
        told = CONTENT_RANGE.fullmatch(stream.headers.get("content-range", ""))
        if told is None or int(told[1]) != self.at:
            if not self._has_ranges:
                raise _Broken("its address gives parts of the file that were not asked for")
            self._has_ranges = False
            return b""
        self._know_size(int(told[2]))
        part = bytearray()
        for piece in stream.chunks(asked):  # one, and a second only to hear that the first was cut short
            part += piece
            if len(part) >= asked:
                break
        return bytes(part[:asked])

    def _whole(self, stream: http.ResponseStream) -> Generator[tuple[int, bytes]]:
        if stream.length_bytes is not None:
            self._know_size(stream.length_bytes)
        at = 0
        for piece in stream.chunks(PIECE_BYTES):
            yield at, piece
            at += len(piece)
            _check_size(at, self._max_bytes)
        self._know_size(at)
        yield at, b""

    def _know_size(self, size_bytes: int) -> None:
        if self._size not in (None, size_bytes):
            raise _NotNow("the file changed while it was read")
        _check_size(size_bytes, self._max_bytes)
        self._size = size_bytes

    def _check_status(self, status: int) -> None:
        if status in NOT_NOW or status >= 500:
            raise _NotNow(f"its address answered {status}")
        if status not in (200, 206):
            raise _Broken(f"its address answered {status}")
