"""The one way out to gateways, inputs and callers, on libcurl; nothing else in Rushes opens a connection to them."""

from shared.http.certificate_authorities import FOR_S3, certificate_bundle, check_certificates
from shared.http.client import HttpClient
from shared.http.errors import AnswerLost, AnswerRefused, Forbidden, NotSent, Oversized
from shared.http.prepared_request import AwsSigV4
from shared.http.proxy import Proxy
from shared.http.response_stream import Stream, is_whole
from shared.http.urls import origin

__all__ = [
    "FOR_S3",
    "AnswerLost",
    "AnswerRefused",
    "AwsSigV4",
    "Forbidden",
    "HttpClient",
    "NotSent",
    "Oversized",
    "Proxy",
    "Stream",
    "certificate_bundle",
    "check_certificates",
    "is_whole",
    "origin",
]
