"""Reference pictures and videos of a request: fetched and checked, as a gateway does before it accepts."""

from __future__ import annotations

import hashlib
import http.client
import io
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import av

VIDEO_CAP_BYTES = 100 * 1000 * 1000
PICTURE_CAP_BYTES = 10 * 1000 * 1000
FETCH_TIMEOUT_S = 20
CACHE_S = 60
CACHE_MAX = 1000
CHUNK_BYTES = 1 << 16

# The examples in the documents name files there that do not exist: each stands for a clip of 8 s and is never fetched.
PLACEHOLDER_HOSTS = ("example.com", "example.org", "example.net")


class Unreadable(Exception):
    """The file behind a URL cannot be fetched, is too large, or is not a picture or video."""


@dataclass(frozen=True, slots=True)
class Video:
    """What a gateway learns about a reference video."""

    seconds: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A reference picture: `name` is its file among the stored ones."""

    name: str
    width: int
    height: int


PLACEHOLDER_VIDEO = Video(8.0, 1280, 720)


class References:
    """Fetches references, caches the results for a while, and stores the pictures in `pictures_dir`."""

    def __init__(self, pictures_dir: Path) -> None:
        self.pictures_dir = pictures_dir
        self.pictures_dir.mkdir(parents=True, exist_ok=True)
        self._cache: dict[tuple[str, str], tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def video(self, url: str) -> Video:
        """Length and sides of the video there; raises Unreadable, also past 100 MB."""
        if urlsplit(url).hostname in PLACEHOLDER_HOSTS:
            return PLACEHOLDER_VIDEO
        result: Video = self._cached("video", url, _fetch_video)
        return result

    def picture(self, url: str) -> Picture | None:
        """The picture there, stored; None where it cannot be read."""
        if urlsplit(url).hostname in PLACEHOLDER_HOSTS:
            return None
        try:
            result: Picture = self._cached("picture", url, self._fetch_picture)
        except Unreadable:
            return None
        return result

    def _cached(self, kind: str, url: str, fetch_and_probe: Callable[[str], Any]) -> Any:
        until, result = self._cache.get((kind, url), (0.0, None))
        if until > time.monotonic():
            return result
        result = fetch_and_probe(url)
        with self._lock:
            if len(self._cache) >= CACHE_MAX:
                self._cache.clear()
            self._cache[kind, url] = (time.monotonic() + CACHE_S, result)
        return result

    def _fetch_picture(self, url: str) -> Picture:
        content = io.BytesIO()
        _fetch(url, content, PICTURE_CAP_BYTES)
        frame = first_frame(content)
        name = hashlib.sha256(content.getvalue()).hexdigest()[:32]
        file = self.pictures_dir / name
        if not file.exists():
            partial = file.with_suffix(f".{threading.get_ident()}")
            partial.write_bytes(content.getvalue())
            partial.replace(file)
        return Picture(name, frame.width, frame.height)


def first_frame(content: IO[bytes] | str) -> av.VideoFrame:
    """The first frame of a picture or video; raises Unreadable."""
    try:
        with av.open(content, "r") as container:
            return next(container.decode(video=0))
    except (av.error.FFmpegError, IndexError, StopIteration) as error:
        raise Unreadable(f"not a picture or video: {error}") from error


def _fetch_video(url: str) -> Video:
    with tempfile.TemporaryFile() as content:
        _fetch(url, content, VIDEO_CAP_BYTES)
        try:
            return _probe(content)
        except (av.error.FFmpegError, IndexError, TypeError) as error:
            raise Unreadable(f"not a video: {error}") from error


def _probe(content: IO[bytes]) -> Video:
    with av.open(content, "r") as container:
        stream = container.streams.video[0]
        return Video(round(_length_s(container, stream), 3), stream.width, stream.height)


def _length_s(container: Any, stream: Any) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return float(container.duration / av.time_base)


# No proxy: the sandbox runs on loopback, and other references are fetched directly.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _fetch(url: str, into: IO[bytes], cap_bytes: int) -> None:
    """Download the URL into a file; the file is rewound to its start."""
    try:
        with _opener.open(url, timeout=FETCH_TIMEOUT_S) as response:
            _copy(response, into, cap_bytes)
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        raise Unreadable(f"cannot be fetched: {error}") from error
    into.seek(0)


def _copy(source: Any, into: IO[bytes], cap_bytes: int) -> None:
    size_bytes = 0
    while chunk := source.read(CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > cap_bytes:
            raise Unreadable(f"is larger than {cap_bytes // 1_000_000} MB")
        into.write(chunk)
