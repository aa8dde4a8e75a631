"""What never stands on a page, and what does when something is the matter."""

from __future__ import annotations

import re

import pytest
from console_steps import BROWSERS_ACCEPT, asking_for, visitor
from factories import NOW
from receiver_steps import KEYS, SECRET, Away, Web, callback_path, parts_over, secret_in

from rushes.shared.domain.job import Error, Note, State

# --- what never stands on a page


def test_a_prompt_is_words_and_never_a_script(web: Web) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    job = web.standing(
        State.FAILED,
        {"task_id": evil},
        error=Error("provider_error", evil),
        history=(Note(NOW, "task failed", evil), Note(NOW, evil, evil)),
        **asking_for(evil, metadata={evil: evil}),
    )
    person = visitor(web, "admin")

    for path in ("/", f"/?text={evil}", f"/jobs/{job.id}", f"/jobs/{job.id}/calls"):
        page = person.page(path)
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_no_page_holds_a_secret(web_on_public: Web) -> None:
    web = web_on_public
    job = web.running("apimodels")
    person = visitor(web, "admin")

    told = "".join(person.page(path) for path in ("/", f"/jobs/{job.id}", f"/jobs/{job.id}/calls"))

    gateways = [account.key for gateway in web.parts.settings.gateways.values() for account in gateway.accounts]
    assert job.id in told
    for secret in (SECRET, *KEYS.values(), *gateways, secret_in(callback_path(job))):
        assert secret not in told


def test_the_signed_part_of_a_link_is_not_written_out(web: Web) -> None:
    signed = "https://files.example/ref.png?X-Amz-Signature=abcdef"
    job = web.standing(State.FAILED, **asking_for("a kite", image_url=signed))

    words_ = visitor(web).reads(f"/jobs/{job.id}")

    assert "https://files.example/ref.png" in words_
    assert "abcdef" not in words_


def test_of_what_lies_in_s3_a_tenant_is_shown_only_what_was_brought_through_the_console(web: Web) -> None:
    uploaded = "s3://clips/inputs/2026/11/20/01M7X6D7K9Q95YMEMP2FFFJ015.jpg"
    foreign = ["s3://clips/jobs/x/video.mp4", "s3://clips/journal/x.jsonl", "s3://another/inputs/ref.png"]
    pages = {
        address: visitor(web).page(f"/jobs/{web.standing(State.FAILED, **asking_for('x', image_url=address)).id}")
        for address in (uploaded, *foreign)
    }

    assert {address: "X-Amz-Signature" in page for address, page in pages.items()} == {
        uploaded: True,
        **dict.fromkeys(foreign, False),
    }


@pytest.mark.parametrize(
    "address", ["https://evil.example;script-src *", "https://x y/", "https://[::1/", "javascript:alert(1)", "data:,x"]
)
def test_an_input_cannot_widen_what_the_page_may_load(web: Web, address: str) -> None:
    job = web.standing(State.FAILED, **asking_for("x", image_url=address))

    answer = visitor(web).get(f"/jobs/{job.id}")
    policy = answer.headers["Content-Security-Policy"]

    assert answer.status_code == 200
    assert policy.count("script-src") == 1
    assert "script-src 'self';" in policy
    assert "evil" not in policy
    assert f'src="{address}' not in answer.text
    assert f'href="{address}' not in answer.text


def test_a_page_may_load_only_its_own_parts_and_what_it_shows(web: Web) -> None:
    job = web.standing(State.COMPLETED, **asking_for("x", image_url="https://files.example/ref.png?sig=1"))

    answer = visitor(web).get(f"/jobs/{job.id}")
    told = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))

    assert told["default-src"] == "'none'"
    assert told["frame-ancestors"] == "'none'"
    assert {"'self'", "data:", "https://files.example", "http://127.0.0.1:1"} <= set(told["img-src"].split())
    assert not {"*", "http:", "https:"} & set(told["img-src"].split())
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on\w+=", answer.text)


# --- when something is the matter


@pytest.mark.parametrize("path", ["/", "/jobs/job_x"])
def test_a_ledger_out_of_reach_is_a_page_that_says_so(path: str) -> None:
    answer = visitor(Web(parts_over(Away()))).get(path)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "The ledger (Redis) is out of reach" in answer.text


def test_an_address_that_leads_nowhere_is_a_page_for_people_and_the_envelope_for_programs(web: Web) -> None:
    people = web.nobody.get("/nowhere", headers={"Accept": BROWSERS_ACCEPT})
    programs = [
        web.nobody.get("/nowhere"),
        web.acme.get("/v1/nowhere", headers={"Accept": BROWSERS_ACCEPT}),
        web.nobody.post("/callbacks/apimart/job_x/1-x", headers={"Accept": BROWSERS_ACCEPT}),
    ]

    assert (people.status_code, people.mimetype) == (404, "text/html")
    assert {(answer.status_code, answer.mimetype) for answer in programs} == {(404, "application/json")}


def test_a_page_that_breaks_says_so_and_logs_it(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    person = visitor(web)
    monkeypatch.setattr(web.parts.ledger.store, "index_names", lambda: 1 / 0)

    answer = person.get("/")

    assert answer.status_code == 500
    assert "The error was logged" in answer.text


def test_the_console_is_no_part_of_the_document_of_the_api(web: Web) -> None:
    paths = web.nobody.get("/openapi.json").json["paths"]  # type: ignore[index]

    assert "/v1/jobs" in paths
    assert all(
        path.startswith(("/v1/", "/callbacks/", "/healthz", "/readyz", "/metrics", "/openapi", "/docs"))
        for path in paths
    )
