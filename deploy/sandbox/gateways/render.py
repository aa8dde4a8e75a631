"""Playable clips and pictures of the sandbox's tasks, rendered at the first request."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import av

from rushes.deploy.sandbox.gateways import drawing
from rushes.deploy.sandbox.gateways.billing import Clip
from rushes.deploy.sandbox.gateways.reference_inputs import Unreadable, first_frame

FRAMES_PER_S = 24
SAMPLE_SIDES = (640, 720)
SAMPLE_CLIP = Clip(3.5, 480, 480)


def even(side: float) -> int:
    """The nearest even number of pixels, as H.264 requires."""
    return max(2, round(side / 2) * 2)


def sides(short: int, width: float, height: float) -> tuple[int, int]:
    """Width and height in the given proportion, the shorter of them `short` pixels long."""
    scale = short / min(width, height)
    return even(width * scale), even(height * scale)


def write_clip(path: Path, clip: Clip, background: av.VideoFrame) -> None:
    """Write an H.264 MP4 of the clip's length: the background, a running counter and a bar that fills."""
    count = max(1, round(clip.seconds * FRAMES_PER_S))
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        stream = out.add_stream("libx264", rate=FRAMES_PER_S, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        for number in range(count):
            _mark(background, number, count)
            background.pts = number
            out.mux(stream.encode(background))
        out.mux(stream.encode())


def _mark(frame: av.VideoFrame, number: int, count: int) -> None:
    bar, dot = frame.height // 40, max(1, frame.height // 120)
    drawing.box(frame, 0, frame.height - bar, frame.width * (number + 1) // count, bar, drawing.WHITE)
    drawing.text(frame, f"{number / FRAMES_PER_S:05.2f}", dot * 3, dot * 3, dot)


def write_picture(path: Path, frame: av.VideoFrame) -> None:
    """Write one frame as a JPEG."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as out:
        stream = out.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuvj420p"
        picture = frame.reformat(format="yuvj420p")
        picture.pts = 0
        out.mux(stream.encode(picture))
        out.mux(stream.encode())


class ClipRenderer:
    """Renders each clip once and stores it: clips of the same length, size and picture share a file."""

    def __init__(self, clips_dir: Path, pictures_dir: Path) -> None:
        self._clips_dir, self._pictures_dir = clips_dir, pictures_dir
        clips_dir.mkdir(parents=True, exist_ok=True)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def video(self, clip: Clip) -> Path:
        """The clip's MP4."""
        return self._once(f"{_name(clip)}.mp4", lambda path: write_clip(path, clip, self._background(clip)))

    def thumbnail(self, clip: Clip) -> Path:
        """The clip's first frame as a JPEG."""
        return self._once(f"{_name(clip)}.jpg", lambda path: write_picture(path, self._background(clip)))

    def sample_video(self) -> Path:
        """A reference video of 3.5 s, 480 by 480."""
        return self._once("sample.mp4", lambda path: write_clip(path, SAMPLE_CLIP, _portrait(480, 480)))

    def sample_picture(self) -> Path:
        """A reference picture, 640 by 720."""
        return self._once("sample.jpg", lambda path: write_picture(path, _portrait(*SAMPLE_SIDES)))

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self._clips_dir / name
        with self._locks[name]:
            if not path.exists():
                partial = path.with_suffix(f".partial{path.suffix}")
                make(partial)
                partial.replace(path)
        return path

    def _background(self, clip: Clip) -> av.VideoFrame:
        try:
            frame = first_frame(str(self._pictures_dir / clip.picture)) if clip.picture else None
        except Unreadable:
            frame = None
        return frame.reformat(clip.width, clip.height, "yuv420p") if frame else _landscape(clip)


def _portrait(width: int, height: int) -> av.VideoFrame:
    frame = drawing.blank(width, height, landscape=1)
    drawing.figure(frame)
    return frame


def _landscape(clip: Clip) -> av.VideoFrame:
    frame = drawing.blank(clip.width, clip.height, clip.landscape)
    drawing.hills(frame, clip.landscape)
    return frame


def _name(clip: Clip) -> str:
    content = f"{clip.seconds:.2f}-{clip.width}x{clip.height}-{clip.picture or clip.landscape}"
    return f"{clip.width}x{clip.height}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
