"""What a call that has no answer comes to; the text names the origin and the reason, and nothing secret."""

from __future__ import annotations


class NotSent(Exception):
    """Surely no byte of the request left this machine; the reason is the text."""


class Forbidden(NotSent):
    """The address is not one we may reach; asking again will not help."""


class AnswerLost(Exception):
    """At least one byte of the request left; what became of it is unknown."""


class AnswerRefused(AnswerLost):
    """An answer that we ourselves do not take; the same call would bring the same."""


class Oversized(AnswerLost):
    """The answer is larger than the caller would take."""
