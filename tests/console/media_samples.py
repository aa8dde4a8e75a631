"""Pictures and clips as people have them, made anew: a form's files."""

from __future__ import annotations

import io
from functools import cache

import av
from PIL import Image

ONE_MB = 1 << 20


@cache
def picture(width: int = 640, height: int = 480, kind: str = "JPEG") -> bytes:
    made = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(made, kind)
    return made.getvalue()


@cache
def clip(seconds: int = 4, width: int = 480, height: int = 360, kind: str = "mp4") -> bytes:
    """A clip of grey pictures, two a second."""
    made = io.BytesIO()
    with av.open(made, "w", format=kind) as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(seconds * 2):
            container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode())
    return made.getvalue()
