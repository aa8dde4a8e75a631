"""An S3 in memory that answers as boto3 does, and remembers every write."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

Effect = Callable[..., Any]
REFUSED = EndpointConnectionError(endpoint_url="https://s3.example")
LOST = ConnectionClosedError(endpoint_url="https://s3.example")


@dataclass(frozen=True)
class Held:
    """An object as it stands."""

    body: bytes
    metadata: dict[str, str]
    content_type: str

    @property
    def etag(self) -> str:
        return md5(self.body, usedforsecurity=False).hexdigest()


class Bucket:
    """The calls that `shared.archive` makes; `effect` decides what becomes of each."""

    def __init__(self, effect: Effect) -> None:
        self.objects: dict[str, Held] = {}
        self.writes: list[tuple[str, bytes]] = []
        self._effect = effect

    def put_object(self, *, Key: str, Body: Any, IfNoneMatch: str | None = None, **wish: Any) -> dict[str, Any]:  # noqa: N803
        body = Body if isinstance(Body, bytes) else b"".join(iter(Body.read, b""))

        def do() -> dict[str, Any]:
            if IfNoneMatch and Key in self.objects:
                raise _refusal("PreconditionFailed", "PutObject")
            self.objects[Key] = Held(body, dict(wish.get("Metadata", {})), wish.get("ContentType", ""))
            self.writes.append((Key, body))
            return {"ETag": self.objects[Key].etag}

        return dict(self._effect("s3", f"put {_short(Key)}", do, REFUSED, LOST))

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        def do() -> dict[str, Any]:
            held = self._held(Key, "404")
            return {"Metadata": held.metadata, "ContentLength": len(held.body), "ContentType": held.content_type}

        return dict(self._effect("s3", f"head {_short(Key)}", do, REFUSED, LOST))

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        def do() -> dict[str, Any]:
            held = self._held(Key, "NoSuchKey")
            return {"Metadata": held.metadata, "ContentType": held.content_type, "Body": io.BytesIO(held.body)}

        return dict(self._effect("s3", f"get {_short(Key)}", do, REFUSED, LOST))

    def generate_presigned_url(self, *_: Any, **__: Any) -> str:
        return "https://s3.example/presigned"

    def _held(self, key: str, code: str) -> Held:
        if key not in self.objects:
            raise _refusal(code, "GetObject")
        return self.objects[key]


class CurlPuts:
    """CurlPut over the same bucket: certain results, or None."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, key: str, body: bytes | memoryview, headers: dict[str, str]) -> bool | None:
        start = "x-amz-meta-"
        metadata = {name.removeprefix(start): value for name, value in headers.items() if name.startswith(start)}
        content_type = headers["Content-Type"]
        try:
            self._bucket.put_object(
                Key=key, Body=bytes(body), IfNoneMatch="*", Metadata=metadata, ContentType=content_type
            )
        except ClientError:
            return False
        except (EndpointConnectionError, ConnectionClosedError):
            return None
        return True

    def put_all(self, puts: list[tuple[str, bytes, dict[str, str]]]) -> list[bool | None]:
        return [self.put(*put) for put in puts]

    def put_part(self, *_: Any) -> None:
        """Parts go by boto."""


def _short(key: str) -> str:
    return key.rpartition("/")[2]


def _refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
