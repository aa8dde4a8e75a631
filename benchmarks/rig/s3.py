"""A bucket that is no bottleneck: it checks no signature, counts bytes, keeps only small objects, and tells the time.

Bodies of clips are compared with the one that the gateway serves (by size and, where it is given, byte for byte) and
dropped. What it knows of S3: PUT and GET and HEAD, If-None-Match, multipart uploads, copies onto themselves, lists.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.rig.clip import clip
from benchmarks.rig.wire import Call, Reply, json_reply, serve

SMALL_BYTES = 1 << 16
XML = {"Content-Type": "application/xml"}
ETAG = '"00000000000000000000000000000000"'


@dataclass(slots=True)
class Stored:
    """An object: its size, what it said of itself, and, if it is small, its bytes; seconds since the epoch."""

    size: int
    stored_at: float
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Upload:
    """A multipart upload under way."""

    key: str
    headers: Mapping[str, str]
    sizes: dict[int, int] = field(default_factory=dict)


def error(status: int, code: str) -> Reply:
    """A refusal in S3's words."""
    return Reply(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), XML)


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a request's headers is an object's own."""
    return {name: value for name, value in headers.items() if name == "content-type" or name.startswith("x-amz-meta-")}


class Bucket:
    """Every bucket in one; the key is the path."""

    def __init__(self, clip_bytes: int) -> None:
        self._clip = clip(clip_bytes) if clip_bytes else None
        self._uploads: dict[str, Upload] = {}
        self._doors: dict[tuple[str, str], Callable[[Call], Reply]] = {
            ("PUT", "uploadId"): self._part,
            ("POST", "uploads"): self._begin,
            ("POST", "uploadId"): self._complete,
            ("DELETE", "uploadId"): self._abort,
            ("PUT", ""): self._put,
            ("GET", ""): self._get,
            ("HEAD", ""): self._get,
            ("DELETE", ""): self._delete,
        }
        self._clear()

    def _clear(self) -> None:
        self._objects: dict[str, Stored] = {}
        self._manifests = self._wrong = self._bytes = 0

    def answer(self, call: Call) -> Reply:
        """One call of S3, or one of the rig's own."""
        if call.path.startswith("/_rig/"):
            return self._control(call.path.removeprefix("/_rig/"))
        if call.path.rstrip("/").count("/") < 2:
            return Reply(200, b"<ListBucketResult></ListBucketResult>", {**XML, "x-amz-bucket-region": "us-east-1"})
        what = next((name for name in ("uploads", "uploadId") if name in call.query), "")
        door = self._doors.get((call.method, what))
        return door(call) if door else error(405, "MethodNotAllowed")

    def _control(self, name: str) -> Reply:
        if name == "clear":
            self._clear()
        if name == "manifests":
            found = [
                {"stored_at": there.stored_at, "body": json.loads(there.body)}
                for key, there in self._objects.items()
                if key.endswith("manifest.json")
            ]
            return json_reply(found)
        return json_reply({"manifests": self._manifests, "wrong": self._wrong, "bytes": self._bytes})

    def _store(self, key: str, size: int, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        self._objects[key] = Stored(size, time.time(), kept(headers), body)
        self._manifests += key.endswith("manifest.json")
        return Reply(200, b"", {"ETag": ETAG})

    def _put(self, call: Call) -> Reply:
        if call.headers.get("if-none-match") and call.path in self._objects:
            return error(412, "PreconditionFailed")
        if "x-amz-copy-source" in call.headers:
            self._objects[call.path].headers = kept(call.headers)
            return Reply(200, f"<CopyObjectResult><ETag>{ETAG}</ETag></CopyObjectResult>".encode(), XML)
        body = call.body
        self._bytes += len(body)
        if call.path.endswith(".mp4") and self._clip is not None:
            self._wrong += body != self._clip
        return self._store(call.path, len(body), call.headers, body if len(body) < SMALL_BYTES else b"")

    def _begin(self, call: Call) -> Reply:
        name = f"upload-{len(self._uploads)}-{time.time_ns()}"
        self._uploads[name] = Upload(call.path, kept(call.headers))
        body = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
        return Reply(200, body.encode(), XML)

    def _part(self, call: Call) -> Reply:
        upload = self._uploads.get(call.query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        upload.sizes[int(call.query["partNumber"])] = len(call.body)
        self._bytes += len(call.body)
        return Reply(200, b"", {"ETag": ETAG})

    def _complete(self, call: Call) -> Reply:
        upload = self._uploads.pop(call.query["uploadId"], None)
        if upload is None:
            return error(404, "NoSuchUpload")
        self._store(upload.key, sum(upload.sizes.values()), upload.headers)
        body = f"<CompleteMultipartUploadResult><ETag>{ETAG}</ETag></CompleteMultipartUploadResult>"
        return Reply(200, body.encode(), XML)

    def _abort(self, call: Call) -> Reply:
        self._uploads.pop(call.query["uploadId"], None)
        return Reply(204)

    def _get(self, call: Call) -> Reply:
        there = self._objects.get(call.path)
        if there is None:
            return error(404, "NoSuchKey")
        if call.method == "HEAD":
            return Reply(200, b"", {"Content-Length": str(there.size), "ETag": ETAG, **there.headers})
        return Reply(200, there.body, {"ETag": ETAG, **there.headers})

    def _delete(self, call: Call) -> Reply:
        self._objects.pop(call.path, None)
        return Reply(204)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clip-bytes", type=int, default=200_000, help="what every clip must be; 0: anything")
    parser.add_argument("--tls-file", help="a certificate and its key: HTTPS")
    given = parser.parse_args()
    asyncio.run(serve(Bucket(given.clip_bytes).answer, given.port, given.tls_file))


if __name__ == "__main__":
    main()
