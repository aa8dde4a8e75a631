"""The page of the gateways, and the hand that pauses one."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from factories import NOW, SECOND, link
from form_steps import Visitor
from receiver_steps import GATEWAYS, Away, Web, parts_over

from rushes.shared.domain import events, gateway_pauses
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.webhook_receiver.console import gateways


def section(page: str, name: str) -> str:
    """What the page says of one gateway."""
    found = page.split(f'data-key="{name}"')[1].split("</section>")[0]
    return " ".join(found.split())


def test_each_enabled_gateway_has_its_place(web: Web) -> None:
    page = Visitor(web).page("/gateways")
    for name in GATEWAYS:
        assert ">Up<" in section(page, name)


def test_a_pause_says_why_until_when_and_what_to_do(web: Web) -> None:
    web.parts.ledger.gateways.strike("evolink", Reason.KEY, None, web.parts.now())
    told = section(Visitor(web).page("/gateways"), "evolink")
    assert ">Paused<" in told
    assert "EVOLINK_API_KEY" in told
    assert "14:13:50" in told


@pytest.mark.parametrize(
    "reason", [Reason.KEY, Reason.BALANCE, Reason.MOVED, Reason.RATE, Reason.DOWN, gateway_pauses.OPERATOR]
)
def test_every_reason_of_a_pause_has_words_of_its_own(reason: str) -> None:
    assert reason in gateways.WHY
    assert reason in gateway_pauses.ADVICE


def test_jobs_in_flight_are_shown_against_the_cap(web: Web) -> None:
    for _ in range(3):
        web.running("newapi")
    assert "<b>3</b> of 20" in section(Visitor(web).page("/gateways"), "newapi")


def test_accounts_are_shown_only_where_a_gateway_has_several(web: Web) -> None:
    several = Web(parts_over(MemoryStore(), EVOLINK_API_KEY=None, EVOLINK_API_KEYS="a:sk-a1,b:sk-b1:drain"))
    job = {"provider": "evolink", "account": "gone", "task_id": "t"}
    several.standing(State.RUNNING, job, route=("evolink",))
    several.parts.ledger.gateways.strike("evolink", Reason.BALANCE, None, several.parts.now(), "a")
    page = Visitor(several).page("/gateways")
    told = page.split('aria-label="Accounts at evolink"')[1].split("</table>")[0]

    assert [word in told for word in (">Paused<", ">Drain<", ">Missing<", "1 job waits")] == [True] * 4
    assert "The account there is empty" in told
    assert "gone:&lt;its key&gt; to EVOLINK_API_KEYS" in told
    assert "sk-" not in page
    assert "Accounts at" not in Visitor(web).page("/gateways")


def test_jobs_of_a_gateway_that_is_off_are_told_of() -> None:
    web = Web(parts_over(MemoryStore(), EVOLINK_API_KEY=None))
    job = web.running("evolink")
    assert "<b>evolink is not enabled</b>, and 1 job waits for its account default" in Visitor(web).page("/gateways")
    assert "is in no setting; no other one is asked for it" in " ".join(Visitor(web).page(f"/jobs/{job.id}").split())


def ended(web: Web, provider: str, heard_by: str) -> None:
    web.standing(State.COMPLETED, {"provider": provider, "callback": True, "heard_by": heard_by})


def test_callbacks_that_were_asked_for_and_never_came_are_told_of() -> None:
    web = Web(parts_over(MemoryStore()))
    for _ in range(3):
        ended(web, "evolink", "poll")
        ended(web, "apimodels", "callback")
    page = Visitor(web).page("/gateways")
    assert "Silent" in section(page, "evolink")
    assert "Arriving" in section(page, "apimodels")
    assert "Polled" in section(page, "newapi")


def test_a_gateway_whose_calls_have_stopped_is_silent_although_it_called_before() -> None:
    web = Web(parts_over(MemoryStore()))
    for heard_by in ["callback"] * 9 + ["poll"] * 3:
        job = web.running("evolink")
        web.parts.ledger.apply(job.id, events.Succeeded(link(), heard_by=heard_by, attempt=1), web.parts.now())
    told = section(Visitor(web).page("/gateways"), "evolink")
    assert "Silent" in told
    assert "9 of the last 12 ends" in told


def test_times_to_finish_are_those_of_the_jobs_that_finished(web: Web) -> None:
    assert "<b>—</b>" in section(Visitor(web).page("/gateways"), "evolink")
    for at, took_s in enumerate([60] * 8 + [600] * 2):
        # Each gateway's times are read anew four times a minute.
        job = web.standing(State.RUNNING, {"provider": "evolink", "submitted_at": NOW, "callback": True})
        end = events.Succeeded(link(), heard_by="callback", attempt=1)
        web.parts.ledger.apply(job.id, end, NOW + took_s * SECOND + at)
    web.parts.now.at(NOW + 700 * SECOND)  # type: ignore[attr-defined]
    told = section(Visitor(web).page("/gateways"), "evolink")
    assert re.search(r"p50</span> <b>1 min( [0-3] s)?</b>", told)
    assert re.search(r"p90</span> <b>10 min( \d+ s)?</b>", told)
    assert "of 10 clips" in told


def test_without_a_public_address_nobody_is_called_silent(web: Web) -> None:
    ended(web, "evolink", "poll")
    assert "RUSHES_PUBLIC_URL is unset" in section(Visitor(web).page("/gateways"), "evolink")


def test_only_the_admin_pauses_and_resumes(web: Web) -> None:
    acme, admin = Visitor(web), Visitor(web, "admin")
    for act in ("pause", "resume"):
        assert acme.form(f"/gateways/evolink/{act}").status_code == 403
        assert admin.client.post(f"/gateways/evolink/{act}").status_code == 403  # no page of ours sent it
    assert "evolink/pause" not in acme.page("/gateways")
    assert web.parts.ledger.gateways.paused_until("evolink") == 0

    assert admin.form("/gateways/evolink/pause").headers["Location"] == "/gateways?done=paused"
    assert web.parts.ledger.gateways.health("evolink")["why"] == "operator"
    assert "Paused by an operator" in section(acme.page("/gateways"), "evolink")

    assert admin.form("/gateways/evolink/resume").headers["Location"] == "/gateways?done=resumed"
    assert web.parts.ledger.gateways.paused_until("evolink") == 0


def test_a_gateway_that_is_none_cannot_be_paused(web: Web) -> None:
    assert Visitor(web, "admin").form("/gateways/runway/pause").status_code == 404


def spent(web: Web, tenant: str, cost: str) -> None:
    plan = {"provider": "evolink", "cost_usd": Decimal(cost), "submitted_at": NOW}
    web.standing(State.COMPLETED, plan, tenant=tenant)


def test_a_tenant_sees_its_own_budget_and_the_admin_sees_all() -> None:
    web = Web(parts_over(MemoryStore(), RUSHES_DAILY_BUDGET_USD="2"))
    spent(web, "acme", "1.70")
    spent(web, "other", "2.00")
    acme, admin = Visitor(web).page("/gateways"), Visitor(web, "admin").page("/gateways")
    assert "$1.70" in acme
    assert "$2.00</span></b> held" not in acme
    assert "Reached" not in acme
    assert "no submits until midnight" in admin
    assert section(acme, "evolink").count("$1.70")
    assert section(admin, "evolink").count("$3.70")


def test_without_a_limit_the_page_says_how_to_set_one(web: Web) -> None:
    assert "RUSHES_DAILY_BUDGET_USD" in Visitor(web).page("/gateways")


def test_a_price_that_is_reserved_counts_before_it_is_spent() -> None:
    web = Web(parts_over(MemoryStore(), RUSHES_DAILY_BUDGET_USD="2"))
    job = web.running("evolink")
    assert "$0.42" in Visitor(web).page("/gateways").split('id="budgets"')[1]
    web.parts.ledger.apply(job.id, events.Failed(Reason.PROVIDER, "no"), web.parts.now())
    assert "$0.42" not in Visitor(web).page("/gateways").split('id="budgets"')[1]


def test_with_the_ledger_away_the_page_says_so(web: Web) -> None:
    visitor = Visitor(web)
    away = Web(parts_over(Away(), RUSHES_PUBLIC_URL=None))
    away.app.secret_key = web.app.secret_key
    visitor.client.application = away.app
    assert visitor.client.get("/gateways").status_code == 503


def test_a_balance_is_shown_with_how_long_it_lasts(web: Web) -> None:
    store = web.parts.ledger.balances
    store.keep("apimart", Balance(Decimal("12.50")), NOW)
    store.keep("apimodels", Balance(None), NOW)
    store.keep_problem("newapi", "HTTP 500, not JSON", NOW)
    web.standing(State.COMPLETED, {"provider": "apimart", "cost_usd": Decimal("87.5"), "submitted_at": NOW})
    page = Visitor(web).page("/gateways")

    assert ">$12.50<" in section(page, "apimart")
    assert "Lasts about 1 day at this week" in section(page, "apimart")
    assert 'tone-warn">$12.50' in section(page, "apimart")
    assert ">Unlimited<" in section(page, "apimodels")
    assert "It could not be read just now: HTTP 500, not JSON." in section(page, "newapi")
    assert "Balance" not in section(page, "evolink")


def test_a_balance_that_lasts_is_no_warning(web: Web) -> None:
    web.parts.ledger.balances.keep("apimart", Balance(Decimal("12.50")), NOW)
    assert "tone-warn" not in section(Visitor(web).page("/gateways"), "apimart")
