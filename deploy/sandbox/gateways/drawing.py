"""Pictures drawn by hand into video frames, so that no graphics library is needed."""

from __future__ import annotations

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


def blank(width: int, height: int) -> av.VideoFrame:
    """A dusk: light above, dark below, blue at the top and warm at the foot."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, (top, foot) in zip(frame.planes, ((150, 60), (150, 110), (110, 150)), strict=True):
        rows = (top + (foot - top) * row // plane.height for row in range(plane.height))
        plane.update(b"".join(bytes([shade]) * plane.line_size for shade in rows))
    return frame


def figure(frame: av.VideoFrame) -> None:
    """Draw somebody standing in the middle: a head over a body."""
    width, height = frame.width, frame.height
    box(frame, width * 2 // 5, height // 6, width // 5, height // 6, WHITE)
    box(frame, width // 3, height // 3, width // 3, height // 2, 180)


def box(frame: av.VideoFrame, left: int, top: int, width: int, height: int, shade: int) -> None:
    """Fill a rectangle of the frame's brightness plane; what lies outside is left off."""
    plane = frame.planes[0]
    rows, line = memoryview(plane), bytes([shade]) * max(0, min(width, frame.width - left))
    for row in range(top, min(top + height, frame.height)):
        at = row * plane.line_size + left
        rows[at : at + len(line)] = line


def text(frame: av.VideoFrame, words: str, left: int, top: int, dot: int) -> None:
    """Write digits and points in white on black; a dot of a glyph is `dot` pixels wide and high."""
    box(frame, left, top, (len(words) * 4 + 1) * dot, 7 * dot, BLACK)
    for n, letter in enumerate(words):
        for row, dots in enumerate(GLYPHS[letter]):
            for column, ink in enumerate(dots):
                if ink == "#":
                    box(frame, left + (1 + n * 4 + column) * dot, top + (1 + row) * dot, dot, dot, WHITE)
