"""Files over HTTP: whole or in part, with their length."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from rushes.deploy.sandbox.gateways.server import Piece, Request, Response, json_response

RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def serve(request: Request, path: Path) -> Response:
    """The file, or the part of it that a Range header asks for; 416 where there is no such part."""
    size_bytes = path.stat().st_size
    headers = {
        "Content-Type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": f'"{size_bytes:x}-{path.stat().st_mtime_ns:x}"',
    }
    match = RANGE.match(request.headers.get("Range") or "")
    if not match or request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        return Response(200, headers=headers, piece=Piece(path, 0, size_bytes, size_bytes))
    start, end = _bounds(match, size_bytes)
    if start > end:
        return Response(416, headers={**headers, "Content-Range": f"bytes */{size_bytes}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size_bytes}"
    return Response(206, headers=headers, piece=Piece(path, start, end + 1 - start, end + 1 - start))


def _bounds(match: re.Match[str], size_bytes: int) -> tuple[int, int]:
    first, last = match.groups()
    if not first:
        return max(0, size_bytes - int(last or 0)), size_bytes - 1
    return int(first), min(int(last), size_bytes - 1) if last else size_bytes - 1


def not_found(name: str) -> Response:
    """A 404 that names what is missing."""
    return json_response({"error": f"there is no {name}"}, 404)
