"""What Prometheus is told: the same by every process, each thing that happened once, and nobody's secret."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factories import HOUR, MINUTE, NOW, SECOND, link, result
from ledger_steps import CAPS, claim, created, engaged, polls, repeating, submits
from prometheus_client.parser import text_string_to_metric_families
from receiver_steps import GATEWAYS, SECRET, Away, Counting, Web, callback_path, parts_over, refused, secret_in

from rushes.shared.domain import events, timing
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import Store
from rushes.shared.operations import overdue
from rushes.webhook_receiver import callback_counts

DEPLOY = Path(__file__).parents[2] / "deploy"


def told(web: Web) -> dict[str, float]:
    """Every sample of a scrape, as it is written, to its value."""
    answer = web.nobody.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in answer.text.splitlines() if line[0] != "#"
    }


def names(web: Web) -> set[str]:
    """Every name that a query may use."""
    found = set()
    for family in text_string_to_metric_families(web.nobody.get("/metrics").text):
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
        found |= {family.name + end for end in ends}
    return found


def finished(web: Web, provider: str = "evolink") -> Job:
    """A job that went its whole way: made in 60 s after two polls, archived 9 s later."""
    made = web.running(provider)
    ledger, at = web.parts.ledger, made.current.submitted_at + MINUTE
    for _ in range(2):
        ledger.apply(made.id, events.Progressed(50, attempt=1, asked_at=at), at)
    ledger.apply(made.id, events.Succeeded(link(expires_at=at + HOUR), attempt=1, heard_by="callback"), at)
    ledger.apply(made.id, events.Archived(result(), Decimal("0.5")), at + 9 * SECOND)
    return made


# --- what is counted


def test_a_finished_job_is_in_every_histogram_once(web_on_each: Web) -> None:
    finished(web_on_each)
    found = told(web_on_each)

    assert found['rushes_jobs{state="completed"}'] == found['rushes_jobs_ended_total{code="",state="completed"}'] == 1
    assert found['rushes_task_seconds_sum{gateway="evolink"}'] == 60
    assert found['rushes_task_seconds_bucket{gateway="evolink",le="60"}'] == 1
    assert found['rushes_task_seconds_bucket{gateway="evolink",le="30"}'] == 0
    assert found['rushes_archive_lag_seconds_sum{gateway="evolink"}'] == 9
    assert found['rushes_archive_lag_seconds_bucket{gateway="evolink",le="+Inf"}'] == 1
    assert found['rushes_archive_link_left_seconds_sum{gateway="evolink"}'] == 3591
    polled = '{callback="asked",gateway="evolink",heard_by="callback"'
    assert found[f"rushes_polls_per_task_sum{polled}}}"] == 2
    assert found[f'rushes_polls_per_task_bucket{polled},le="1"}}'] == 0


def test_what_two_processes_did_is_told_once_and_by_both_alike(store: Store) -> None:
    one, other = Web(parts_over(store)), Web(parts_over(store))
    done = [finished(one), finished(other)]
    for web in (one, other):
        web.nobody.post(callback_path(done[0]), data=b"{", content_type="application/json")
        web.submitted()

    for web in (one, other):  # each has its own callback still in hand, until somebody asks it
        told(web)
    found = told(one)
    assert found == told(other) | {key: value for key, value in found.items() if "overdue" in key}
    assert found["rushes_jobs_created_total"] == 4
    assert found['rushes_archive_lag_seconds_count{gateway="evolink"}'] == 2
    assert found['rushes_callbacks_total{gateway="evolink",verdict="malformed"}'] == 2


def test_what_is_sent_again_because_its_answer_was_lost_is_counted_once(store: Store) -> None:
    ledger = repeating(store)
    created(ledger)
    subject, _ = engaged(ledger, NOW)
    for _ in range(2):
        ledger.apply(subject.id, events.Accepted("task-1", attempt=1), NOW)
        ledger.apply(subject.id, events.Succeeded(link()), NOW)
        ledger.apply(subject.id, events.Archived(result()), NOW)

    counts = {field: count for field, count in ledger.totals.metrics().items() if not field.endswith("ms")}
    assert set(counts.values()) == {"1"}
    assert {"created", "submits|apimart|accepted|"} <= set(counts)


def test_submits_are_counted_by_verdict(web_on_each: Web) -> None:
    web, ledger = web_on_each, web_on_each.parts.ledger
    happenings = [events.Accepted("t"), events.Lost("reset"), events.Refused(Reason.POLICY, "no")]
    for event in happenings:
        ledger.apply(web.standing(State.SUBMITTING).id, event, NOW)

    found = told(web)
    assert found['rushes_submits_total{gateway="apimart",reason="",verdict="accepted"}'] == 1
    assert found['rushes_submits_total{gateway="apimart",reason="",verdict="unconfirmed"}'] == 1
    assert found['rushes_submits_total{gateway="apimart",reason="content_policy",verdict="refused"}'] == 1
    assert found['rushes_submits_total{gateway="evolink",reason="",verdict="accepted"}'] == 0


def test_words_that_no_document_knows_are_told(web_on_each: Web) -> None:
    for _ in range(3):
        web_on_each.parts.ledger.gateways.count_unknown_word("evolink", 'half|"baked"\n')
    assert told(web_on_each)['rushes_drift_words_total{gateway="evolink",word="half|\\"baked\\"\\n"}'] == 3


def test_a_gateway_that_makes_up_words_makes_up_no_metrics_without_end(web: Web) -> None:
    for number in range(80):
        web.parts.ledger.gateways.count_unknown_word("evolink", f"word {number}")
    assert len([key for key in told(web) if "drift_words" in key]) == 50


# --- callbacks


COMPLETED = b'{"id": "task-1", "status": "completed", "results": ["https://files.example/clip.mp4"]}'


def called(web: Web, path: str, body: bytes = COMPLETED) -> int:
    """Call as a gateway does, which hangs up once it is answered."""
    with web.nobody.post(path, data=body, content_type="application/json") as answer:
        return answer.status_code


def by_verdict(web: Web) -> dict[str, float]:
    found = {key: value for key, value in told(web).items() if key.startswith("rushes_callbacks_total") and value}
    return {key.partition("gateway=")[2].rstrip("}"): value for key, value in found.items()}


def test_callbacks_are_counted_by_what_became_of_them(web_on_each: Web) -> None:
    web = web_on_each
    subject, ended = web.running("evolink"), web.standing(State.FAILED, {"provider": "evolink", "callback": True})
    path = callback_path(subject)
    answers = [
        called(web, path),
        called(web, path),
        called(web, callback_path(ended)),
        called(web, path, b"{"),
        called(web, path, b" " * (1 << 20) + b"{}"),
        called(web, path[:-1] + ("x" if path[-1] != "x" else "y")),
        called(web, path.replace("evolink", "nobody")),
        called(web, path, COMPLETED.replace(b"task-1", b"task-9")),
    ]

    assert answers == [200, 200, 200, 400, 413, 404, 404, 200]
    assert by_verdict(web) == {
        '"evolink",verdict="noted"': 2,
        '"evolink",verdict="ended"': 1,
        '"evolink",verdict="malformed"': 1,
        '"evolink",verdict="too_large"': 1,
        '"evolink",verdict="unknown"': 1,
        '"evolink",verdict="strange"': 1,
        '"",verdict="unknown"': 1,
    }


def test_no_answer_to_a_gateway_waits_for_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))
    path = callback_path(web.running("evolink"))
    monkeypatch.setattr(callback_counts, "PAUSE_S", 0)
    counting.calls.clear()

    answer = web.nobody.post(path, data=COMPLETED, content_type="application/json", buffered=False)
    before = list(counting.calls)
    answer.close()

    assert (before, counting.calls) == (["nudge"], ["nudge", "increase"])


def test_callbacks_are_written_down_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_counts, "time", SimpleNamespace(monotonic=lambda: 100.0))
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))
    path, held = callback_path(web.running("evolink")), web.app.extensions["callback_counts"]

    for waited_s in (0, 2, 0):
        held._written_at = 100.0 - waited_s
        called(web, path)

    assert counting.calls.count("increase") == 1
    assert held._counts == {"callbacks|evolink|noted": 1}


def test_what_could_not_be_written_down_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    web = Web(parts_over(store))
    path, held = callback_path(web.running("evolink")), web.app.extensions["callback_counts"]
    held._ledger = Ledger(Away(), web.parts.settings.policy)  # type: ignore[arg-type]
    monkeypatch.setattr(callback_counts, "PAUSE_S", 0)
    assert [called(web, path), called(web, path)] == [200, 200]

    held._ledger = web.parts.ledger
    assert by_verdict(web) == {'"evolink",verdict="noted"': 2}


# --- what stands


def test_a_gateway_in_trouble_is_told_until_it_takes_a_job(web_on_each: Web) -> None:
    web = web_on_each
    web.parts.ledger.gateways.strike("evolink", Reason.KEY, None, web.parts.now())
    found = told(web)
    assert found['rushes_gateway_paused{gateway="evolink",why="key_rejected"}'] == 1
    assert 20 < found['rushes_gateway_pause_left_seconds{gateway="evolink"}'] <= 30
    assert found['rushes_gateway_paused{gateway="apimart",why=""}'] == 0

    web.parts.now.at(NOW + HOUR)
    found = told(web)
    assert found['rushes_gateway_paused{gateway="evolink",why=""}'] == 0
    assert found['rushes_gateway_strikes{gateway="evolink",why="key_rejected"}'] == 1


def test_what_is_full_and_what_is_spent_is_told(store: Store) -> None:
    web = Web(parts_over(store, RUSHES_DAILY_BUDGET_USD="5", APIMART_MAX_IN_FLIGHT="7"))
    web.standing(State.RUNNING)
    finished(web, "apimart")
    web.parts.ledger.record_heartbeat("one", web.parts.now())

    found = told(web)
    at = '{gateway="apimart"}'
    assert [found[f"rushes_gateway_in_flight{end}{at}"] for end in ("", "_max")] == [1, 7]
    assert (found["rushes_day_budget_usd"], found["rushes_workers"]) == (5, 1)
    assert found['rushes_day_committed_usd{tenant="acme"}'] == pytest.approx(0.92)
    assert found['rushes_day_actual_usd{gateway="apimart",tenant="acme"}'] == 0.5


def test_the_first_link_that_dies_is_told_while_a_clip_waits(web_on_each: Web) -> None:
    web = web_on_each
    assert "rushes_link_life_left_seconds" not in told(web)
    for hours in (5, 2, 9):
        web.standing(State.ARCHIVING, {"link": link(expires_at=NOW + hours * HOUR)})
    assert told(web)["rushes_link_life_left_seconds"] == pytest.approx(2 * 3600, abs=1)


# --- how late we are


def late(web: Web, now: int) -> float:
    return overdue.oldest_s(web.parts.ledger, web.parts.settings.gateways, now)


def submits_late(web: Web, now: int) -> float:
    return overdue.overdue_s(web.parts.ledger, web.parts.settings.gateways, now)["submit"]


LATER = NOW + 5 * MINUTE


def test_a_job_that_nobody_takes_up_is_overdue(web_on_each: Web) -> None:
    created(web_on_each.parts.ledger)
    assert late(web_on_each, LATER) == 300
    created(web_on_each.parts.ledger, due_at=LATER + HOUR)
    assert late(web_on_each, LATER) == 300


def test_what_waits_for_room_at_its_gateway_is_not_overdue(store: Store) -> None:
    web = Web(parts_over(store, APIMART_MAX_IN_FLIGHT="1"))
    ledger = web.parts.ledger
    created(ledger, 2)
    first, _ = engaged(ledger, NOW, replace(CAPS, max_in_flight=1))
    ledger.apply(first.id, events.Accepted("task-1"), NOW)
    ledger.apply(first.id, events.Progressed(1), LATER)
    assert late(web, LATER) == 0

    ledger.apply(first.id, events.Failed(Reason.INPUT, "no"), LATER)
    assert late(web, LATER) == 299.999


def test_a_line_that_moves_is_not_overdue(web_on_each: Web) -> None:
    ledger = web_on_each.parts.ledger
    created(ledger, 2)
    first, _ = engaged(ledger, LATER)
    ledger.apply(first.id, events.Accepted("task-1"), LATER)
    assert submits_late(web_on_each, LATER + 60 * SECOND) == 0
    assert submits_late(web_on_each, LATER + 62 * SECOND) == 361.999


def test_what_waits_out_a_pause_is_not_overdue_until_it_is_over(web_on_each: Web) -> None:
    ledger = web_on_each.parts.ledger
    (subject,) = created(ledger)
    ledger.apply(subject.id, events.Parked(subject.route), NOW)
    ledger.gateways.pause("apimart", "operator", LATER)
    assert late(web_on_each, LATER - SECOND) == 0
    assert late(web_on_each, LATER + 7 * SECOND) == 7


def test_while_a_gateway_shows_that_it_is_well_the_others_are_not_overdue(web_on_each: Web) -> None:
    ledger = web_on_each.parts.ledger
    created(ledger, 2)
    ledger.gateways.strike("apimart", Reason.DOWN, None, NOW)
    (ticket,) = claim(ledger, submits(), LATER)
    assert ledger.open_tickets([ticket], LATER)[0]
    assert late(web_on_each, LATER + SECOND) == 0


def test_a_poll_is_late_from_its_due_time_on(web_on_each: Web) -> None:
    ledger = web_on_each.parts.ledger
    subject = web_on_each.standing(State.RUNNING, due_at=NOW + MINUTE)
    assert late(web_on_each, LATER) == 240
    claim(ledger, polls(), LATER)
    assert overdue.overdue_s(ledger, web_on_each.parts.settings.gateways, LATER)["poll"] == 240
    assert subject.state is State.RUNNING


def test_a_finished_job_that_stays_longer_than_it_should_makes_nobody_late(web_on_each: Web) -> None:
    web_on_each.standing(State.COMPLETED, chores=("retire",), due_at=NOW, result=result())
    assert late(web_on_each, LATER) == 0
    assert told(web_on_each)['rushes_oldest_overdue_seconds{work="retire"}'] >= 0


# --- who may know


def test_no_secret_no_job_and_no_task_is_told(web: Web) -> None:
    subject = finished(web)
    called(web, callback_path(subject))
    text = web.nobody.get("/metrics").text

    hidden = [subject.id, secret_in(callback_path(subject)), SECRET, "task-1", "key-of-", "https://"]
    assert [word for word in hidden if word in text] == []
    tenants = {line.partition("{")[0] for line in text.splitlines() if "acme" in line}
    assert tenants
    assert all(name.startswith("rushes_day_") for name in tenants)


def test_with_the_ledger_away_nothing_is_told() -> None:
    refused(Web(parts_over(Away())).nobody.get("/metrics"), 503, "unavailable")


# --- who asks


NAME = re.compile(r"\brushes_[a-z_]+")


def asked_for(text: str) -> set[str]:
    return set(NAME.findall(text))


def test_a_price_that_is_not_known_is_counted_and_one_that_is_known_is_0(web: Web) -> None:
    samples = told(web)

    assert samples['rushes_prices_unknown{gateway="apimart",model="kling-v3"}'] == 3
    assert samples['rushes_prices_unknown{gateway="newapi",model="kling-v3"}'] == 4
    assert samples['rushes_prices_unknown{gateway="evolink",model="kling-v3"}'] == 0
    assert samples['rushes_prices_unknown{gateway="apimart",model="kling-v3-motion-control"}'] == 0


@pytest.mark.parametrize("file", ["alerts.yml", "grafana-dashboard.json"])
def test_every_metric_that_is_asked_for_is_told(web: Web, file: str) -> None:
    asked = asked_for((DEPLOY / file).read_text("utf-8"))

    assert len(asked) > 5
    assert asked - names(web) == set()


def test_the_dashboard_can_be_loaded() -> None:
    board: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))

    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert (board["uid"], board["id"], board["schemaVersion"]) == ("rushes", None, 39)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert {held["name"]: held["type"] for held in board["templating"]["list"]} == {
        "datasource": "datasource",
        "gateway": "query",
    }
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    targets = [target for panel in panels for target in panel["targets"]]
    assert len(targets) >= len(panels) > 5
    assert all(target["refId"] and target["expr"] for target in targets)


def test_a_label_that_an_alert_asks_for_is_told(web: Web) -> None:
    text = (DEPLOY / "alerts.yml").read_text("utf-8")
    finished(web)
    web.standing(State.UNCONFIRMED)
    web.parts.ledger.gateways.strike("evolink", Reason.BALANCE, None, web.parts.now())
    found = told(web)

    labels = re.findall(r"(rushes_[a-z_]+)\{(\w+)=\"(\w+)\"", text)
    assert len(labels) > 2
    for name, label, value in labels:
        assert any(key.startswith(f"{name}{{") and f'{label}="{value}"' in key for key in found), (name, label, value)


def test_jobs_that_are_older_than_experience_calls_possible_are_told_of() -> None:
    web = Web(parts_over(MemoryStore()))
    web.standing(State.RUNNING, {"provider": "evolink", "submitted_at": NOW - HOUR})
    web.standing(State.RUNNING, {"provider": "evolink", "submitted_at": NOW - MINUTE})
    web.standing(State.RUNNING, {"provider": "newapi", "submitted_at": NOW - HOUR})
    kind = timing.kind(web.parts.ledger.overview.oldest(State.RUNNING, 1)[0]).partition("|")[2]
    web.parts.ledger.store.increase(keys.times("evolink"), {f"{kind}|{timing.bucket(60)}": timing.FEWEST})

    stuck = {name: held for name, held in told(web).items() if name.startswith("rushes_jobs_stuck")}
    assert stuck == {f'rushes_jobs_stuck{{gateway="{name}"}}': float(name == "evolink") for name in GATEWAYS}
