"""The boxes of an MP4 or MOV (ISO 14496-12): which there are, where they end, and what the movie says of itself.

One walk for inputs and results. It goes forwards only and asks for what it needs, so it follows a stream of which
every byte goes by (`Feed`) as well as a file of which only parts are fetched (`read`). Nothing is decoded, and no count
that a file states is believed: FFmpeg took 2 GB and five seconds for a movie of 1,547 bytes (PyAV 18.1, 2026-11).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, TypeVar

from rushes.shared.media.formats import File, Unreadable
from rushes.shared.media.mp4_movie import INSIDE, TABLES, Movie, Table, number

T = TypeVar("T")

HEADER_BYTES = 8  # of a box: its size and its kind
OPEN = 1 << 80  # the end of a box that reaches to the end of the file, wherever that is
MEDIA = frozenset({b"moov", b"moof", b"mdat"})  # a clip in which one of these breaks off is cut short
NOTED = MEDIA | {b"ftyp", b"mfra"}

# Guards against made-up files. 30 s of a fragment per frame have some 20,000 boxes; an hour of 30 frames a second has
# 0.8 MiB of rows where no two frames last alike.
MAX_BOXES = 100_000
MAX_TABLE_BYTES = 16 << 20  # of all tables that are added up
PIECE_BYTES = 1 << 16  # of a table, at a time

KEPT_BYTES = 96  # of any other box: tkhd with 64-bit times is the longest that is read


class Read(NamedTuple):
    """The walk needs the next `size` bytes; it gets fewer only at the end of the file."""

    size: int


class Skip(NamedTuple):
    """The walk does not need the next `size` bytes."""

    size: int


Steps = Generator[Read | Skip, bytes, T]


class Box(NamedTuple):
    """A box whose header was read; `end` is a place in the file."""

    kind: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a clip says of itself; sides in pixels as coded, before any rotation."""

    width: int
    height: int
    duration_s: Decimal
    codec: str
    format: str


