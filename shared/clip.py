"""A clip on its way in, judged by the bytes that go by: is it one whole MP4 or MOV, how long, how large.

Nothing is decoded, and nothing is kept but a part at a time.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from io import SEEK_CUR, SEEK_END, SEEK_SET
from math import inf
from threading import BoundedSemaphore, Lock

BLOCK_BYTES = 64 * 1024  # handed on at a time: small enough for malloc to use the same memory again and again
KEPT_WARM_BYTES = 512 * 1024  # of a buffer that nobody uses: one small clip after the other finds its pages there
HEADER_BYTES, LONG_HEADER_BYTES = 8, 16  # size and kind; with a 64-bit size behind them where the size says 1
CONTAINERS = {b"moov", b"trak", b"mdia"}  # stepped into; every other box is passed over
KEPT = {b"mvhd", b"tkhd", b"hdlr"}
KEPT_BYTES = 128  # of each: the longest that is read here, tkhd with 64-bit times, has 96
NEEDED = {b"ftyp", b"moov", b"mdat"}
NOTED = NEEDED | {b"moof"}
TRACKS = 16  # a file made of millions of them must not fill the memory
PAGES = {b"<": "an HTML page", b"{": "a JSON answer", b"[": "a JSON answer"}


class InvalidClip(Exception):
    """These bytes are not one whole MP4 or MOV; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What the header of a clip says; None where it says nothing. Sides in pixels, before any rotation."""

    duration_s: Decimal | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Source:
    """A clip as a gateway's link gives it: its bytes, and the length and type that were announced for them."""

    chunks: Iterator[bytes]
    length_bytes: int | None
    content_type: str | None


