"""A clip on its way in, judged by the bytes that go by: is it one whole clip, how long, how large.

Nothing is decoded, and nothing is kept but a part at a time.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from io import SEEK_CUR, SEEK_END, SEEK_SET
from threading import BoundedSemaphore, Lock

from rushes.shared.media import formats, mp4_boxes
from rushes.shared.media.formats import Unreadable
from rushes.shared.media.mp4_movie import Movie

BLOCK_BYTES = 64 * 1024  # handed on at a time: small enough for malloc to use the same memory again and again
KEPT_WARM_BYTES = 512 * 1024  # of a buffer that nobody uses: one small clip after the other finds its pages there
SHOWN_BYTES = 8  # of what is no clip


class InvalidClip(Exception):
    """These bytes are not one whole clip; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What the header of a clip says; None where it says nothing. Sides in pixels, before any rotation."""

    duration_s: Decimal | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Source:
    """A clip as a gateway's link gives it: its bytes, and the length and type that were announced for them.

    Without a length, `ends_for_sure` says that `chunks` ends at the end of the clip, or not at all.
    """

    chunks: Iterator[bytes]
    length_bytes: int | None
    content_type: str | None
    ends_for_sure: bool = False


class Intake:
    """Reads a source once: counts, hashes and looks at what goes by; its end is reached only by a whole clip."""

    def __init__(self, source: Source) -> None:
        self.size = 0  # bytes so far
        self.facts = ClipFacts()  # known at the end
        self._source = source
        self._chunks = iter(source.chunks)
        self._rest = memoryview(b"")  # read, and not yet taken
        self._sha256 = hashlib.sha256()
        self._judge = ClipJudge()
        self._ended = False

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def format(self) -> str:
        """Which container it is in; known at the end."""
        return self._judge.format

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
        self._judge.feed(chunk)
        self._sha256.update(chunk)
        self._rest = memoryview(chunk)

    def _end(self) -> None:
        announced = self._source.length_bytes
        if announced is not None and self.size < announced:
            raise InvalidClip(f"it ended after {self.size} of {announced} bytes")
        self.facts = self._judge.finish(end_known=announced is not None or self._source.ends_for_sure)
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


class ClipJudge:
    """Judges a paid clip by the bytes that go by, as leniently as players do.

    What is no clip at all is refused, and what breaks off inside its header or its media; notes that are damaged, a
    rest behind the last box or sizes that lie within the header cost us facts at most.
    """

    def __init__(self) -> None:
        self.format = ""  # known once its first bytes have come
        self._size = 0
        self._head = bytearray()
        self._walk = mp4_boxes.Walk()
        self._feed = mp4_boxes.Feed(self._walk)

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes; raises InvalidClip as soon as they cannot belong to a clip."""
        self._size += len(chunk)
        rest = memoryview(chunk)
        if not self.format:
            missing = formats.HEAD_BYTES - len(self._head)
            self._head += rest[:missing]
            rest = rest[missing:]
            if len(self._head) == formats.HEAD_BYTES:
                self._recognize()
        if self.format:
            self._follow(rest)

    def finish(self, *, end_known: bool) -> ClipFacts:
        """What the clip says of itself; raises InvalidClip if it breaks off or lacks something.

        `end_known` says that nothing can be missing behind the last byte; without it the clip alone must prove that.
        """
        if not self._size:
            raise InvalidClip("it is empty")
        if not self.format:
            self._recognize()
        if self.format in formats.VIDEOS:
            return self._unread(end_known=end_known)
        with suppress(Unreadable):
            self._feed.end()
        return self._judged(end_known=end_known)

    def _recognize(self) -> None:
        head = bytes(self._head)
        self.format = formats.name(head)
        if self.format not in formats.VIDEOS | formats.BOXES | {formats.UNKNOWN}:
            raise self._no_clip()
        self._follow(head)

    def _follow(self, chunk: bytes | memoryview) -> None:
        if self.format in formats.VIDEOS or self._feed.is_over:
            return
        with suppress(Unreadable):  # a header beyond all measure costs the facts, not the clip
            self._feed.feed(chunk)
        if self._feed.is_over and self._walk.movie is None:
            raise self._no_movie()

    def _unread(self, *, end_known: bool) -> ClipFacts:
        """Of containers of another kind neither the facts nor the end are read."""
        if not end_known:
            raise InvalidClip(f"its length was not announced and {self.format} does not tell that it is whole")
        return ClipFacts()

    def _judged(self, *, end_known: bool) -> ClipFacts:
        walk, movie = self._walk, self._walk.movie
        last = _shown(walk.last.kind)
        if walk.cut_short(self._size) or (not end_known and walk.ends_beyond(self._size)):
            raise InvalidClip(f"it breaks off after {self._size} bytes, in {last}")
        if movie is None or b"moov" not in walk.seen:
            raise self._no_movie()
        if not walk.has_media(self._size):
            raise InvalidClip("it has no 'mdat'")
        if movie.is_sound_alone:
            raise InvalidClip("it has sound and no pictures")
        if not end_known and not walk.proves_its_end:
            raise InvalidClip(f"its length was not announced and {last} does not tell that it is whole")
        return _facts(movie)

    def _no_movie(self) -> InvalidClip:
        return InvalidClip("it has no 'moov'") if self.format in ("mp4", "mov") else self._no_clip()

    def _no_clip(self) -> InvalidClip:
        return InvalidClip(f"it is {self.format}, not a clip: {bytes(self._head[:SHOWN_BYTES])!r}…")


def _facts(movie: Movie) -> ClipFacts:
    shown, coded = (movie.video.shown_sides, movie.video.coded_sides) if movie.video else ((0, 0), (0, 0))
    width, height = shown if all(shown) else coded
    return ClipFacts(movie.pictured_s(places=3) or None, width or None, height or None)


def _shown(kind: bytes) -> str:
    return repr(kind.decode("ascii", "replace"))
