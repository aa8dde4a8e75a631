"""The document of the calls tells the truth: nothing is asked, taken or answered that it does not tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from factories import job_in, result
from good_requests import ACCEPTED
from jsonschema_rs import Draft202012Validator
from patience import PATIENCE_S
from real_server import PATH, serving
from receiver_steps import KEYS, Web, callback_path, without

from shared.domain.job import Job, State
from shared.domain.pace import Pace
from shared.ledger.connection import connect
from shared.ledger.ledger import Ledger
from shared.ledger.redis_store import RedisStore
from shared.wiring import clock

OURS = ("/v1/", "/callbacks/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
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


BEYOND: list[tuple[str, Any]] = [
    ("model", "kling-v4"),
    ("prompt", ""),
    ("prompt", "x" * 2501),
    ("negative_prompt", "x" * 2501),
    ("multi_prompt", []),
    ("multi_prompt", [{"prompt": "up", "duration": 16}]),
    ("multi_prompt", [{"prompt": "up", "duration": 0}]),
    ("multi_prompt", [{"prompt": "up"}] * 17),
    ("image_url", "https://" + "x" * 2048),
    ("image_url", 5),
    ("character_orientation", "left"),
    ("keep_original_sound", "yes"),
    ("element_ids", ["e1", "e2"]),
    ("watermark", 1),
    ("mode", "4k"),
    ("duration", 2),
    ("duration", 16),
    ("duration", 5.5),
    ("aspect_ratio", "4:3"),
    ("sound", "on"),
    ("voice_ids", [""]),
    ("cfg_scale", 1.1),
    ("cfg_scale", -0.1),
    ("shot_type", "auto"),
    ("provider", "kling"),
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
request-timeout = 10
max-stream-events = 1
continue-on-failure = true
[[operations]]
include-path = "/v1/gateways/{{name}}/resume"
headers = {{ Authorization = "Bearer {KEYS["admin"]}" }}
# Its body is a job's: what lies just inside and outside each bound is sent to one of the two.
[[operations]]
include-path = "/v1/estimates"
phases.coverage.enabled = false
# Some rules that span fields stand in words only: not all that fits the document is taken.
[checks]
positive_data_acceptance.enabled = false
"""


def closed(told: dict[str, Any]) -> dict[str, Any]:
    """The document, with no field in an answer beyond those that it tells."""
    for name, schema in told["components"]["schemas"].items():
        schema.setdefault("additionalProperties", name in ("Settled", "Adopted"))
    return told


def seeds(redis_url: str) -> dict[str, list[str]]:
    """Jobs in every state, as the addresses that their gateways call."""
    ledger = Ledger(RedisStore(connect(redis_url, PATIENCE_S)), Pace())
    return {state: [address(seed(ledger, state)) for _ in range(EACH)] for state in State}


def address(job: Job) -> str:
    return callback_path(job) if job.attempts else f"/callbacks/-/{job.id}/-"


def seed(ledger: Ledger, state: State) -> Job:
    clip = {"result": result()} if state is State.COMPLETED else {}
    made = job_in(state, {"provider": "evolink", "callback": True}, created_at=clock(), **clip)
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
