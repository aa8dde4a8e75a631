"""Sends calls over a requests.Session, and repeats them only if that is safe."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from rushes.shared import __version__
from rushes.shared.client import errors
from rushes.shared.client.errors import ApiError, RateLimited, Unavailable, Unreachable

AWAY = frozenset({502, 503, 504})
USER_AGENT = f"rushes-client/{__version__} {requests.utils.default_user_agent()}"
BACKOFF_S = 0.5
# If the service asks for a longer pause, the call raises instead of waiting.
LONGEST_PAUSE_S = 30.0

Timeout = float | tuple[float, float]
# requests lets some errors of urllib3 and of odd host names through.
BROKEN = (requests.RequestException, HTTPError, UnicodeError)


class Bearer(AuthBase):
    """Sets the API key as `auth`: a plain header would be replaced by an entry for the host in ~/.netrc."""

    def __init__(self, key: str) -> None:
        self._header: Any = f"Bearer {key}".encode()  # as text it would have to be Latin-1

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the API."""

    method: str
    path: str
    query: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    accept: str = "application/json"

    @property
    def repeatable(self) -> bool:
        """Whether it may safely be sent again although it may have been accepted."""
        return self.method in ("GET", "DELETE") or self.idempotency_key is not None

    def headers(self) -> dict[str, str | bytes]:
        headers: dict[str, str | bytes] = {"User-Agent": USER_AGENT, "Accept": self.accept}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key.encode()
        return headers

    def data(self) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).encode()


class Transport:
    """The address of a service, the API key, and the session that sends the calls."""

    def __init__(self, url: str, key: str, session: requests.Session | None, timeout: Timeout, retries: int) -> None:
        self.url = url.rstrip("/")
        self._own_session, self._session = session is None, session or requests.Session()
        self._auth, self._timeout, self._retries = Bearer(key), timeout, retries
        # The environment's proxy cannot reach this machine's loopback.
        self._proxies = {"http": "", "https": ""} if session is None and _is_loopback(url) else None

    def close(self) -> None:
        if self._own_session:
            self._session.close()

    def call(self, call: Call) -> dict[str, Any]:
        """The JSON object that the service returns; raises ApiError, Unreachable."""
        response = self.answer(call)
        body = _json(response)
        if target := response.headers.get("Location") if response.is_redirect else None:
            raise ApiError(response.status_code, {"message": f"{self._where} redirects to {target}: use that address"})
        if not isinstance(body, dict):
            raise ApiError(response.status_code, {"message": f"{self._where} does not answer as Rushes does"})
        return body

    def answer(self, call: Call) -> requests.Response:
        """The response, which may be a redirect; raises ApiError, Unreachable."""
        for tries in range(self._retries + 1):
            try:
                with self._open(call, self._timeout) as response:
                    return response
            except (Unreachable, RateLimited) as error:
                pause_s = _pause(error, tries)
                if not call.repeatable or tries == self._retries or pause_s is None:
                    raise
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    @contextmanager
    def stream(self, path: str, last_event_id: str, silence_s: float) -> Iterator[Iterator[bytes]]:
        """The lines of an event stream; raises Unreachable if it breaks, or is silent for longer than `silence_s`."""
        connect_s = self._timeout[0] if isinstance(self._timeout, tuple) else self._timeout
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Last-Event-ID": last_event_id}
        with self._open(Call("GET", path), (connect_s, silence_s), headers) as response:
            # One byte at a time: a larger read would wait although a whole event has arrived. As bytes: requests would
            # end a line of text at U+2028 too, which JSON may hold.
            yield response.iter_lines(chunk_size=1)

    @contextmanager
    def _open(
        self, call: Call, timeout: Timeout, headers: Mapping[str, str] | None = None
    ) -> Iterator[requests.Response]:
        try:
            with self._session.request(
                call.method,
                self.url + call.path,
                params=call.query,
                data=call.data(),
                headers={**call.headers(), **(headers or {})},
                auth=self._auth,
                timeout=timeout,
                proxies=self._proxies,
                # requests would turn a redirected POST into a GET.
                allow_redirects=False,
                stream=headers is not None,
            ) as response:
                if response.status_code >= 400:
                    raise self._error(response)
                yield response
        except BROKEN as error:
            raise Unreachable(f"{self._where} does not answer: {_reason(error)}") from error

    @property
    def _where(self) -> str:
        """The address without user and password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def _error(self, response: requests.Response) -> ApiError | Unreachable:
        status, body = response.status_code, _json(response)
        error: ApiError | Unreachable
        if status in AWAY:
            error = Unavailable(f"{self._where} is not ready (HTTP {status})")
        else:
            envelope = body.get("error") if isinstance(body, dict) else None
            fields = envelope if isinstance(envelope, dict) else {"message": f"HTTP {status}"}
            error = errors.OF_STATUS.get(status, ApiError)(status, fields)
        if isinstance(error, (Unavailable, RateLimited)):
            error.retry_after_s = _retry_after_s(response)
        return error


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _retry_after_s(response: requests.Response) -> float | None:
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, HTTPError):
        return None


def _pause(error: ApiError | Unreachable, tries: int) -> float | None:
    """Seconds to wait before the next try; None if no further try makes sense."""
    if isinstance(error, (Unavailable, RateLimited)) and error.retry_after_s is not None:
        return error.retry_after_s if error.retry_after_s <= LONGEST_PAUSE_S else None
    return None if isinstance(error, RateLimited) else BACKOFF_S * 2**tries * random.uniform(0.5, 1)


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a host name, or no address at all
        return False


def _reason(error: Exception) -> str:
    """The reason in a few words: requests wraps it twice, and adds the whole address."""
    cause = error.args[0] if error.args else error
    return f"{type(error).__name__}: {str(getattr(cause, 'reason', cause)).rpartition(': ')[2]}"
