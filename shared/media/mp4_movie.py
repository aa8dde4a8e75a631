"""The movie header of an MP4 or MOV: its tracks, their dimensions and their durations."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from decimal import Decimal

read_number = int.from_bytes  # the numbers of boxes are big-endian

MAX_TRACKS = 64  # bounds the memory for a file with millions of tracks

# The boxes that are read, by their parent. All others are skipped, however large they are.
CHILD_BOXES = {
    b"": {b"ftyp", b"moov", b"moof"},
    b"moov": {b"mvhd", b"trak", b"mvex"},
    b"trak": {b"tkhd", b"edts", b"mdia"},
    b"edts": {b"elst"},
    b"mdia": {b"mdhd", b"hdlr", b"minf"},
    b"minf": {b"stbl"},
    b"stbl": {b"stsd", b"stts"},
    b"mvex": {b"trex"},
    b"moof": {b"traf"},
    b"traf": {b"tfhd", b"tfdt", b"trun"},
}
TABLE_BOXES = frozenset({b"elst", b"stts", b"trun"})

CODECS = {
    **dict.fromkeys(("avc1", "avc2", "avc3", "avc4"), "h264"),
    **dict.fromkeys(("hvc1", "hev1", "dvh1", "dvhe"), "hevc"),
    **dict.fromkeys(("apch", "apcn", "apcs", "apco", "ap4h", "ap4x"), "prores"),
    **dict.fromkeys(("jpeg", "mjpa", "mjpb"), "mjpeg"),
    "av01": "av1",
    "vp08": "vp8",
    "vp09": "vp9",
    "mp4v": "mpeg4",
    "s263": "h263",
}


class Table:
    """A table of samples or edits. Only the sum of its rows is kept."""

    def __init__(self, kind: bytes, head: bytes) -> None:
        flags = read_number(head[1:4])
        self.kind = kind
        self.count = read_number(head[4:8])
        self.ticks = 0
        self.lead_bytes, self.row_bytes, self.is_summed = 0, 8, True
        self._is_long = kind == b"elst" and head[:1] == b"\1"
        if kind == b"elst":
            self.row_bytes = 20 if self._is_long else 12
        elif kind == b"trun":
            self.lead_bytes = 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
            self.row_bytes = 4 * sum(bool(flags & column) for column in (0x100, 0x200, 0x400, 0x800)) or 4
            self.is_summed = bool(flags & 0x100)

    def add(self, rows: bytes) -> None:
        """Add the next whole rows to the sum."""
        first, second = _column(rows, self.row_bytes), _column(rows[4:], self.row_bytes)
        if self.kind == b"stts":
            self.ticks += sum(count * duration for count, duration in zip(first, second, strict=False))
        elif self._is_long:
            self.ticks += sum(high << 32 | low for high, low in zip(first, second, strict=False))
        else:
            self.ticks += sum(first)


@dataclass(slots=True)
class Track:
    """One track of a movie: its boxes, and the start and end of its samples in ticks of its own clock."""

    boxes: dict[bytes, bytes] = field(default_factory=dict)
    edited_ticks: int = 0  # sum of the edit list, by the movie's clock
    start: int | None = None
    end: int = 0

    @property
    def track_id(self) -> int:
        return _read_field(self.box_start(b"tkhd"), (12, 16), (20, 24))

    @property
    def kind(self) -> bytes:
        return self.box_start(b"hdlr")[8:12]

    @property
    def codec(self) -> str:
        """The codec, or the four-character code of an unknown one; empty if the track does not state it."""
        text = self.box_start(b"stsd")[12:16].decode("ascii", "replace").strip()
        return CODECS.get(text, text)

    @property
    def coded_dimensions(self) -> tuple[int, int]:
        return read_number(self.box_start(b"stsd")[40:42]), read_number(self.box_start(b"stsd")[42:44])

    @property
    def display_dimensions(self) -> tuple[int, int]:
        """Width and height for display; tkhd has them in 16.16 fixed point."""
        tkhd = self.box_start(b"tkhd")
        return _read_field(tkhd, (76, 80), (88, 92)) >> 16, _read_field(tkhd, (80, 84), (92, 96)) >> 16

    @property
    def header_ticks(self) -> int:
        """The duration that tkhd states, by the movie's clock."""
        return _read_field(self.box_start(b"tkhd"), (20, 24), (28, 36))

    def box_start(self, kind: bytes) -> bytes:
        return self.boxes.get(kind, b"")

    def sample_duration_s(self, places: int) -> Decimal:
        return _seconds(self.end - (self.start or 0), _timescale(self.box_start(b"mdhd")), places)

    def add_samples(self, start: int, ticks: int) -> None:
        # The start of a fragment matters too: some writers leave gaps, and a live recording does not start at 0.
        self.start = start if self.start is None else self.start
        self.end = max(self.end, start + ticks)


