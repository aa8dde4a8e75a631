"""An address inside our own network is refused at the door, however it is spelled."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from receiver_steps import IMAGE, MOTION, TEXT, Web, fields_of, parts_over, without

from rushes.shared.ledger.memory_store import MemoryStore

FIELDS: dict[str, dict[str, Any]] = {
    "image_url": IMAGE,
    "video_url": MOTION,
    "last_image_url": IMAGE,
    "callback_url": TEXT,
}
INSIDE = [
    "https://127.0.0.1/x",
    "https://10.0.0.8/x",
    "https://172.16.0.1/x",
    "https://192.168.1.1/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/x",
    "https://0.0.0.0/x",
    "https://255.255.255.255/x",
    "https://2130706433/x",  # decimal
    "https://0x7f000001/x",  # hex
    "https://0x7f.0.0.1/x",
    "https://017700000001/x",  # octal
    "https://0177.0.0.1/x",
    "https://127.0.0.01/x",
    "https://127.1/x",  # short forms
    "https://127.0.1/x",
    "https://0/x",
    "https://10.8/x",
    "https://[::1]/x",
    "https://[::]/x",
    "https://[::ffff:127.0.0.1]/x",  # mapped
    "https://[::ffff:7f00:1]/x",
    "https://[0:0:0:0:0:ffff:a9fe:a9fe]/x",
    "https://[::127.0.0.1]/x",  # compatible
    "https://[64:ff9b::7f00:1]/x",  # NAT64
    "https://[2002:7f00:1::]/x",  # 6to4
    "https://[fe80::1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://[fd00::1]/x",
    "https://127.0.0.1./x",  # a dot at the end
    "https://localhost/x",
    "https://localhost./x",
    "https://LOCALHOST/x",
    "https://api.localhost/x",
    "https://printer.local/x",
    "https://printer.local./x",
    "https://metadata.google.internal/x",
    "https://127。0。0。1/x",  # other dots
    "https://127．0．0．1/x",
    "https://127｡0｡0｡1/x",
    "https://localhost。/x",
    "https://１２７.0.0.1/x",  # fullwidth digits
    "https://①②⑦.0.0.1/x",
    "https://ⓛocalhost/x",
    "https://example.com@127.0.0.1/x",  # a user
    "https://127.0.0.1@example.com/x",
    "https://127.0.0.1:443/x",  # ports
    "https://127.0.0.1:8443/x",
    "https://127.0.0.1:/x",
    "https://[::1]:443/x",
    "https://127.0.0.1#@example.com/x",
    "https://127.0.0.1?@example.com/x",
    "https://127.0.0.1\\@example.com/x",
    "https://127%2e0%2e0%2e1/x",
    "HTTPS://127.0.0.1/x",
    "http://127.0.0.1/x",
    "http://example.com/x",  # not inside, but in the open
]
PUBLIC = [
    "https://example.com/x",
    "https://example.com:8443/x?a=b&c=%20#d",
    "https://xn--mller-kva.example/x",
    "https://8.8.8.8/x",
    "https://[2606:4700:4700::1111]/x",
    "https://my_bucket.s3.eu-west-1.amazonaws.com/фото.png",
    "HTTPS://EXAMPLE.COM/X",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_inside_address_is_refused_and_its_field_is_named(door: Web, address: str) -> None:
    for field, path in product(FIELDS, ("/v1/jobs", "/v1/estimates")):
        assert fields_of(door.acme.post(path, json={**FIELDS[field], field: address})) == {field}, (field, path)


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("field", FIELDS)
def test_a_public_address_is_taken_as_it_is_written(door: Web, field: str, address: str) -> None:
    answer = door.acme.post("/v1/jobs", json={**FIELDS[field], field: address})

    assert answer.status_code == 202
    assert answer.json["request"][field] == address


@pytest.mark.parametrize("field", without(FIELDS, "callback_url"))
def test_an_input_may_lie_in_a_bucket(door: Web, field: str) -> None:
    address = "s3://my-inputs/a folder/ref 1.png"

    answer = door.acme.post("/v1/jobs", json={**FIELDS[field], field: address})

    assert answer.json["request"][field] == address


@pytest.mark.parametrize("field", FIELDS)
def test_what_the_operator_allows_may_be_inside_and_over_http(field: str) -> None:
    web = Web(parts_over(MemoryStore(), RUSHES_EGRESS_ALLOW="127.0.0.0/8, 10.8.0.0/16"))

    for address in ("http://127.0.0.1:9000/x", "https://127.1/x", "http://10.8.3.1/x", "http://localhost:9000/x"):
        web.submitted({**FIELDS[field], field: address})
    assert fields_of(web.acme.post("/v1/jobs", json={**FIELDS[field], field: "http://10.9.0.1/x"})) == {field}
