"""Finds the URL of the clip in a response, wherever it is and however it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from rushes.shared.providers.reading import URL_CHARS, value_at

ADDRESS = re.compile(rf"https?://[^\x00-\x1f\ud800-\udfff]{{1,{URL_CHARS}}}")
SCHEME = re.compile(r"(https?:)?(//|\\/\\/)", re.IGNORECASE)
# What stands around a URL that was copied from elsewhere; a byte order mark and spaces of no width are no whitespace.
EDGES = re.compile(r"^[\s\0\ufeff\u200b-\u200f\u2060<'`]+|[\s\0\ufeff\u200b-\u200f\u2060>'`,;]+$")
BETWEEN_URLS = re.compile(r"[\s,;|]+(?=https?://)", re.IGNORECASE)
AROUND_WORDS = re.compile(r"[\s\"'<>()\[\]{}，。；！？、：（）【】「」《》]+")
# Before a URL in a text: `url=`, `视频地址:`.
LABEL = re.compile(r"^[^/?#&]*?[=:](?=https?:)", re.IGNORECASE)
# What HTML and JSON make of a sign in a URL that was escaped once too often. Other entities are left: `&copy=1` is a
# field of a query.
AMPERSANDS = re.compile(r"&(amp|#0*38|#x0*26);", re.IGNORECASE)
ESCAPED = re.compile(r"\\u00([2-7][0-9a-f])", re.IGNORECASE)
HOST_AND_PATH = re.compile(r"([a-z0-9-]{1,63}\.)+[a-z]{2,63}(:\d{1,5})?/\S+", re.IGNORECASE)
# JSON text inside JSON, lists inside lists: no document goes deeper.
DEPTH = 8
# The names of fields that hold clips, letters only, the likeliest first. Other fields are not searched: covers,
# watermarked copies, and the request that some gateways repeat (input, param, image_url, video_urls).
NAMES = (
    *("nowatermarkurl", "urlnowatermark", "urlwithoutwatermark", "resourcewithoutwatermark"),  # beside a marked `url`
    *("resulturl", "resulturls", "videos", "outputs", "output", "results", "resultjson", "taskresult", "result"),
    *("videourl", "video", "downloadurl", "fileurl", "mp4url", "url", "urls", "uri", "href", "src", "link", "links"),
    *("data", "content", "metadata", "creations", "generations", "works", "clips", "clip", "files", "file", "response"),
    *("videolist", "videoresult", "resultvideo", "resultvideourl", "generatedvideos", "generatedsamples", "videouri"),
    *(
        "outputurl",
        "outputurls",
        "mediaurl",
        "mediaurls",
        "media",
        "playurl",
        "downloadlink",
        "hdvideourl",
        "videourlhd",
    ),
    *("resource", "asset", "assets", "artifacts", "items", "list", "choices", "message", "task", "taskinfo"),
    # Of one clip in several qualities, or of a pair.
    *("origin", "original", "p", "k", "fhd", "hd", "high", "mp", "default", "main", "sd", "value"),
)
RANK = {name: place for place, name in enumerate(NAMES)}
# The kind of an entry that is no clip.
NO_MARK = r"(?<!no)(?<!no[-_ ])(?<!without[-_ ])"
OTHER_KINDS = re.compile(rf"image|picture|photo|cover|thumb|poster|audio|music|{NO_MARK}watermark", re.IGNORECASE)
KIND_NAMES = frozenset({"type", "kind", "mimetype", "contenttype", "mediatype", "role"})
OTHER_FILES = re.compile(r"\.(jpe?g|png|webp|gif|avif|bmp|svg|mp3|wav|m4a|aac|json|txt|srt|vtt)$", re.IGNORECASE)
MOVIES = re.compile(r"\.(mp4|mov|m4v|webm|mkv)$", re.IGNORECASE)
COPIES = re.compile(rf"{NO_MARK}watermark|cover|thumbnail|preview", re.IGNORECASE)


def clip_at(payload: Any, *paths: str) -> str | None:
    """The URL of a clip at the first path that holds one; if none does, from wherever clips usually are."""
    values = chain((value_at(payload, path) for path in paths), (payload,))
    return next((url for url in map(_likeliest, values) if url), None)


def url_at(payload: Any, *paths: str) -> str | None:
    """The first URL at the first path that holds one."""
    return next((url for path in paths for url in addresses(value_at(payload, path))), None)


def addresses(value: Any, depth: int = DEPTH) -> Iterator[str]:
    """Every URL in a text, in JSON inside a text, in a list, or in an object under the names of clips."""
    if depth < 0:
        return
    if isinstance(value, str):
        yield from _in_text(value, depth)
    elif isinstance(value, list):
        for entry in value:
            yield from addresses(entry, depth - 1)
    elif isinstance(value, dict) and not _is_other(value):
        for name in sorted(filter(_rank_of, value), key=_rank_of):
            yield from addresses(value[name], depth - 1)


def _rank_of(name: str) -> int:
    """The rank of a name of clips, from 1; 0 for any other name."""
    if name.isdecimal():  # PHP writes a list with gaps as an object
        return len(NAMES) + 1
    return RANK.get(_letters(name), -1) + 1


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


def _is_other(entry: dict[str, Any]) -> bool:
    kinds = (kind for name, kind in entry.items() if _letters(name) in KIND_NAMES)
    return any(isinstance(kind, str) and OTHER_KINDS.search(kind) for kind in kinds)


def _in_text(text: str, depth: int) -> Iterator[str]:
    text = EDGES.sub("", text)
    if SCHEME.match(text):
        yield from filter(is_address, map(_as_address, BETWEEN_URLS.split(text)))
    elif text[:1] in ("[", "{", '"') and (inner := _parsed(text)) is not None:
        yield from addresses(inner, depth - 1)
    elif HOST_AND_PATH.fullmatch(text) and _is_movie(f"//{text}"):
        yield f"https://{text}"
    else:  # Markdown, HTML, a list as Python prints it: of a text only files of clips count
        words = (LABEL.sub("", word.rstrip(".,;:!")) for word in AROUND_WORDS.split(text))
        yield from (
            url for word in words if SCHEME.match(word) and is_address(url := _as_address(word)) and _is_movie(url)
        )


def _as_address(text: str) -> str:
    """A URL in one spelling; it may be escaped as in JSON, and its query as in HTML."""
    text = ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text.replace("\\/", "/"))
    scheme = SCHEME.match(text := AMPERSANDS.sub("&", text))
    return f"{(scheme[1] or 'https:').lower()}//{text[scheme.end() :]}" if scheme else ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_address(text: str) -> bool:
    """Whether it is an http(s) URL that can be requested and stored."""
    if not ADDRESS.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _likeliest(value: Any) -> str | None:
    """The first URL that may be a clip: never a picture, and a watermarked copy only if there is no other."""
    urls = [url for url in addresses(value) if not OTHER_FILES.search(urlsplit(url).path)]
    if len(urls) < 2:
        return urls[0] if urls else None
    return min(urls, key=_unlikeness)


def _unlikeness(url: str) -> tuple[bool, bool]:
    return bool(COPIES.search(urlsplit(url).path)), not _is_movie(url)


def _is_movie(url: str) -> bool:
    return bool(MOVIES.search(urlsplit(url).path))
