"""Checks a clip while it is downloaded: is it one whole clip, how long is it, how large are its pictures.

Nothing is decoded, and only one part at a time is kept.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from io import SEEK_CUR, SEEK_END, SEEK_SET
from threading import BoundedSemaphore, Lock

from rushes.shared.media import formats, mp4_boxes
from rushes.shared.media.mp4_movie import Movie

BLOCK_BYTES = 64 * 1024  # of one read: small enough for malloc to reuse the same memory
MAX_WARM_BYTES = 512 * 1024  # an idle buffer keeps its pages up to this use, for the next small clip
QUOTED_BYTES = 8  # of a file that is not a clip, in the error
CLIP_FORMATS = formats.BOX_FORMATS | formats.OTHER_VIDEO_FORMATS | {formats.UNKNOWN}


class InvalidClip(Exception):
    """The bytes are not one whole clip; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What the header of a clip says; None if it does not. Width and height in pixels, before any rotation."""

    duration_s: Decimal | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class ClipSource:
    """A clip behind a gateway's link: its bytes, and the length and type that the response announced.

    `end_is_certain` is for a response without a length: the end of `chunks` is the end of the clip.
    """

    chunks: Iterator[bytes]
    length_bytes: int | None
    content_type: str | None
    end_is_certain: bool = False


class ClipReader:
    """Reads a source once, and counts, hashes and validates its bytes. Its end is reached only if the clip is whole."""

    def __init__(self, source: ClipSource) -> None:
        self.size = 0  # bytes so far
        self.info = ClipInfo()  # set at the end
        self._source = source
        self._chunks = iter(source.chunks)
        self._rest = memoryview(b"")  # read but not yet taken
        self._sha256 = hashlib.sha256()
        self._validator = ClipValidator()
        self._ended = False

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def format(self) -> str:
        """The container format; known at the end."""
        return self._validator.format

    def has_more(self) -> bool:
        """Wait for bytes to take; False at the end. Raises InvalidClip if the bytes or their end are wrong."""
        while not self._rest and not self._ended:
            chunk = next(self._chunks, None)
            try:
                self._end() if chunk is None else self._accept(chunk)
            except InvalidClip as flaw:
                raise InvalidClip(f"{flaw} (content type: {self._source.content_type or 'none'})") from None
        return bool(self._rest)

    def take(self, count: int) -> memoryview:
        """Take up to `count` of the bytes that were read."""
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def _accept(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._source.length_bytes is not None and self.size > self._source.length_bytes:
            raise InvalidClip(f"it is longer than the {self._source.length_bytes} bytes announced")
        self._validator.feed(chunk)
        self._sha256.update(chunk)
        self._rest = memoryview(chunk)

    def _end(self) -> None:
        announced = self._source.length_bytes
        if announced is not None and self.size < announced:
            raise InvalidClip(f"it ended after {self.size} of {announced} bytes")
        self.info = self._validator.finish(end_known=announced is not None or self._source.end_is_certain)
        self._ended = True


class BufferPool:
    """`count` buffers of `part_bytes` each, shared by any number of clips.

    Their pages come from the system and return to it once no part is in use; malloc would keep them in the heap of each
    thread that ever uploaded. 16 clips of 104 MB at once took 54 MiB this way, and 200 MiB in BytesIO (6 × 8 MiB,
    glibc, 2026-11). Until then the pages are reused: new pages for every part cost 0.7 s of CPU per GB (2026-11).
    """

    def __init__(self, count: int, part_bytes: int) -> None:
        self.part_bytes = part_bytes
        self._count = count
        self._free = BoundedSemaphore(count)
        self._lock = Lock()
        self._grown = False
        pages = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # unwritten pages take no memory
        self._idle = [mmap.mmap(-1, part_bytes, flags=pages) for _ in range(count)]

    def take(self) -> mmap.mmap:
        """Wait for a buffer and take it; its content is undefined."""
        self._free.acquire()
        with self._lock:
            return self._idle.pop()

    def give_back(self, pages: mmap.mmap, used_bytes: int) -> None:
        with self._lock:
            self._idle.append(pages)
            self._grown = self._grown or used_bytes > MAX_WARM_BYTES
            if self._grown and len(self._idle) == self._count:
                self._shrink()
        self._free.release()

    def _shrink(self) -> None:
        for pages in self._idle:
            pages.madvise(mmap.MADV_DONTNEED)
        self._grown = False


class UploadPart:
    """One part of a clip, as a file that boto can send; it keeps its buffer until it is closed."""

    def __init__(self, buffers: BufferPool) -> None:
        self._buffers = buffers
        self._pages = buffers.take()
        self._has_buffer = True
        self._filled = 0
        self._at = 0

    def __enter__(self) -> UploadPart:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_buffer:
            self._has_buffer = False
            self._buffers.give_back(self._pages, self._filled)

    def __len__(self) -> int:
        return self._filled

    @property
    def free_bytes(self) -> int:
        return self._buffers.part_bytes - self._filled

    def add(self, data: bytes | memoryview) -> None:
        self._pages[self._filled : self._filled + len(data)] = data
        self._filled += len(data)

    def content(self) -> memoryview:
        """Return the content without copying it; use it before the part is closed."""
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


class ClipValidator:
    """Validates a paid clip while its bytes pass, as leniently as players do.

    It refuses what is not a clip and what breaks off inside the header or the media. Damaged metadata, bytes after the
    last box or wrong sizes inside the header cost at most some fields of ClipInfo.
    """

    def __init__(self) -> None:
        self.format = ""  # set once the first bytes have come
        self._size = 0
        self._head = bytearray()
        self._walk = mp4_boxes.Walk()
        self._feed = mp4_boxes.Feed(self._walk)

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes; raises InvalidClip as soon as they cannot belong to a clip."""
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

    def finish(self, *, end_known: bool) -> ClipInfo:
        """Return what the clip's header says; raises InvalidClip if the clip breaks off or lacks something.

        `end_known`: nothing can be missing after the last byte. Without it, the clip itself must prove that.
        """
        if not self._size:
            raise InvalidClip("it is empty")
        if not self.format:
            self._recognize()
        if self.format in formats.OTHER_VIDEO_FORMATS:
            return self._accept_unread(end_known=end_known)
        self._feed.end()
        return self._validate(end_known=end_known)

    def _recognize(self) -> None:
        head = bytes(self._head)
        self.format = formats.detect(head)
        if self.format not in CLIP_FORMATS:
            raise self._no_clip()
        self._follow(head)

    def _follow(self, chunk: bytes | memoryview) -> None:
        if self.format in formats.OTHER_VIDEO_FORMATS or self._feed.is_over:
            return
        self._feed.feed(chunk)
        if self._feed.is_over and self._walk.movie is None:
            raise self._no_movie()

    def _accept_unread(self, *, end_known: bool) -> ClipInfo:
        """Accept another kind of container, of which neither the header nor the end is read."""
        if not end_known:
            raise InvalidClip(f"its length was not announced, and {self.format} does not show whether it is whole")
        return ClipInfo()

    def _validate(self, *, end_known: bool) -> ClipInfo:
        walk, movie = self._walk, self._walk.movie
        if walk.is_cut_short(self._size) or (not end_known and walk.ends_beyond(self._size)):
            raise InvalidClip(f"it breaks off after {self._size} bytes, in {_quoted_kind(walk.last_kind)}")
        if movie is None or b"moov" not in walk.top_level_kinds:
            raise self._no_movie()
        if not walk.has_media(self._size):
            raise InvalidClip("it has no 'mdat'")
        if movie.is_audio_only:
            raise InvalidClip("it has sound and no pictures")
        if not end_known and not walk.proves_its_end:
            last = _quoted_kind(walk.last_kind)
            raise InvalidClip(f"its length was not announced, and {last} does not show whether it is whole")
        return _clip_info(movie)

    def _no_movie(self) -> InvalidClip:
        return InvalidClip("it has no 'moov'") if self.format in ("mp4", "mov") else self._no_clip()

    def _no_clip(self) -> InvalidClip:
        return InvalidClip(f"it is {self.format}, not a clip: {bytes(self._head[:QUOTED_BYTES])!r}…")


def _clip_info(movie: Movie) -> ClipInfo:
    video = movie.video
    display, coded = (video.display_dimensions, video.coded_dimensions) if video else ((0, 0), (0, 0))
    width, height = display if all(display) else coded
    return ClipInfo(movie.video_duration_s(places=3) or None, width or None, height or None)


def _quoted_kind(kind: bytes) -> str:
    return repr(kind.decode("ascii", "replace"))
