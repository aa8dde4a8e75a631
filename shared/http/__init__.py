"""The HTTP client for gateways, inputs and callers, on libcurl. Nothing else in Rushes opens a connection to them."""

from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.certificate_authorities import S3_CA_VARIABLES, certificate_bundle, check_certificates
from rushes.shared.http.client import HttpClient
from rushes.shared.http.errors import AnswerLost, AnswerRefused, Forbidden, NotSent, Oversized
from rushes.shared.http.prepared_request import REDIRECTS, AwsSigV4, next_hop
from rushes.shared.http.proxy import Proxy
from rushes.shared.http.response_stream import ResponseStream, is_whole, may_be_whole
from rushes.shared.http.urls import origin

__all__ = [
    "REDIRECTS",
    "S3_CA_VARIABLES",
    "AddressGuard",
    "AnswerLost",
    "AnswerRefused",
    "AwsSigV4",
    "Forbidden",
    "HttpClient",
    "NotSent",
    "Oversized",
    "Proxy",
    "ResponseStream",
    "certificate_bundle",
    "check_certificates",
    "is_whole",
    "may_be_whole",
    "next_hop",
    "origin",
]
