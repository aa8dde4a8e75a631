"""Errors of a call without a usable response. The text names the origin and the reason, and nothing secret."""

from __future__ import annotations


class NotSent(Exception):
    """No byte of the request left this machine; the text is the reason."""


class Forbidden(NotSent):
    """The address guard refuses the address; the same call will be refused again."""


class AnswerLost(Exception):
    """At least one byte of the request may have left; whether the server acted on it is unknown."""


class AnswerRefused(AnswerLost):
    """The client does not accept the response; the same call would bring the same one."""


class Oversized(AnswerLost):
    """The response is larger than the caller allows."""