class Walk:
    """What is known of a file so far: its boxes at the top level, and its movie."""

    def __init__(self) -> None:
        self.at = 0
        self.seen: set[bytes] = set()  # those of NOTED that were there at the top level and hold something
        self.last = Box(b"", 0)  # at the top level
        self.rest_at = 0  # up to here one box follows the other
        self.brand = b""
        self.movie: Movie | None = None
        self._boxes_left, self._table_bytes_left = MAX_BOXES, MAX_TABLE_BYTES

    def steps(self) -> Steps[None]:
        """The walk itself; raises Unreadable where the file takes more than any real one."""
        while (box := (yield from self._next_box(OPEN))) and self._belongs(box):
            self.last = box
            if box.kind in NOTED and box.end > self.at:
                self.seen.add(box.kind)
            yield from self._enter(b"", box)
            self.rest_at = box.end
            if box.end == OPEN:
                return

    def cut_short(self, size_bytes: int) -> bool:
        """Whether the last box reaches past the end of the file, and what is missing belongs to the clip."""
        return self.last.kind in MEDIA and self.ends_beyond(size_bytes)

    def ends_beyond(self, size_bytes: int) -> bool:
        return size_bytes < self.last.end < OPEN

    def has_media(self, size_bytes: int) -> bool:
        """Whether it holds pictures, or may: of what stands behind something that is no box, only a player can tell."""
        return b"mdat" in self.seen or size_bytes - self.rest_at > HEADER_BYTES

    @property
    def proves_its_end(self) -> bool:
        """Whether the boxes that are there say that no other follows.

        One that is open to the end does not, nor a fragment: only the index, mfra, stands behind the last.
        """
        return self.last.end != OPEN and (b"moof" not in self.seen or b"mfra" in self.seen)

    @property
    def format(self) -> str:
        """`mov` for QuickTime's own brand and for files from before there was any."""
        return "mov" if self.brand in (b"", b"qt  ") else "mp4"

    def _belongs(self, box: Box) -> bool:
        # Players stop at such a thing too: zeros behind the last box look like one that is open to the end.
        return box.end < OPEN if self.seen and not _is_printable(box.kind) else _is_printable(box.kind)

    def _enter(self, parent: bytes, box: Box) -> Steps[None]:
        """Read what is wanted of a box; then stand at its end."""
        if box.kind in INSIDE[parent] and self._opens(box.kind):
            if box.kind in INSIDE:
                while child := (yield from self._next_box(box.end)):
                    yield from self._enter(box.kind, child)
            elif box.kind in TABLES and self.movie:
                yield from self._add_up(box, self.movie)
            else:
                self._keep(box.kind, (yield from self._read(min(KEPT_BYTES, box.end - self.at))))
        if self.at < box.end < OPEN:
            yield Skip(box.end - self.at)
            self.at = box.end

    def _next_box(self, parent_end: int) -> Steps[Box | None]:
        """The next box before that end; None where none is left, or what stands there can be none."""
        start = self.at
        if parent_end - start < HEADER_BYTES:
            return None
        header = yield from self._read(HEADER_BYTES)
        size = number(header[:4])
        if size == 1 and parent_end - self.at >= 8:
            size = number((yield from self._read(8)))
        end = start + size if size else parent_end
        if len(header) < HEADER_BYTES or end < self.at:
            return None
        if not self._boxes_left:
            raise Unreadable(f"it has more than {MAX_BOXES} boxes")
        self._boxes_left -= 1
        return Box(header[4:], min(end, parent_end))

    def _opens(self, kind: bytes) -> bool:
        """Whether a box of this kind is looked into here: one movie, not too many tracks, no fragment before it."""
        if kind == b"moov":
            is_first, self.movie = self.movie is None, self.movie or Movie()
            return is_first
        if kind == b"ftyp":
            return not self.brand
        return self.movie is not None and self.movie.opens(kind)

    def _keep(self, kind: bytes, body: bytes) -> None:
        if kind == b"ftyp":
            self.brand = body[:4]
        elif self.movie:
            self.movie.keep(kind, body)

    def _add_up(self, box: Box, movie: Movie) -> Steps[None]:
        """Read a table in pieces, as far as its box goes; only the sum of its rows is kept."""
        table = Table(box.kind, (yield from self._read(min(HEADER_BYTES, box.end - self.at))))
        yield from self._read(min(table.lead_bytes, box.end - self.at))
        left = min(table.count, (box.end - self.at) // table.row_bytes) * table.row_bytes if table.is_summed else 0
        self._table_bytes_left -= left
        if self._table_bytes_left < 0:
            raise Unreadable(f"its tables of samples are longer than {MAX_TABLE_BYTES} bytes")
        while left and (piece := (yield from self._read(min(left, PIECE_BYTES // table.row_bytes * table.row_bytes)))):
            table.add(piece)
            left -= len(piece)
        movie.add_table(table)

    def _read(self, count: int) -> Steps[bytes]:
        data = (yield Read(count)) if count > 0 else b""
        self.at += len(data)
        return data


def read(file: File) -> Walk:
    """Walk over a file of which only what is needed is fetched; raises Unreadable."""
    walk = Walk()
    steps, data = walk.steps(), b""
    try:
        step = next(steps)
        while True:
            if isinstance(step, Skip):
                file.at += step.size
            else:
                data = file.take(step.size)
            step = steps.send(data)
    except StopIteration:
        return walk


class Feed:
    """Walks over what goes by in chunks of any size."""

    def __init__(self, walk: Walk) -> None:
        self.is_over = False  # nothing that still comes is looked at
        self._steps = walk.steps()
        self._step: Read | Skip = next(self._steps)
        self._data, self._passed = bytearray(), 0  # of this step

    def feed(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; raises Unreadable."""
        rest = memoryview(chunk)
        while rest and not self.is_over:
            taken = rest[: self._step.size - self._passed]
            self._passed += len(taken)
            if isinstance(self._step, Read):
                self._data += taken
            if self._passed == self._step.size:
                self._go_on()
            rest = rest[len(taken) :]

    def end(self) -> None:
        """No more bytes come: the walk gets what there is, and ends; raises Unreadable."""
        while not self.is_over:
            self._go_on()

    def _go_on(self) -> None:
        data = bytes(self._data)
        self._data.clear()
        self._passed = 0
        try:
            self._step = self._steps.send(data)
        except StopIteration:
            self.is_over = True
        except Unreadable:
            self.is_over = True
            raise


def header(file: File) -> Header:
    """What an MP4 or MOV says of itself; raises Unreadable, also where it breaks off or does not say enough."""
    walk = read(file)
    if walk.cut_short(file.size()):
        kind, end = walk.last
        raise Unreadable(f"it is cut short: its {kind.decode()} ends at byte {end}, the file at {file.size()}")
    if walk.movie is None or b"mdat" not in walk.seen:
        raise Unreadable(f"it has no {'mdat' if walk.movie else 'moov'}; it may be cut short")
    video, duration_s = walk.movie.video, walk.movie.played_s(places=2)
    if video is None:
        raise Unreadable("it has no video track")
    if not video.code:
        raise Unreadable("its video track does not say how it is coded")
    if not duration_s:
        raise Unreadable("it does not say how long it is")
    return Header(*video.coded_sides, duration_s, video.code, walk.format)


def _is_printable(kind: bytes) -> bool:
    return all(0x20 <= character < 0x7F for character in kind)
