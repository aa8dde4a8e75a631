"""Pictures drawn by hand into video frames, so that no graphics library is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import av

# Each digit is five rows of three dots.
GLYPHS: Mapping[str, tuple[str, ...]] = {
    "0": ("###", "# #", "# #", "# #", "###"),
    "1": (" # ", "## ", " # ", " # ", "###"),
    "2": ("###", "  #", "###", "#  ", "###"),
    "3": ("###", "  #", "###", "  #", "###"),
    "4": ("# #", "# #", "###", "  #", "  #"),
    "5": ("###", "#  ", "###", "  #", "###"),
    "6": ("###", "#  ", "###", "# #", "###"),
    "7": ("###", "  #", "  #", " # ", " # "),
    "8": ("###", "# #", "###", "# #", "###"),
    "9": ("###", "# #", "###", "  #", "###"),
    ".": ("   ", "   ", "   ", "   ", " # "),
}
BLACK, WHITE = 16, 235

Colour = tuple[int, int, int]  # brightness, blue and red difference, as a frame's three planes hold them


def colour(rgb: int) -> Colour:
    """A colour of the web (0xRRGGBB) as video has it (BT.601)."""
    r, g, b = rgb >> 16, rgb >> 8 & 255, rgb & 255
    return (
        16 + round(0.257 * r + 0.504 * g + 0.098 * b),
        128 + round(-0.148 * r - 0.291 * g + 0.439 * b),
        128 + round(0.439 * r - 0.368 * g - 0.071 * b),
    )


# The sky above and at the horizon, the sun, and hills from the far to the near one.
LANDSCAPES: tuple[tuple[int, ...], ...] = (
    (0x35507A, 0xF0A878, 0xFFE3B0, 0x7A6386, 0x4D4468, 0x2A2B47),  # dusk
    (0x4A93C9, 0xD8ECEF, 0xFFF6D8, 0x8FB7A6, 0x568C78, 0x2C5E55),  # morning
    (0x10182F, 0x3C4C7C, 0xE9EDF6, 0x2B3760, 0x1C2546, 0x10162D),  # night
    (0x9A5A55, 0xF4C77E, 0xFFF0C2, 0xB5715A, 0x84503F, 0x4F3129),  # desert
)


def blank(width: int, height: int, landscape: int = 0) -> av.VideoFrame:
    """A sky that grows lighter downwards."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, above, below in zip(frame.planes, *map(colour, LANDSCAPES[landscape][:2]), strict=True):
        rows = (above + (below - above) * row // plane.height for row in range(plane.height))
        plane.update(b"".join(bytes([shade]) * plane.line_size for shade in rows))
    return frame


def hills(frame: av.VideoFrame, landscape: int = 0) -> None:
    """Draw a sun and three hills."""
    wide, high = frame.width, frame.height
    _, _, sun, far, middle, near = map(colour, LANDSCAPES[landscape])
    ellipse(frame, wide * 7 // 10, high * 38 // 100, high // 9, high // 9, sun)
    ellipse(frame, wide // 5, high, wide * 6 // 10, high * 50 // 100, far)
    ellipse(frame, wide * 9 // 10, high * 11 // 10, wide * 6 // 10, high * 52 // 100, middle)
    ellipse(frame, wide * 3 // 10, high * 13 // 10, wide * 9 // 10, high * 55 // 100, near)


def figure(frame: av.VideoFrame) -> None:
    """Draw a person: head, neck and shoulders."""
    wide, high, side = frame.width, frame.height, min(frame.width, frame.height)
    skin, shadow, hair, coat = map(colour, (0xF0B48C, 0xD99A74, 0x4A3428, 0x2C5E55))
    ellipse(frame, wide // 2, high * 41 // 100, side * 20 // 100, side * 24 // 100, hair)
    ellipse(frame, wide // 2, high * 63 // 100, side * 8 // 100, high * 14 // 100, shadow)
    ellipse(frame, wide // 2, high, side * 40 // 100, high * 31 // 100, coat)
    ellipse(frame, wide // 2, high * 45 // 100, side * 16 // 100, side * 20 // 100, skin)


def ellipse(frame: av.VideoFrame, x: int, y: int, half_width: int, half_height: int, fill: Colour) -> None:
    """Fill an ellipse around a point; what lies outside of the frame is left off."""
    for plane, shade in zip(frame.planes, fill, strict=True):
        scale, rows = frame.width // plane.width, memoryview(plane)
        for row in range(max(0, (y - half_height) // scale), min(plane.height, (y + half_height) // scale)):
            reach = half_width * math.sqrt(max(0, 1 - ((row * scale - y) / half_height) ** 2))
            left, right = max(0, int(x - reach) // scale), min(plane.width, int(x + reach) // scale)
            rows[row * plane.line_size + left : row * plane.line_size + right] = bytes([shade]) * (right - left)


def box(frame: av.VideoFrame, left: int, top: int, width: int, height: int, shade: int) -> None:
    """Fill a rectangle of the frame's brightness plane; what lies outside is left off."""
    plane = frame.planes[0]
    rows, line = memoryview(plane), bytes([shade]) * max(0, min(width, frame.width - left))
    for row in range(top, min(top + height, frame.height)):
        at = row * plane.line_size + left
        rows[at : at + len(line)] = line


def text(frame: av.VideoFrame, digits: str, left: int, top: int, dot: int) -> None:
    """Write digits and points in white on black; a dot of a glyph is `dot` pixels wide and high."""
    box(frame, left, top, (len(digits) * 4 + 1) * dot, 7 * dot, BLACK)
    for n, letter in enumerate(digits):
        for row, dots in enumerate(GLYPHS[letter]):
            for column, ink in enumerate(dots):
                if ink == "#":
                    box(frame, left + (1 + n * 4 + column) * dot, top + (1 + row) * dot, dot, dot, WHITE)