class Intake:
    """Reads a source once: counts, hashes and looks at what goes by; its end is reached only by a whole clip."""

    def __init__(self, source: Source) -> None:
        self.size = 0  # bytes so far
        self.facts = ClipFacts()  # known at the end
        self._source = source
        self._chunks = iter(source.chunks)
        self._rest = memoryview(b"")  # read, and not yet taken
        self._sha256 = hashlib.sha256()
        self._walk = BoxWalk()
        self._ended = False

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def more(self) -> bool:
        """Whether there are bytes to take; waits for them. Raises InvalidClip if they, or their end, are wrong."""
        while not self._rest and not self._ended:
            chunk = next(self._chunks, None)
            try:
                self._end() if chunk is None else self._look_at(chunk)
            except InvalidClip as flaw:
                raise InvalidClip(f"{flaw} (it came as {self._source.content_type or 'no type'})") from None
        return bool(self._rest)

    def take(self, count: int) -> memoryview:
        """Up to `count` bytes of those at hand."""
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def _look_at(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._source.length_bytes is not None and self.size > self._source.length_bytes:
            raise InvalidClip(f"it is longer than the {self._source.length_bytes} bytes announced")
        self._walk.feed(chunk)
        self._sha256.update(chunk)
        self._rest = memoryview(chunk)

    def _end(self) -> None:
        announced = self._source.length_bytes
        if announced is not None and self.size < announced:
            raise InvalidClip(f"it ended after {self.size} of {announced} bytes")
        self.facts = self._walk.finish(length_known=announced is not None)
        self._ended = True


class Buffers:
    """Memory for parts, `part_bytes` each: any number of clips get by with `count` of them.

    Their pages come from the system and go back there once no part is in use, where malloc would keep them in the heap
    of each thread that ever uploaded: 16 clips of 104 MB at once took 54 MiB so, and 200 MiB in BytesIO (6 × 8 MiB,
    glibc, 2026-11). Until then they are used again: fresh pages for every part cost 0.7 s of CPU a GB (2026-11).
    """

    def __init__(self, count: int, part_bytes: int) -> None:
        self.part_bytes = part_bytes
        self._count = count
        self._free = BoundedSemaphore(count)
        self._lock = Lock()
        self._grown = False
        pages = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # what is never written takes no memory: a small clip its size
        self._idle = [mmap.mmap(-1, part_bytes, flags=pages) for _ in range(count)]

    def take(self) -> mmap.mmap:
        """A buffer, as soon as there is one; what is in it is of no meaning."""
        self._free.acquire()
        with self._lock:
            return self._idle.pop()

    def give_back(self, pages: mmap.mmap, used_bytes: int) -> None:
        with self._lock:
            self._idle.append(pages)
            self._grown = self._grown or used_bytes > KEPT_WARM_BYTES
            if self._grown and len(self._idle) == self._count:
                self._shrink()
        self._free.release()

    def _shrink(self) -> None:
        for pages in self._idle:
            pages.madvise(mmap.MADV_DONTNEED)
        self._grown = False


class Part:
    """One part of a clip, as a file that boto can send; it holds a buffer until it is closed."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._pages = buffers.take()
        self._held = True
        self._filled = 0
        self._at = 0

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._held = False
            self._buffers.give_back(self._pages, self._filled)

    def __len__(self) -> int:
        return self._filled

    @property
    def room_bytes(self) -> int:
        return self._buffers.part_bytes - self._filled

    def add(self, data: bytes | memoryview) -> None:
        self._pages[self._filled : self._filled + len(data)] = data
        self._filled += len(data)

    def filled(self) -> memoryview:
        """All that is in it, not a copy: to be used before it is closed."""
        return memoryview(self._pages)[: self._filled]

    def read(self, size: int | None = None) -> bytes:
        wanted = BLOCK_BYTES if size is None or size < 0 else min(size, BLOCK_BYTES)
        block = self._pages[self._at : min(self._at + wanted, self._filled)]
        self._at += len(block)
        return block

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._at = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._filled}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at


class BoxWalk:
    """Walks over the boxes of a clip as its bytes come by, and keeps a few hundred of them, however large it is."""

    def __init__(self) -> None:
        self._at = 0  # bytes walked so far
        self._header = bytearray()  # of the next box, as far as it has come
        self._header_bytes = HEADER_BYTES  # how long it will be
        self._kind, self._end = b"", 0.0  # the box whose body we are in, and where it ends
        self._top, self._top_end = b"", 0.0  # the same of the box at the top level
        self._open: list[float] = []  # where the containers we are in end
        self._seen: set[bytes] = set()  # those of NOTED that were there at the top level and held something
        self._kept: list[dict[bytes, bytearray]] = [{}]  # kind → body: of the movie, then of each track

    def feed(self, chunk: bytes) -> None:
        """Walk over the next bytes; raises InvalidClip as soon as they cannot belong to a clip."""
        rest = memoryview(chunk)
        while rest:
            rest = self._pass_over(rest) if self._at < self._end else self._gather_header(rest)

    def finish(self, *, length_known: bool) -> ClipFacts:
        """What the clip said of itself; raises InvalidClip if it breaks off or lacks something.

        `length_known` says that the length was announced and reached; without it the boxes alone must prove that
        nothing is missing, which one that is open to the end, or a fragment as the last word, cannot.
        """
        if self._at == 0:
            raise InvalidClip("it is empty")
        if self._breaks_off():
            raise InvalidClip(f"it breaks off after {self._at} bytes, in {_shown(self._top)}")
        if missing := NEEDED - self._seen:
            raise InvalidClip("it has no " + " and no ".join(sorted(map(_shown, missing))))
        if not length_known and self._could_go_on():
            raise InvalidClip(f"its length was not announced and {_shown(self._top)} does not tell that it is whole")
        return _facts(self._kept)

    def _breaks_off(self) -> bool:
        end = self._end if self._top_end == inf else self._top_end
        return bool(self._header) or self._at < end < inf

    def _could_go_on(self) -> bool:
        # A fragmented file may be cut between two fragments; its index, mfra, is written behind the last.
        return self._top_end == inf or (b"moof" in self._seen and self._top != b"mfra")

    def _pass_over(self, rest: memoryview) -> memoryview:
        passed = rest[: int(min(len(rest), self._end - self._at))]
        self._keep(passed)
        self._at += len(passed)
        self._leave_full_containers()
        return rest[len(passed) :]

    def _gather_header(self, rest: memoryview) -> memoryview:
        taken = rest[: self._header_bytes - len(self._header)]
        self._header += taken
        self._at += len(taken)
        if len(self._header) == self._header_bytes:
            self._read_header()
        return rest[len(taken) :]

    def _read_header(self) -> None:
        size_follows = self._header_bytes == HEADER_BYTES and self._header[:4] == b"\0\0\0\1"
        if size_follows and not (self._open and self._open[-1] - self._at < HEADER_BYTES):
            self._header_bytes = LONG_HEADER_BYTES
            return
        self._enter(bytes(self._header))
        self._header.clear()
        self._header_bytes = HEADER_BYTES
        self._leave_full_containers()

    def _enter(self, header: bytes) -> None:
        self._kind = header[4:8]
        size = int.from_bytes(header[8:] or header[:4])
        self._end = self._at - len(header) + size if size else inf
        if self._open:
            self._enter_inner()
        else:
            self._enter_top(header)
        if self._kind == b"trak" and len(self._kept) <= TRACKS:
            self._kept.append({})
        if self._kind in CONTAINERS and len(self._open) < len(CONTAINERS):
            self._open.append(self._end)
            self._end = self._at

    def _enter_inner(self) -> None:
        # A box inside moov that lies about its size costs us facts, not the clip: players look at it themselves.
        parent_end = self._open[-1]
        self._end = min(self._end, parent_end) if self._end >= self._at else parent_end

    def _enter_top(self, header: bytes) -> None:
        if not self._seen and self._kind != b"ftyp":
            raise InvalidClip(f"it is not an MP4 or MOV but {PAGES.get(header[:1], 'something else')}: {header!r}…")
        if self._end < self._at:
            raise InvalidClip(f"{_shown(self._kind)} at {self._at - len(header)} has an impossible size")
        self._top, self._top_end = self._kind, self._end
        if self._end > self._at and self._kind in NOTED:
            self._seen.add(self._kind)

    def _leave_full_containers(self) -> None:
        while self._open and self._at >= self._end and self._open[-1] - self._at < HEADER_BYTES:
            self._kind, self._end = b"", self._open.pop()

    def _keep(self, passed: memoryview) -> None:
        if self._open and self._kind in KEPT:
            body = self._kept[-1].setdefault(self._kind, bytearray())
            body += passed[: KEPT_BYTES - len(body)]


def _facts(kept: list[dict[bytes, bytearray]]) -> ClipFacts:
    movie = bytes(next((boxes[b"mvhd"] for boxes in kept if b"mvhd" in boxes), b""))
    video = next((boxes for boxes in kept if boxes.get(b"hdlr", b"")[8:12] == b"vide"), {})
    track = bytes(video.get(b"tkhd", b""))
    return ClipFacts(_duration_s(movie, track), *_sides(track))


def _duration_s(mvhd: bytes, tkhd: bytes) -> Decimal | None:
    """How long the picture lasts; where its track does not say, the movie: that counts sound set before zero too."""
    scale, movie = _pick(mvhd, (12, 16), (20, 24)), _pick(mvhd, (16, 20), (24, 32))
    length = _pick(tkhd, (20, 24), (28, 36)) or movie
    return (Decimal(length) / scale).quantize(Decimal("0.001")) if scale and length else None


def _sides(tkhd: bytes) -> tuple[int | None, int | None]:
    """Width and height stand last, as 16.16 fixed point."""
    width, height = _pick(tkhd, (76, 80), (88, 92)), _pick(tkhd, (80, 84), (92, 96))
    return (width or 0) >> 16 or None, (height or 0) >> 16 or None


def _pick(body: bytes, version_0: tuple[int, int], version_1: tuple[int, int]) -> int | None:
    """The number between these two offsets; None for 0 (a fragmented file) and for all ones: it is not known.

    Version 1 of a box has 64-bit times, so what follows them stands further back.
    """
    digits = body[slice(*(version_1 if body[:1] == b"\1" else version_0))]
    return None if set(digits) == {0xFF} else int.from_bytes(digits) or None


def _shown(kind: bytes) -> str:
    return repr(kind.decode("ascii", "replace"))
