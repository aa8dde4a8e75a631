"""What the movie of an MP4 or MOV says of itself: its tracks, their sides, and how long they last."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from decimal import Decimal

MAX_TRACKS = 64  # a file made of millions of them must not fill the memory

# Which boxes are looked into, and for what; all others are passed over, however large they are.
INSIDE = {
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
TABLES = frozenset({b"elst", b"stts", b"trun"})

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
    """A table of samples or edits, of which only the sum of its rows is kept."""

    def __init__(self, kind: bytes, head: bytes) -> None:
        flags = number(head[1:4])
        self.kind = kind
        self.count = number(head[4:8])
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
        """Take the next whole rows."""
        first, second = _column(rows, self.row_bytes), _column(rows[4:], self.row_bytes)
        if self.kind == b"stts":
            self.ticks += sum(count * each for count, each in zip(first, second, strict=False))
        elif self._is_long:
            self.ticks += sum(high << 32 | low for high, low in zip(first, second, strict=False))
        else:
            self.ticks += sum(first)


@dataclass(slots=True)
class Track:
    """One track of a movie: its boxes, and from when to when its samples are known to last, by its own clock."""

    boxes: dict[bytes, bytes] = field(default_factory=dict)
    edited_ticks: int = 0  # by the clock of the movie
    start: int | None = None
    end: int = 0

    @property
    def track_id(self) -> int:
        return _pick(self.body(b"tkhd"), (12, 16), (20, 24))

    @property
    def kind(self) -> bytes:
        return self.body(b"hdlr")[8:12]

    @property
    def code(self) -> str:
        """How its samples are coded; empty where that is not said."""
        text = self.body(b"stsd")[12:16].decode("ascii", "replace").strip()
        return CODECS.get(text, text)

    @property
    def coded_sides(self) -> tuple[int, int]:
        return number(self.body(b"stsd")[40:42]), number(self.body(b"stsd")[42:44])

    @property
    def shown_sides(self) -> tuple[int, int]:
        """Width and height stand in 16.16 fixed point."""
        tkhd = self.body(b"tkhd")
        return _pick(tkhd, (76, 80), (88, 92)) >> 16, _pick(tkhd, (80, 84), (92, 96)) >> 16

    @property
    def stated_ticks(self) -> int:
        """How long it says that it lasts, by the clock of the movie."""
        return _pick(self.body(b"tkhd"), (20, 24), (28, 36))

    def body(self, kind: bytes) -> bytes:
        return self.boxes.get(kind, b"")

    def counted_s(self, places: int) -> Decimal:
        ticks_per_s, _ = _clock(self.body(b"mdhd"))
        return _seconds(self.end - (self.start or 0), ticks_per_s, places)

    def add_samples(self, start: int, ticks: int) -> None:
        # Where a fragment begins counts too: a writer that is ahead of its source leaves gaps, and a recording of
        # something live does not begin at 0.
        self.start = start if self.start is None else self.start
        self.end = max(self.end, start + ticks)


class Movie:
    """The moov box, and what its fragments add to it."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._mvhd = b""
        self._is_fragmented = False
        self._default_ticks: dict[int, int] = {}  # of a sample in a fragment that does not say it, by track
        self._by_id: dict[int, Track] = {}  # once all tracks are known
        self._fragment: dict[bytes, bytes] = {}  # boxes of the traf that is being read

    def opens(self, kind: bytes) -> bool:
        """Whether this box is looked into now."""
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

    def keep(self, kind: bytes, body: bytes) -> None:
        """Take the beginning of a box."""
        if kind == b"mvhd":
            self._mvhd = self._mvhd or body
        elif kind == b"trex":
            if len(self._default_ticks) < MAX_TRACKS:
                self._default_ticks[number(body[4:8])] = number(body[12:16])
        elif kind in INSIDE[b"traf"]:
            self._fragment[kind] = body
        else:
            self.tracks[-1].boxes.setdefault(kind, body)

    def add_table(self, table: Table) -> None:
        """Take what the rows of a table come to."""
        if table.kind == b"elst":
            self.tracks[-1].edited_ticks = table.ticks
        elif table.kind == b"trun":
            self._add_run(table)
        elif table.ticks:
            self.tracks[-1].add_samples(0, table.ticks)

    def _add_run(self, run: Table) -> None:
        tfhd, tfdt = self._fragment.get(b"tfhd", b""), self._fragment.pop(b"tfdt", None)
        if track := self._by_id.get(number(tfhd[4:8])):
            start = track.end if tfdt is None else _pick(tfdt, (4, 8), (4, 12))
            track.add_samples(start, run.ticks if run.is_summed else run.count * self._sample_ticks(tfhd))

    def _sample_ticks(self, tfhd: bytes) -> int:
        flags = number(tfhd[1:4])
        at = 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)
        return number(tfhd[at : at + 4]) if flags & 0x8 else self._default_ticks.get(number(tfhd[4:8]), 0)

    @property
    def video(self) -> Track | None:
        """The first track of pictures."""
        return next((track for track in self.tracks if track.kind == b"vide"), None)

    @property
    def is_sound_alone(self) -> bool:
        return bool(self.tracks) and all(track.kind == b"soun" for track in self.tracks)

    def played_s(self, places: int) -> Decimal:
        """The longest of its tracks as they are played: what ffprobe says, and so most gateways; 0 where none is known.

        The movie's own figure comes last: many writers count sound in it that is set before zero and never heard,
        some 20 ms of AAC, and in a fragmented movie it is not the whole.
        """
        edited = [0 if self._is_fragmented else track.edited_ticks for track in self.tracks]
        played = [
            self._by_own_clock(ticks, places) or track.counted_s(places)
            for ticks, track in zip(edited, self.tracks, strict=True)
        ]
        return max(played, default=Decimal(0)) or self._stated_s(places)

    def pictured_s(self, places: int) -> Decimal:
        """How long its pictures last, whatever is heard beside them; 0 where that is not known."""
        video = self.video
        stated = self._by_own_clock(video.stated_ticks, places) if video and not self._is_fragmented else Decimal(0)
        return stated or (video.counted_s(places) if video else stated) or self._stated_s(places)

    def _stated_s(self, places: int) -> Decimal:
        _, ticks = _clock(self._mvhd)
        return self._by_own_clock(ticks, places)

    def _by_own_clock(self, ticks: int, places: int) -> Decimal:
        ticks_per_s, _ = _clock(self._mvhd)
        return _seconds(ticks, ticks_per_s, places)


def _seconds(ticks: int, ticks_per_s: int, places: int) -> Decimal:
    """Rounded half up to so many decimals, in whole numbers: no length in a file is too long for that."""
    scale: int = 10**places
    return Decimal((2 * scale * ticks + ticks_per_s) // (2 * ticks_per_s) if ticks_per_s else 0).scaleb(-places)


def _clock(box: bytes) -> tuple[int, int]:
    """Ticks per second, and length in ticks, of mvhd or mdhd."""
    return _pick(box, (12, 16), (20, 24)), _pick(box, (16, 20), (24, 32))


def _pick(box: bytes, version_0: tuple[int, int], version_1: tuple[int, int]) -> int:
    """The number between these offsets; version 1 of a box has 64-bit times. All ones mean that it is not known."""
    digits = box[slice(*(version_1 if box[:1] == b"\1" else version_0))]
    return 0 if set(digits) == {0xFF} else number(digits)


def _column(rows: bytes, width: int) -> tuple[int, ...]:
    """The 32-bit number at the start of each row."""
    count = len(rows) // 4
    return struct.unpack(f">{count}I", rows[: 4 * count])[:: width // 4]


def number(digits: bytes) -> int:
    """A number as boxes hold it."""
    return int.from_bytes(digits)
