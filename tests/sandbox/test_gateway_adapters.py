"""What Rushes sends is what the pretended gateways take, and it reads what they answer."""

from __future__ import annotations

import http.client
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from patience import PATIENCE_S

from rushes.shared.domain.events import Accepted, Failed, Succeeded
from rushes.shared.domain.http_messages import Response
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Access, Submission
from rushes.shared.providers.prices import PriceTable

MOTION = {
    "prompt": "a wave",
    "image_url": "https://example.com/a.jpg",
    "video_url": "https://example.com/b.mp4",
    "character_orientation": "image",
    "keep_original_sound": True,
    "mode": "std",
}
FRAMES = {"image_url": "https://example.com/a.jpg", "last_image_url": "https://example.com/z.jpg"}
SAID = {"prompt": "a pier", "mode": "pro", "duration": 5, "aspect_ratio": "9:16"}
SHOTS = {
    "multi_prompt": [{"prompt": "a pier", "duration": 2}, {"prompt": "a boat", "duration": 3}],
    "mode": "std",
    "duration": 5,
    "aspect_ratio": "1:1",
}
REQUESTS = [
    {**MOTION, "model": "kling-v3-motion-control"},
    {**MOTION, "model": "kling-v2-6-motion-control", "mode": "pro"},
    {**MOTION, "model": "kling-v3-motion-control", "character_orientation": "video", "element_ids": ["1"]},
    {**SAID, "model": "kling-v3", "sound": True, "cfg_scale": 0.5, "negative_prompt": "fog"},
    {**SAID, "model": "kling-v3", "sound": True},
    {**SAID, "model": "kling-v3", "negative_prompt": "fog"},
    {**SAID, "model": "kling-v3", "mode": "4k", "duration": 3, "watermark": True},
    {**SAID, "model": "kling-v3", "image_url": "https://example.com/a.jpg"},
    {**SHOTS, "model": "kling-v3"},
    {**SHOTS, "model": "kling-v3", "image_url": "https://example.com/a.jpg", "shot_type": "customize"},
    {**SAID, "model": "kling-v3", "shot_type": "intelligent"},
    {**SAID, "model": "kling-v3", **FRAMES},
    {**SAID, "model": "kling-v2-6", "sound": True, "voice_ids": ["v"]},
    {**SAID, "model": "kling-v2-6", "sound": True},
    {**SAID, "model": "kling-v2-6", "mode": "std", **FRAMES},
]
ABLE = [
    pytest.param(name, request, id=f"{name}-{number}")
    for number, request in enumerate(REQUESTS)
    for name, provider in PROVIDERS.items()
    if provider.why_not(request) is None
]


def answer(request):
    """What the sandbox answers to a request of an adapter."""
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
    headers = {**request.headers, "Content-Type": "application/json"}
    connection.request(request.method, f"{parts.path}?{parts.query}", request.body(), headers)
    reply = connection.getresponse()
    read = Response(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.read())
    connection.close()
    return read


def outcome(client, name, request, key="attempt-1"):
    """What the adapter makes of the answers to its submit and to its query."""
    provider, access = PROVIDERS[name], Access(f"{client.url}/{name}", "sandbox-test")
    callback_url = "http://127.0.0.1:9/callbacks" if provider.calls_back else None
    submission = Submission(request, key, callback_url, Decimal("8") if "video_url" in request else None)
    accepted = provider.read_submission(answer(provider.submit_request(submission, access)))
    assert isinstance(accepted, Accepted)
    return provider.read_query(answer(provider.query_request(accepted.task_id, access)), access)


@pytest.mark.parametrize(("name", "request_"), ABLE)
def test_every_request_an_adapter_can_say_is_taken_and_its_clip_is_found(client, name, request_):
    succeeded = outcome(client, name, request_)

    assert isinstance(succeeded, Succeeded)
    assert succeeded.link.video_url.startswith(client.url)
    assert client.shown("violations") == []


def test_the_bill_is_the_price_of_the_table_for_every_request_with_one(client):
    prices = PriceTable.load()
    for number, (name, request) in enumerate(value.values for value in ABLE):
        usd = prices.estimate(PROVIDERS[name], request, Decimal("8") if "video_url" in request else None)
        if usd is not None:
            outcome(client, name, request, f"attempt-{number}")
            assert Decimal(client.shown("bills")[-1]["usd"]) == usd, (name, request)


def test_the_newer_address_of_apimodels_is_served_too(client):
    provider, access = PROVIDERS["apimodels"], Access(f"{client.url}/apimodels/v1", "sandbox-test")
    request = {**SAID, "model": "kling-v3"}
    accepted = provider.read_submission(answer(provider.submit_request(Submission(request, "k"), access)))

    assert isinstance(provider.read_query(answer(provider.query_request(accepted.task_id, access)), access), Succeeded)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_failure_is_read_as_one(client, name):
    client.fault(name, "fail_task")
    request = next(value.values[1] for value in ABLE if value.values[0] == name)

    assert isinstance(outcome(client, name, request), Failed)
