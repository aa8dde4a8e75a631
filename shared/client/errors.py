"""What a call raises: the service refused (ApiError), or did not answer (Unreachable)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RushesError(Exception):
    """Every error of this client."""


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
    """401: no key, or one that the service does not know."""


class Forbidden(ApiError):
    """403: a key that may not do this."""


class NotFound(ApiError):
    """404: not there, or another tenant's."""


class Conflict(ApiError):
    """409: the state of the job does not allow it, or the idempotency key belongs to another body."""


class RateLimited(ApiError):
    """429: too many calls; nothing was done. `retry_after_s` where the service says how long to wait."""

    retry_after_s: float | None = None


class Unreachable(RushesError):
    """The service did not answer. A POST without an idempotency key may have been taken all the same."""


class Unavailable(Unreachable):
    """502, 503 or 504: something answered in its place, or it cannot work now."""

    retry_after_s: float | None = None


OF_STATUS: Mapping[int, type[ApiError]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


def _sentence(problem: Any) -> str:
    return " ".join(map(str, problem)) if isinstance(problem, list) else str(problem)
