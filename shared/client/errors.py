"""The errors of calls: the service refused (ApiError) or did not answer (Unreachable)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RushesError(Exception):
    """The base of all errors of this client."""


class ApiError(RushesError):
    """The service refused; `status`, `code`, `message` and `fields` are the contract's."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        self.status, self.code = status, str(error.get("code", "error"))
        self.fields: Mapping[str, Any] = error.get("fields") or {}
        self.message = str(error.get("message", f"HTTP {status}"))
        details = "".join(f"\n  {name}: {_sentence(problem)}" for name, problem in self.fields.items())
        super().__init__(f"{self.message}{details}")


class InvalidRequest(ApiError):
    """400, 413, 415 or 422: the request itself is wrong; `fields` says where."""


class Unauthorized(ApiError):
    """401: no key, or an unknown one."""


class Forbidden(ApiError):
    """403: the key does not allow this."""


class NotFound(ApiError):
    """404 or 410: it does not exist, is another tenant's, or is erased."""


class Conflict(ApiError):
    """409: the job's state does not allow it, or the idempotency key was used with another body."""


class RateLimited(ApiError):
    """429: too many calls; nothing was done. `retry_after_s` is None if the service does not say how long to wait."""

    retry_after_s: float | None = None


class Unreachable(RushesError):
    """The service did not answer. A POST without an idempotency key may have been accepted nevertheless."""


class Unavailable(Unreachable):
    """502, 503 or 504: the service is not ready, or a proxy answered in its place."""

    retry_after_s: float | None = None


OF_STATUS: Mapping[int, type[ApiError]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
    401: Unauthorized,
    403: Forbidden,
    **dict.fromkeys((404, 410), NotFound),
    409: Conflict,
    429: RateLimited,
}


def _sentence(problem: Any) -> str:
    return " ".join(map(str, problem)) if isinstance(problem, list) else str(problem)
