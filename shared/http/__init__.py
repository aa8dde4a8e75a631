"""The one way out to gateways, inputs and callers, on libcurl; nothing else in Rushes opens a connection to them."""

from shared.http.call import AwsSigV4
from shared.http.client import HttpClient
from shared.http.errors import AnswerLost, Forbidden, NotSent, Oversized
from shared.http.stream import Stream

Outside = HttpClient

__all__ = ["AnswerLost", "AwsSigV4", "Forbidden", "HttpClient", "NotSent", "Outside", "Oversized", "Stream"]
