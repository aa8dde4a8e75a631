"""Messages that no Celery of today sends: each as it lies in Redis, with words in it that no log may hold."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from receiver_steps import KEYS, TEXT

# What a message may hold, each in another place: in its body, in its headers, as a name.
PROMPT, HEADER, NAME = "a prompt of acme's own", "word-in-a-header", "word.in.a.name"
STRANGERS_KEY = "key-of-somebody-new"
SECRETS = (PROMPT, HEADER, NAME, STRANGERS_KEY, *KEYS.values())
JOB = {**TEXT, "prompt": PROMPT}
ARGUMENTS = {"job": JOB, "api_key": KEYS["acme"]}


def message(body: Any = None, headers: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """One as Celery sends it, changed: `headers` are added, None in `changes` takes a part away."""
    usual = {"task": "rushes.enqueue", "id": str(uuid.uuid4()), "argsrepr": "()", "kwargsrepr": repr(ARGUMENTS)}
    held = {**usual, "lang": "py", "origin": HEADER, **(headers or {})}
    raw = body if isinstance(body, bytes) else json.dumps([[], ARGUMENTS, {}] if body is None else body).encode()
    whole = {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": held,
        "properties": {
            "correlation_id": held["id"],
            "reply_to": HEADER,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "enqueue"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def old(**call: Any) -> dict[str, Any]:
    """One as Celery 3 sends it: the call stands in the body."""
    return {**message(json.dumps({"args": [], "kwargs": {}, **call}).encode()), "headers": {}}


def with_property(name: str, value: Any) -> dict[str, Any]:
    whole = message()
    return {**whole, "properties": {**whole["properties"], name: value}}


# What the envelope says to who waits for the result of such a call; None where it is no call of ours.
ANSWERED: dict[str, tuple[str | None, dict[str, Any]]] = {
    "a misspelt name": (None, message(headers={"task": "rushes.enque"})),
    "a name that tells": (None, message(headers={"task": NAME})),
    **{
        f"of type {kind}": ("unsupported_media_type", message(**{"content-type": kind}))
        for kind in ("application/x-python-serialize", "application/x-yaml", "application/x-msgpack", HEADER)
    },
    "half of JSON": ("bad_request", message(f'[[], {{"api_key": "{KEYS["acme"]}", "job": "{PROMPT}'.encode())),
    "no UTF-8": ("bad_request", message(b'[[], {"api_key": "key-of-acme\xff"}, {}]')),
    "nested too deep": ("bad_request", message(b'[[], {"job": ' + b"[" * 50_000 + b"]" * 50_000 + b"}, {}]")),
    "an unknown compression": ("bad_request", message(headers={"compression": HEADER})),
    "a number as body": ("invalid_request", message(b"5")),
    "a body of two": ("invalid_request", message([[], ARGUMENTS])),
    "arguments of a text": ("invalid_request", message([PROMPT, {}, {}])),
    "named arguments in a list": ("invalid_request", message([[], [PROMPT], {}])),
    "follow-ups that are none": ("invalid_request", message([[], ARGUMENTS, {"callbacks": [PROMPT]}])),
    "follow-ups in a list": ("invalid_request", message([[], ARGUMENTS, [PROMPT]])),
    "a moment that is none": ("invalid_request", message(headers={"eta": HEADER})),
    "an end that is none": ("invalid_request", message(headers={"expires": {"at": HEADER}})),
    "one limit of two": ("invalid_request", message(headers={"timelimit": 5})),
    "limits in words": ("invalid_request", message(headers={"timelimit": [HEADER, HEADER]})),
    "stamps that are none": ("invalid_request", message(headers={"stamped_headers": 5})),
}
# Nobody can be told of these.
UNANSWERED: dict[str, bytes] = {
    name: raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    for name, raw in {
        "no JSON": f"{PROMPT} {KEYS['acme']}".encode(),
        "no text": b"\xff\xfe" + PROMPT.encode(),
        "a number": b"5",
        "a list": [PROMPT],
        "nothing in it": {},
        "without properties": message(properties=None),
        "without headers": {**message(), "headers": None},
        "headers in a list": {**message(), "headers": [HEADER]},
        "without an id": {**message(), "headers": {"task": "rushes.enqueue"}},
        "an id in a list": message(headers={"id": [HEADER]}),
        "a name in a list": message(headers={"task": [NAME]}),
        "a name in an object": message(headers={"task": {NAME: 1}}),
        "a receipt that is none": with_property("delivery_tag", None),
        "a receipt in a list": with_property("delivery_tag", [HEADER]),
        "a receipt that UTF-8 cannot say": with_property("delivery_tag", "\ud800"),
        "an id that UTF-8 cannot say": message(headers={"id": "\ud800"}),
        "an unknown encoding": with_property("body_encoding", HEADER),
        "an encoding that does not fit": {**message(), "body": "%%%"},
        "of Celery 3, misspelt": old(task=NAME, id="1", kwargs=ARGUMENTS),
        "of Celery 3, without its name": old(id="1", kwargs=ARGUMENTS),
        "of Celery 3, without a form": old(task="rushes.enqueue", id="1", args=PROMPT, kwargs=5),
    }.items()
}
