"""Finds the URL of the clip in a response, wherever it is and however it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from rushes.shared.providers.reading import URL_CHARS, value_at

ADDRESS = re.compile(rf"https?://[^\x00-\x1f\ud800-\udfff]{{1,{URL_CHARS}}}")
SCHEME = re.compile(r"(https?:)?//", re.IGNORECASE)
# JSON text inside JSON, lists inside lists: no document goes deeper.
DEPTH = 8
# The names of fields that hold clips, letters only, the likeliest first. Other fields are not searched: covers,
# watermarked copies, and the request that some gateways repeat (input, param, image_url, video_urls).
NAMES = (
    *("resulturl", "resulturls", "videos", "outputs", "output", "results", "resultjson", "taskresult", "result"),
    *("videourl", "video", "downloadurl", "fileurl", "mp4url", "url", "urls", "uri", "href", "src", "link", "links"),
    *("data", "content", "metadata", "creations", "generations", "works", "clips", "clip", "files", "file", "response"),
)
RANK = {name: place for place, name in enumerate(NAMES)}
# The kind of an entry that is no clip.
OTHER_KINDS = re.compile(r"image|picture|photo|cover|thumb|poster|audio|music|watermark", re.IGNORECASE)
OTHER_FILES = re.compile(r"\.(jpe?g|png|webp|gif|avif|bmp|svg|mp3|wav|m4a|aac|json|txt|srt|vtt)$", re.IGNORECASE)
MOVIES = re.compile(r"\.(mp4|mov|m4v|webm|mkv)$", re.IGNORECASE)
COPIES = re.compile(r"(?<!no)(?<!no[-_])(?<!without[-_])watermark|cover|thumbnail|preview", re.IGNORECASE)


def clip_at(payload: Any, *paths: str) -> str | None:
    """The URL of a clip at the first path that holds one; if none does, from wherever clips usually are."""
    values = (*(value_at(payload, path) for path in paths), payload)
    return next((url for url in map(_likeliest, values) if url), None)


def url_at(payload: Any, *paths: str) -> str | None:
    """The first URL at the first path that holds one."""
    return next((url for path in paths for url in addresses(value_at(payload, path))), None)


def addresses(value: Any, depth: int = DEPTH) -> Iterator[str]:
    """Every URL in a text, in JSON inside a text, in a list, or in an object under the names of clips."""
    if depth < 0:
        return
    if isinstance(value, str):
        yield from _in_text(value.strip(), depth)
    elif isinstance(value, list):
        for entry in value:
            yield from addresses(entry, depth - 1)
    elif isinstance(value, dict) and not _is_other(value):
        for name in sorted(filter(_rank_of, value), key=_rank_of):
            yield from addresses(value[name], depth - 1)


def _rank_of(name: str) -> int:
    """The rank of a name of clips, from 1; 0 for any other name."""
    return RANK.get(re.sub("[^a-z]", "", name.lower()), -1) + 1


def _is_other(entry: dict[str, Any]) -> bool:
    kinds = (entry.get(name) for name in ("type", "kind", "mime_type", "content_type", "role"))
    return any(isinstance(kind, str) and OTHER_KINDS.search(kind) for kind in kinds)


def _in_text(text: str, depth: int) -> Iterator[str]:
    if scheme := SCHEME.match(text):
        url = f"{(scheme[1] or 'https:').lower()}//{text[scheme.end() :]}"
        if is_address(url):
            yield url
    elif text[:1] in ("[", "{", '"'):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            return
        yield from addresses(inner, depth - 1)


def is_address(text: str) -> bool:
    """Whether it is an http(s) URL that can be requested and stored."""
    try:
        return bool(ADDRESS.fullmatch(text) and urlsplit(text).hostname and urlsplit(text).port != 0)
    except ValueError:
        return False


def _likeliest(value: Any) -> str | None:
    """The first URL that may be a clip: never a picture, and a watermarked copy only if there is no other."""
    urls = [url for url in addresses(value) if not OTHER_FILES.search(urlsplit(url).path)]
    return min(urls, key=_unlikeness, default=None)


def _unlikeness(url: str) -> tuple[bool, bool]:
    path = urlsplit(url).path
    return bool(COPIES.search(path)), not MOVIES.search(path)