class Movie:
    """The content of the moov box and of the fragments after it."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._mvhd = b""
        self._is_fragmented = False
        self._default_ticks: dict[int, int] = {}  # by track: the duration of samples whose fragment does not state it
        self._by_id: dict[int, Track] = {}  # filled at the first fragment
        self._fragment: dict[bytes, bytes] = {}  # boxes of the current traf

    def begin_box(self, kind: bytes) -> bool:
        """Prepare for a box of this kind; False if it is to be skipped."""
        if kind == b"trak":
            if len(self.tracks) == MAX_TRACKS:
                return False
            self.tracks.append(Track())
        elif kind == b"traf":
            self._fragment = {}
        elif kind == b"mvex":
            self._is_fragmented = True
        elif kind == b"moof":
            self._by_id = self._by_id or {track.track_id: track for track in self.tracks}
        return True

    def store_box(self, kind: bytes, box_start: bytes) -> None:
        """Store the first bytes of a box."""
        if kind == b"mvhd":
            self._mvhd = self._mvhd or box_start
        elif kind == b"trex":
            if len(self._default_ticks) < MAX_TRACKS:
                self._default_ticks[read_number(box_start[4:8])] = read_number(box_start[12:16])
        elif kind in CHILD_BOXES[b"traf"]:
            self._fragment[kind] = box_start
        else:
            self.tracks[-1].boxes.setdefault(kind, box_start)

    def add_table(self, table: Table) -> None:
        """Add the sum of a table to its track."""
        if table.kind == b"elst":
            self.tracks[-1].edited_ticks = table.ticks
        elif table.kind == b"trun":
            self._add_run(table)
        elif table.ticks:
            self.tracks[-1].add_samples(0, table.ticks)

    def _add_run(self, run: Table) -> None:
        tfhd, tfdt = self._fragment.get(b"tfhd", b""), self._fragment.pop(b"tfdt", None)
        if track := self._by_id.get(read_number(tfhd[4:8])):
            start = track.end if tfdt is None else _read_field(tfdt, (4, 8), (4, 12))
            track.add_samples(start, run.ticks if run.is_summed else run.count * self._sample_ticks(tfhd))

    def _sample_ticks(self, tfhd: bytes) -> int:
        flags = read_number(tfhd[1:4])
        if not flags & 0x8:
            return self._default_ticks.get(read_number(tfhd[4:8]), 0)
        position = 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)
        return read_number(tfhd[position : position + 4])

    @property
    def video(self) -> Track | None:
        """The first video track."""
        return next((track for track in self.tracks if track.kind == b"vide"), None)

    @property
    def is_audio_only(self) -> bool:
        return bool(self.tracks) and all(track.kind == b"soun" for track in self.tracks)

    def play_duration_s(self, places: int) -> Decimal:
        """Return the duration of the longest track as it is played, as ffprobe and most gateways do; 0 if unknown.

        The movie's own figure is the last resort: many writers include audio before zero that is never played (about
        20 ms of AAC), and in a fragmented movie it does not cover the fragments.
        """
        edited = [0 if self._is_fragmented else track.edited_ticks for track in self.tracks]
        played = [
            self._movie_seconds(ticks, places) or track.sample_duration_s(places)
            for ticks, track in zip(edited, self.tracks, strict=True)
        ]
        return max(played, default=Decimal(0)) or self._header_duration_s(places)

    def video_duration_s(self, places: int) -> Decimal:
        """Return the duration of the video track, whatever the audio's is; 0 if unknown."""
        video = self.video
        stated = self._movie_seconds(video.header_ticks, places) if video and not self._is_fragmented else Decimal(0)
        return stated or (video.sample_duration_s(places) if video else stated) or self._header_duration_s(places)

    def _header_duration_s(self, places: int) -> Decimal:
        return self._movie_seconds(_read_field(self._mvhd, (16, 20), (24, 32)), places)

    def _movie_seconds(self, ticks: int, places: int) -> Decimal:
        return _seconds(ticks, _timescale(self._mvhd), places)


def _seconds(ticks: int, ticks_per_s: int, places: int) -> Decimal:
    """Seconds, rounded half up to `places` decimals. In integers, so no duration in a file overflows."""
    scale: int = 10**places
    return Decimal((2 * scale * ticks + ticks_per_s) // (2 * ticks_per_s) if ticks_per_s else 0).scaleb(-places)


def _timescale(box: bytes) -> int:
    """Ticks per second, from mvhd or mdhd."""
    return _read_field(box, (12, 16), (20, 24))


def _read_field(box: bytes, version_0: tuple[int, int], version_1: tuple[int, int]) -> int:
    """The number between two offsets; version 1 of a box has 64-bit times. All ones mean unknown: 0."""
    start, end = version_1 if box[:1] == b"\1" else version_0
    digits = box[start:end]
    return read_number(digits) if digits.strip(b"\xff") else 0


def _column(rows: bytes, width: int) -> tuple[int, ...]:
    """The 32-bit number at the start of each row of `width` bytes."""
    count = len(rows) // 4
    return struct.unpack(f">{count}I", rows[: 4 * count])[:: width // 4]
