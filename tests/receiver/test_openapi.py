"""The document of the calls tells the truth: nothing is asked, taken or answered that it does not tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from bad_requests import BAD
from factories import job_in, result
from good_requests import ACCEPTED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from patience import PATIENCE_S
from real_server import PATH, serving
from receiver_steps import KEYS, Web, callback_path, without

from rushes.shared.domain.job import Job, State
from rushes.shared.domain.schedule import Policy
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.schema import MODELS
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.shared_clock import wall_clock

OURS = ("/v1/", "/callbacks/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="session")
def told(door: Web) -> dict[str, Any]:
    answer = door.nobody.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    return dict(answer.json or {})


def calls(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, name): call for path, held in told["paths"].items() for name, call in held.items() if name in METHODS
    }


def test_every_door_is_in_the_document(door: Web, told: dict[str, Any]) -> None:
    rules = [rule for rule in door.app.url_map.iter_rules() if rule.rule.startswith(OURS)]
    doors = {(re.sub("<(.*?)>", r"{\1}", rule.rule), name.lower()) for rule in rules for name in rule.methods or ()}

    assert {(path, name) for path, name in doors if name in METHODS} == set(calls(told))


def test_what_needs_a_key_says_so(told: dict[str, Any]) -> None:
    assert told["security"] == [{"bearer": []}]
    for (path, _), call in calls(told).items():
        keyed = path.startswith("/v1/")
        assert ("401" in call["responses"]) is keyed
        assert call.get("security") == (None if keyed else [])


# --- the request


def of_request(told: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({"$ref": "#/components/schemas/JobRequest", "components": told["components"]})


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_request_fits_the_document(told: dict[str, Any], body: dict[str, Any]) -> None:
    assert list(of_request(told).iter_errors(body)) == []


def test_every_field_of_the_request_tells_its_type(told: dict[str, Any]) -> None:
    fields = told["components"]["schemas"]["JobRequest"]["properties"]

    assert {"model", "prompt", "metadata"} < set(fields)
    assert [name for name, rules in fields.items() if not {"type", "oneOf"} & set(rules)] == []


# What JSON Schema cannot say: how large all strings are together, which of two moments is later, and that UTF-8 has no
# half of a surrogate pair.
SAYABLE = {
    name: body
    for name, (_, body) in BAD.items()
    if name not in ("metadata too large", "begun before it may") and not re.search(r"\\ud[89a-f]", json.dumps(body))
}


@pytest.mark.parametrize("body", SAYABLE.values(), ids=SAYABLE)
def test_a_bad_request_does_not_fit_the_document(told: dict[str, Any], body: dict[str, Any]) -> None:
    assert not of_request(told).is_valid(body)


VALUES: dict[str, list[Any]] = {
    "model": [*MODELS, "kling-v4"],
    "prompt": ["a kite", "", " ", "\x00", "\x1f", "\u3000", "\ufeff", "\n", "x" * 2501],
    "multi_prompt": [[{"prompt": "up", "duration": length}] for length in (0, 1, 2.0, 2.5, 15, 16)] + [[{}]],
    "image_url": ["https://a.example/", "s3://bucket/key", "https://a.example:444/", "https://a.local", "http://a.b/"],
    "last_image_url": ["https://a.example", "https://a.example/\x7f", "https://a.example/\n", "s3://bucket/"],
    "video_url": ["https://a.example?x", "https://-a.example", "https://a..example", "https://a.example/\x85"],
    "character_orientation": ["image", "video"],
    "element_ids": [[], ["e1"], ["e1", "e2"], ["\x00"], [""], ["x" * 129]],
    "duration": [2, 3, 5, 5.0, 7, 10, 10.0, 15, 16, 5.5, "5", True, 1e300],
    "mode": ["std", "pro", "4k", "8k"],
    "sound": [True, False, 1],
    "voice_ids": [["v1"], [], ["v"] * 17],
    "cfg_scale": [0, 1, 0.5, 1.0, 1.5, -0.0, True],
    "shot_type": ["customize", "intelligent", "intelligence", "auto"],
    "provider": ["auto", "newapi", ["newapi", "evolink"], [], ["newapi"] * 2, ["auto"]],
    "max_cost_usd": ["5", "0.50", "0", "0.0", "00.1", "5.", ".5", "٥", "1\n", "9" * 10],
    "priority": [0, 9, 5.0, 10, -1, "5"],
    "not_before": ["2026-12-01T08:00:00Z", "2026-02-29T08:00:00Z", "2026-12-01T08:00:00", "2020-12-31T23:59:59-23:59"],
    "start_before": ["2100-01-01T00:00:00Z", "2099-12-31T23:59:60Z", "2026-04-31T00:00:00Z", "2099-12-31t00:00:00z"],
    "callback_url": ["https://a.example/" + "x" * 2030, "https://a.example/" + "x" * 2031, "s3://bucket/key"],
    "metadata": [{}, {"a": "b"}, {"a": 1}, {"\x00": "b"}, {"a": "\x00"}, {f"k{n}": "v" for n in range(17)}],
    "colour": ["red"],
}
CHANGES = st.lists(
    st.sampled_from([(name, value) for name, values in VALUES.items() for value in values]), max_size=4
).map(dict)


@settings(max_examples=800, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(base=st.sampled_from([{}, *ACCEPTED.values()]), changes=CHANGES)
def test_the_document_takes_what_the_reader_takes(
    door: Web, told: dict[str, Any], base: dict[str, Any], changes: dict[str, Any]
) -> None:
    body = {**base, **changes}

    assert of_request(told).is_valid(body) == read(door, body), body


def read(door: Web, body: dict[str, Any]) -> bool:
    try:
        door.parts.intake.request(body)
    except Unacceptable:
        return False
    return True


BEYOND: list[tuple[str, Any]] = [
    ("model", "kling-v4"),
    ("prompt", ""),
    ("prompt", "x" * 2501),
    ("negative_prompt", "x" * 2501),
    ("multi_prompt", []),
    ("multi_prompt", [{"prompt": "up", "duration": 16}]),
    ("multi_prompt", [{"prompt": "up", "duration": 0}]),
    ("multi_prompt", [{"prompt": "up"}] * 17),
    ("image_url", "https://example.com/" + "x" * 8173),
    ("image_url", 5),
    ("character_orientation", "left"),
    ("keep_original_sound", "yes"),
    ("element_ids", ["e1", "e2"]),
    ("watermark", 1),
    ("mode", "8k"),
    ("duration", 2),
    ("duration", 16),
    ("duration", 5.5),
    ("aspect_ratio", "4:3"),
    ("sound", "on"),
    ("voice_ids", [""]),
    ("cfg_scale", 1.1),
    ("cfg_scale", -0.1),
    ("shot_type", "auto"),
    ("provider", "runway"),
    ("provider", []),
    ("provider", ["newapi", "newapi"]),
    ("max_cost_usd", 1),
    ("max_cost_usd", "1e9"),
    ("callback_url", None),
    ("metadata", {"shot": 5}),
    ("metadata", {f"k{n}": "v" for n in range(17)}),
    ("colour", "red"),
]
BASES = [ACCEPTED["voices"], ACCEPTED["first and last frame"], ACCEPTED["an element"]]


@pytest.mark.parametrize(("name", "value"), BEYOND)
def test_the_bounds_of_the_request_show(told: dict[str, Any], name: str, value: Any) -> None:
    assert not any(of_request(told).is_valid({**body, name: value}) for body in BASES)


@pytest.mark.parametrize("name", ["image_url", "video_url", "character_orientation"])
def test_what_motion_needs_shows(told: dict[str, Any], name: str) -> None:
    assert not of_request(told).is_valid(without(ACCEPTED["motion, v3"], name))


# --- the page


def test_the_page_loads_what_is_its_own_and_nothing_else(door: Web) -> None:
    """That it works is tried in a browser (tests/console)."""
    answer = door.nobody.get("/docs")

    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    loaded = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert {"openapi.json", "assets/docs/swagger-ui-bundle.js"} < set(loaded)
    assert [address for address in loaded if door.nobody.get("/" + address).status_code != 200] == []
    assert not re.search(r"//|<script>|<style|\sstyle=|\son\w+=", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ["index.css", "swagger-ui.js", "__init__.py", "page.html", "..%2Fapp.py", "nothing"])
def test_of_the_pages_folders_only_its_own_files_are_served(door: Web, name: str) -> None:
    assert door.nobody.get(f"/assets/docs/{name}").status_code == 404


def test_the_pages_files_are_sent_again_only_where_they_have_changed(door: Web) -> None:
    first = door.nobody.get("/assets/docs/swagger-ui-bundle.js")

    assert (first.status_code, first.mimetype) == (200, "text/javascript")
    again = door.nobody.get("/assets/docs/swagger-ui-bundle.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


# --- the real server, asked all that the document allows, and much that it does not


EACH = 8
CONFIG = f"""
headers = {{ Authorization = "Bearer {KEYS["acme"]}" }}
request-timeout = 120
max-stream-events = 1
continue-on-failure = true
[[operations]]
include-path = "/v1/gateways/{{name}}/resume"
headers = {{ Authorization = "Bearer {KEYS["admin"]}" }}
# Its body is a job's: what lies just inside and outside each bound is sent to one of the two.
[[operations]]
include-path = "/v1/estimates"
phases.coverage.enabled = false
# All fields of a job in one body: what goes together shows only in many of them.
[[operations]]
include-path = "/v1/jobs"
generation.max-examples = 30
# What lies between two days, and what a gateway says: for these the document has words only.
[[operations]]
include-path = "/v1/usage"
checks.what_fits_the_document_is_taken.enabled = false
[[operations]]
include-path = "/callbacks/{{provider}}/{{job_id}}/{{token}}"
checks.what_fits_the_document_is_taken.enabled = false
# In place of this one stands what_fits_the_document_is_taken (openapi_hooks.py).
[checks]
positive_data_acceptance.enabled = false
"""


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with no field in an answer beyond those that it tells."""
    told = deepcopy(document)
    for name, schema in told["components"]["schemas"].items():
        schema.setdefault("additionalProperties", name in ("Settled", "Adopted"))
    return told


