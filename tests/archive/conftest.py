"""A real S3 API on a free port, a fresh bucket for each test, and real clips."""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from archive_steps import MIB, connect
from botocore.awsrequest import AWSResponse
from moto.server import ThreadedMotoServer

from rushes.shared.storage.archive import Archive

ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>so it is</Message></Error>"


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str) -> Any:
    return connect(endpoint)


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"clips-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def archive(s3: Any, bucket: str) -> Archive:
    return Archive(s3, bucket, part_bytes=5 * MIB)


class ResponseBody(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


@pytest.fixture
def answers(s3: Any) -> Callable[..., list[str]]:
    """answers("PutObject", 409, "SomeCode", times=1): the responses to the next calls, which do not reach S3."""

    def arrange(operation: str, status: int, code: str, times: int = 1) -> list[str]:
        left = [code] * times

        def respond(request: Any, **_: Any) -> AWSResponse | None:
            if not left:
                return None
            if hasattr(request.body, "read"):
                request.body.read()  # as a server does before it refuses
            return AWSResponse(request.url, status, {}, ResponseBody(ERROR.format(code=left.pop()).encode()))

        s3.meta.events.register(f"before-send.s3.{operation}", respond)
        return left

    return arrange


@pytest.fixture
def calls(s3: Any) -> list[str]:
    """The names of the calls to S3 from now on."""
    names: list[str] = []
    s3.meta.events.register("before-call.s3.*", lambda model, **_: names.append(model.name))
    return names


def film(path: Path, frames: int = 50, options: dict[str, str] | None = None, file_format: str = "mp4") -> bytes:
    """A film of 25 frames a second, 64 × 48."""
    with av.open(str(path), "w", format=file_format, options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number * 5 % 256]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    plain = film(folder / "plain.mp4")
    noise = random.Random(1).randbytes(6 * MIB)
    return {
        "plain": plain,  # moov behind mdat
        "other": film(folder / "other.mp4", frames=75),
        "faststart": film(folder / "faststart.mp4", options={"movflags": "faststart"}),
        "fragmented": film(folder / "fragmented.mp4", options={"movflags": "frag_keyframe+empty_moov"}),
        "quicktime": film(folder / "clip.mov", file_format="mov"),
        "long": plain + (8 + len(noise)).to_bytes(4) + b"free" + noise,  # two parts of 5 MiB
    }
