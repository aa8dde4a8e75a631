"""A scripted server on loopback, mostly for faults, and a fake resolver."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType

PIECE = b"x" * 65536


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, server: FaultServer) -> None:
        self.sock, self.server = sock, server

    def read_request(self) -> bytes:
        """Read one request, head and body; empty if the client has closed."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        while len(body) < _length(head):
            body += self.sock.recv(65536)
        self.server.requests.append(head + b"\r\n\r\n" + body)
        return self.server.requests[-1]

    def wait_for_request(self) -> None:
        """Wait until a request comes, and leave it unread."""
        readiness = select.poll()
        readiness.register(self.sock, select.POLLIN)
        readiness.poll(20_000)

    def send_bytes(self, data: bytes) -> None:
        self.sock.sendall(data)

    def trickle(self, data: bytes, every_s: float = 0.05) -> None:
        for byte in data:
            self.send_bytes(bytes([byte]))
            time.sleep(every_s)

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait(self) -> None:
        """Wait until the client closes."""
        while self.sock.recv(65536):
            pass
        self.server.hung_up.set()


Script = Callable[[Peer], None]


class FaultServer:
    """Serves its n-th connection with the n-th script, and all later ones with the last."""

    def __init__(
        self, *scripts: Script, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.sent_bytes = 0
        self.hung_up = threading.Event()
        self._scripts, self._tls = scripts, tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock, script), daemon=True).start()

    def _serve(self, sock: socket.socket, script: Script) -> None:
        with contextlib.suppress(OSError, ValueError):  # a TLS socket that was reset has no end to announce
            sock.settimeout(20)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with sock:
                script(Peer(sock, self))
                if isinstance(sock, ssl.SSLSocket):
                    sock.unwrap()  # announce the end, as TLS has it


class FakeResolver:
    """Replaces `socket.getaddrinfo`: each name has a list of results, one per call; the last one repeats."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): list(turns) for name, turns in answers.items()}
        self._real = socket.getaddrinfo
        self.lookups: list[str] = []

    def __call__(self, host: str, port: int, *args: object, **kwargs: object) -> list[tuple]:
        if kwargs.get("flags") == socket.AI_NUMERICHOST:  # no look-up
            return self._real(host, port, *args, **kwargs)  # type: ignore[arg-type]
        self.lookups.append(host)
        if host not in self._answers:
            return self._real(host, port, *args, **kwargs)  # type: ignore[arg-type]
        turns = self._answers[host]
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [entry for ip in addresses for entry in self._real(ip, port, type=socket.SOCK_STREAM)]


def http_response(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    """A whole response with its Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def responding(*answers: bytes) -> Script:
    """Answer the requests of a connection with these responses, then close."""

    def script(peer: Peer) -> None:
        for data in answers:
            if not peer.read_request():
                return
            peer.send_bytes(data)

    return script


def keeping(data: bytes) -> Script:
    """Answer every request of a connection and keep it open."""

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send_bytes(data)
        peer.server.hung_up.set()

    return script


def hanging(data: bytes = b"") -> Script:
    """Send this much of a response and no more."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send_bytes(data)
        peer.wait()

    return script


def trickling(slow: bytes, data: bytes = b"") -> Script:
    """Send this much of a response, and the rest one byte at a time."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send_bytes(data)
        peer.trickle(slow)

    return script


def redirecting(location: str, status: str = "302 Found") -> Script:
    return keeping(http_response(b"", f"Location: {location}", "Connection: close", status=status))


def flooding(head: bytes, size_bytes: int) -> Script:
    """Send this many bytes, and count those that the client accepts."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send_bytes(head)
        while peer.server.sent_bytes < size_bytes:
            peer.send_bytes(PIECE)
            peer.server.sent_bytes += len(PIECE)

    return script


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
