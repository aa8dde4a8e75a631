"""The one way out to gateways, inputs and callers, on libcurl; nothing else in Rushes opens a connection to them."""

from rushes.shared.http.certificate_authorities import FOR_S3, certificate_bundle, check_certificates
from rushes.shared.http.client import HttpClient
from rushes.shared.http.errors import AnswerLost, AnswerRefused, Forbidden, NotSent, Oversized
from rushes.shared.http.prepared_request import AwsSigV4
from rushes.shared.http.proxy import Proxy
from rushes.shared.http.response_stream import Stream, is_whole
from rushes.shared.http.urls import origin

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
