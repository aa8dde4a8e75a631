"""What an error of Redis means: a mistake of ours, or a server that cannot do its work now."""

from __future__ import annotations

import re

import redis

# The words that show a mistake of ours. All others are of a server or a proxy in trouble, whose words nobody can list:
# "max requests limit exceeded" (Upstash), NOREPLICAS, CLUSTERDOWN, NOPERM, a proxy's "upstream failure".
_OUR_MISTAKES = re.compile(
    r"WRONGTYPE |wrong number of arg|Please specify at least one argument|syntax error"
    r"|(?:hash )?value is not |Unknown Redis command called from"
    r"|user_script:|Error compiling script",  # an error of Lua itself: a refused command begins with its own word
    re.IGNORECASE,
)
# Redis 6.2 puts what a program ran into behind such a head, 7 and later before such a tail (seen with 6.2.14, 7.0.15).
_HEAD = re.compile(r"Error running script \(call to \w+\): @\w+:\d+: (?:@\w+: ?\d+: )?-?(?:ERR )?")
_TAIL = re.compile(r" script: \w+, on @\w+:\d+\.$")
_PIPELINE = re.compile(r"Command # .*? of pipeline caused error: ", re.DOTALL)
# It quotes what was sent, which may be a caller's.
_QUOTED = re.compile(r",? with args beginning with:.*", re.DOTALL)
# redis-py takes these words away where the whole answer begins with them.
_CODES: dict[type[Exception], str] = {
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.AskError: "ASK",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
    redis.exceptions.BusyLoadingError: "LOADING",
}
# Errors of the connection that are a server's words; the text of others may hold the address, and a password in it.
_SPOKEN = (redis.exceptions.BusyLoadingError, redis.AuthenticationError, redis.exceptions.AuthorizationError)
CAUSE_MAX_CHARS = 200


def is_our_mistake(error: redis.RedisError) -> bool:
    """Whether the call itself was wrong, so that it would be on every server and at any time."""
    return isinstance(error, redis.DataError) or bool(_OUR_MISTAKES.match(_words(error)))


def cause(error: redis.RedisError) -> str:
    """The error in one line, the same for every call that it befalls, and without anything that was sent."""
    if isinstance(error, redis.ConnectionError | redis.TimeoutError) and not isinstance(error, _SPOKEN):
        return type(error).__name__
    words = _QUOTED.sub("", _words(error))
    code = _CODES.get(type(error), "")
    if code and not words.startswith(code):
        words = f"{code} {words}"
    return " ".join(words.split())[:CAUSE_MAX_CHARS] or type(error).__name__


def describe(error: BaseException) -> str:
    """The same for an error of any kind, such as one of the broker."""
    origin = error.__cause__ or error
    if isinstance(origin, redis.RedisError):
        return cause(origin)
    return " ".join(f"{type(origin).__name__} {origin}".split())[:CAUSE_MAX_CHARS]


def _words(error: redis.RedisError) -> str:
    """The server's own words."""
    words = _PIPELINE.sub("", str(error), count=1)
    return _TAIL.sub("", _HEAD.sub("", words, count=1))