def seeds(redis_url: str) -> dict[str, list[str]]:
    """Jobs in every state, as the addresses that their gateways call."""
    ledger = Ledger(RedisStore(connect(redis_url, PATIENCE_S)), Policy())
    return {state: [address(seed(ledger, state)) for _ in range(EACH)] for state in State}


def address(job: Job) -> str:
    return callback_path(job) if job.attempts else f"/callbacks/-/{job.id}/-"


def seed(ledger: Ledger, state: State) -> Job:
    clip = {"result": result()} if state is State.COMPLETED else {}
    made = job_in(state, {"provider": "evolink", "callback": True}, created_at=wall_clock(), **clip)
    ledger.create(made)
    return made


def asked(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What schemathesis finds."""
    st = [sys.executable, "-m", "schemathesis.cli", "--config-file", "config.toml", "run", "openapi.json", "--url", url]
    env = {"PATH": PATH, "PYTHONPATH": str(Path(__file__).parent), "SEEDS": str(folder / "seeds.json")}
    hooks = {"SCHEMATHESIS_HOOKS": "openapi_hooks"}
    return subprocess.run(
        [*st, *options], cwd=folder, env={**env, **hooks}, capture_output=True, text=True, check=False
    )


def test_nothing_is_answered_that_the_document_does_not_tell(
    redis_url: str, s3_url: str, told: dict[str, Any], tmp_path: Path
) -> None:
    written = {
        "openapi.json": json.dumps(closed(told)),
        "seeds.json": json.dumps(seeds(redis_url)),
        "config.toml": CONFIG,
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text, "utf-8")

    with serving(tmp_path / "log", REDIS_URL=redis_url, AWS_ENDPOINT_URL_S3=s3_url) as server:
        done = asked(tmp_path, server.url, "--max-examples", "5", "--generation-deterministic", "--no-color")

    assert done.returncode == 0, done.stdout + done.stderr
    tested = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert tested, done.stdout
    assert tested[1] == tested[2]
    assert f"Tested: {len(calls(told))}" in done.stdout
