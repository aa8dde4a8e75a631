"""Pictures and clips made on the spot."""

from __future__ import annotations

import io
import struct
import tempfile
from fractions import Fraction

import av
from PIL import Image

CLOCK = Fraction(1, 1000)


def picture(width=600, height=800, kind="JPEG", **options):
    made = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(made, kind, **options)
    return made.getvalue()


def clip(seconds=5.0, width=352, height=640, *, kind="mp4", codec="libx264", frames=3, sound_s=None, **options):
    """A clip of a few still frames that lasts exactly this long; `options` are the muxer's."""
    with tempfile.NamedTemporaryFile() as made:  # by its name: FFmpeg opens it again to move an index to the front
        with av.open(made.name, "w", format=kind, options=options) as out:
            video = out.add_stream(codec, rate=1000, options=OPTIONS.get(codec, {}), time_base=CLOCK)
            video.width, video.height, video.pix_fmt = width, height, PIXELS.get(codec, "yuv420p")
            sound = out.add_stream("aac", rate=48000) if sound_s else None
            packets = list(_pictures(video, frames, round(seconds * 1000)))
            packets += list(_silence(sound, sound_s)) if sound else []
            for packet in packets:
                out.mux(packet)
        return made.read()


def song(seconds=5.0):
    """A file of sound alone, an MP4 all the same."""
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as out:
        for packet in _silence(out.add_stream("aac", rate=48000), seconds):
            out.mux(packet)
    return made.getvalue()


OPTIONS = {"libx264": {"bf": "0"}, "libx265": {"bf": "0", "x265-params": "log-level=none"}}
PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}


def _pictures(stream, count, length_ms):
    each_ms = length_ms // count
    packets = []
    for number in range(count):
        frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
        for plane in frame.planes:
            plane.update(bytes([number * 40 % 256]) * plane.buffer_size)
        frame.pts, frame.time_base = number * each_ms, CLOCK
        packets += stream.encode(frame)
    packets += stream.encode(None)
    for packet in packets:
        packet.duration = each_ms
    packets[-1].duration = length_ms - each_ms * (count - 1)
    return packets


def _silence(stream, seconds):
    for position in range(0, round(seconds * 48000), 1024):
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.sample_rate, frame.time_base = position, 48000, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def box(kind, *inner):
    body = b"".join(inner)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def harm(data, dice):
    """Overwrite a few bytes, most of them with extremes, and now and then cut the end off."""
    harmed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        position = dice.randrange(min(len(harmed), 3000))
        harmed[position : position + dice.choice((1, 2, 4))] = bytes(
            [dice.choice((0, 1, 0x7F, 0xFF, dice.randrange(256)))] * 4
        )
    return bytes(harmed[: dice.choice((len(harmed), len(harmed), dice.randrange(len(harmed))))])


class Bytes:
    """A file in memory, read forwards only; counts what is taken."""

    def __init__(self, data):
        self._data, self._position = data, 0
        self.takes, self.taken_bytes = 0, 0

    @property
    def position(self):
        return self._position

    @position.setter
    def position(self, position):
        assert position >= self._position
        self._position = position

    def take(self, count):
        taken = self._data[self.position : self.position + count]
        self.position += len(taken)
        self.takes, self.taken_bytes = self.takes + 1, self.taken_bytes + len(taken)
        return taken

    def size(self):
        return len(self._data)
