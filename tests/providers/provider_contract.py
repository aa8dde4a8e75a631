"""What every gateway's adapter has to keep: its test class inherits this and fills in the tables."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields
from datetime import date
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from answer_contract import COMMON_WORDS, AnswerContract
from canonical_requests import CASES, VALUES
from hostile_json import ANY, odd_answers, replaced, tampered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded_answers import SAMPLES, answer, recorded

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import SHOT_DURATION, Access, Submission, operation_of
from rushes.shared.providers.callback_reports import CallbackHint
from rushes.shared.providers.reading import Malformed

NEUTRAL = {"sound": False, "watermark": False}  # the same as nothing
KEY = "sk-test"
NO_LINK = events.Unclear("the gateway says completed but gave no link", finished=True)
CALL_ME = "https://rushes.example.com/callbacks/x/job_1/t"
# The tests of a contract are inherited, so that one and the same is run by several classes.
shared_by_classes = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow]
)

TRAITS = ("idempotent", "askable", "calls_back", "signs", "tells_cost", "keyed_content")
DEFINITE = [
    (400, "duration is out of range", Reason.INPUT),
    (400, "insufficient credits", Reason.BALANCE),
    (400, "the prompt violates our usage policy", Reason.POLICY),
    (400, "aspect_ratio is case-sensitive, says the load balancer", Reason.INPUT),
    (400, "Invalid model: kling-x. Supported: kling-y", Reason.PROVIDER),
    (401, "invalid key, for your safety", Reason.KEY),
    (402, "payment required", Reason.BALANCE),
    (403, "no permission", Reason.PROVIDER),
    (403, "余额不足", Reason.BALANCE),
    (403, "user quota is not enough", Reason.BALANCE),
    (403, "内容违规", Reason.POLICY),
    (404, "model not found", Reason.PROVIDER),
    (413, "too large", Reason.INPUT),
    (422, "bad picture", Reason.INPUT),
    (429, "slow down", Reason.RATE),
    (429, "account in arrears", Reason.BALANCE),
    (503, "insufficient resources, not your balance", Reason.DOWN),
]
NO_ANSWER = [408, 409, 418, 425, 500, 501, 502, 504, 520, 521, 522, 523, 524]
HTML, DEEP = b"<html><body>Bad gateway</body></html>", b'{"data":' * 100_000


def strict(value):
    """Written out, so that 5, 5.0, "5" and true, 1 are all different."""
    return json.dumps(value, sort_keys=True, indent=1)


def hint_in(report):
    """What a hint says where the whole callback says this."""
    if isinstance(report, str):
        return report
    link = report.event.link if isinstance(report.event, events.Succeeded) else None
    return CallbackHint(report.task_id, link.thumbnail_url if link else None)


class ProviderContract(AnswerContract):
    """Tables to fill in; `submits`, `queries` and `callbacks` say what a recorded answer means, by its file's name."""

    name: str
    submit_url: str
    query_url: str
    """Of a task with the id `a/b ?ä`."""
    traits: set
    """Which of TRAITS it has."""
    bodies: dict
    """By case: what else the Ask holds, and the exact body."""
    unable: dict
    """Why it cannot do a case; cases that are not named it can."""
    unsaid: tuple = ()
    """(operation, field) that it has and does not say, for a reason that its file gives."""
    submits: dict
    queries: dict
    callbacks: dict
    words: dict
    """Every status word of its documents that not every gateway says, by meaning."""
    state_at: tuple
    """Where an answer to a query holds the status word."""
    progress_at: tuple
    """Where it tells its progress; empty where it tells none."""

    # --- parts

    @property
    def provider(self):
        return PROVIDERS[self.name]

    @property
    def access(self):
        return Access(self.provider.address or "https://gateway.example", KEY)

    def submission(self, case, **options):
        return Submission(CASES[case], "attempt-key", **options)

    def read_submission(self, response):
        return self.provider.read_submission(response)

    def read_query(self, response):
        return self.provider.read_query(response, self.access)

    def read_callback(self, payload):
        try:
            return self.provider.read_callback(payload, self.access)
        except Malformed as malformed:
            return str(malformed)

    def read_hint(self, payload):
        try:
            return self.provider.read_hint(payload, self.access)
        except Malformed as malformed:
            return str(malformed)

    def sample(self, name):
        return recorded(self.name, name).json()

    def samples(self, table):
        return [self.sample(name) for name in table]

    def saying(self, word, sample="running"):
        """A recorded answer to a query, with that status word in it."""
        body = self.sample(sample)
        return answer(200, replaced(body, self.state_at if self.state_at[0] in body else ("status",), word))

    def does(self):
        return [case for case in CASES if case not in self.unable]

    # --- what it can do, and what it sends

    def test_it_is_registered_under_its_name(self):
        assert self.provider.name == self.name
        assert self.provider.key_name == f"{self.name.upper()}_API_KEY"

    def test_it_says_what_it_is_written_by_and_when_that_was_read(self):
        assert self.provider.sources
        assert all(source and date.fromisoformat(day) for source, day in self.provider.sources)

    def test_only_what_it_says_is_called_a_guess(self):
        for support in self.provider.models.values():
            assert support.guessed <= {*support.fields, "model", SHOT_DURATION}

    def test_it_has_the_traits_of_its_documents(self):
        assert {trait for trait in TRAITS if getattr(self.provider, trait)} == self.traits

    def test_it_says_which_requests_it_cannot_do_and_why(self):
        assert {case: why for case, request in CASES.items() if (why := self.provider.why_not(request))} == self.unable

    def test_each_body_is_exact(self):
        for case, (options, body) in self.bodies.items():
            assert strict(self.provider.body(self.submission(case, **options))) == strict(body), case

    def test_there_is_an_exact_body_for_each_operation_it_offers(self):
        operations = {(CASES[case]["model"], operation_of(CASES[case])) for case in self.bodies}
        assert operations == {(model, o) for model, support in self.provider.models.items() for o in support.operations}

    def test_a_submit_is_one_post_with_the_key(self):
        case, (options, body) = next(iter(self.bodies.items()))
        headers = {"Authorization": f"Bearer {KEY}"}
        if "idempotent" in self.traits:
            headers["Idempotency-Key"] = "attempt-key"
        sent = self.provider.submit_request(self.submission(case, **options), self.access)
        assert sent == Request("POST", self.submit_url, headers, body)

    def test_a_query_quotes_the_task_id(self):
        sent = self.provider.query_request("a/b ?ä", self.access)
        assert sent == Request("GET", self.query_url, {"Authorization": f"Bearer {KEY}"})

    @pytest.mark.parametrize(
        "host", ["https://gateway.example", "http://api", "http://v1:8080", "http://127.0.0.1:5000/x"]
    )
    def test_a_base_url_may_end_with_a_slash_or_with_the_version(self, host):
        path = self.provider.path(CASES[next(iter(self.bodies))])
        given = ["", "/", *(end for version in versions(path) for end in (version, f"{version}/"))]
        urls = {
            self.provider.submit_request(self.submission(next(iter(self.bodies))), Access(host + end, KEY)).url
            for end in given
        }
        assert urls == {host + path}

    def test_it_asks_for_a_callback_only_if_it_calls_back(self):
        case = next(iter(self.bodies))
        body = self.provider.body(self.submission(case))
        called = self.calling(body) if "calls_back" in self.traits else body
        assert self.provider.body(self.submission(case, callback_url=CALL_ME)) == called

    def calling(self, body):
        """A body that asks for a callback."""
        return {**body, "callback_url": CALL_ME}

    @given(values=st.fixed_dictionaries(VALUES))
    @shared_by_classes
    def test_no_field_is_dropped_silently(self, values):
        for case in self.does():
            for name, value in values.items():
                self._check_said({**CASES[case], name: value}, name, CASES[case])

    def _check_said(self, changed, name, request):
        neutral = {**NEUTRAL, "shot_type": "customize"} if "multi_prompt" in request else NEUTRAL
        same = changed[name] == request.get(name, neutral.get(name))
        if not same and self.provider.why_not(changed) is None:
            before, after = (self.provider.body(Submission(each, "k")) for each in (request, changed))
            assert (before == after) == ((operation_of(changed), name) in self.unsaid), (changed, name)

    # --- the answer to a submit

    def test_each_recorded_answer_to_a_submit_is_read(self):
        assert {name: self.read_submission(recorded(self.name, name)) for name in self.submits} == self.submits

    @pytest.mark.parametrize(("status", "message", "reason"), DEFINITE)
    def test_a_definite_refusal_has_its_reason(self, status, message, reason):
        for body in error_bodies(status, message):
            refused = self.read_submission(answer(status, body, {"retry-after": "7"}))
            assert refused == events.Refused(reason, message, retry_after_s=7.0)

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 503])
    def test_a_refusal_may_be_inside_a_200(self, status):
        refused = self.read_submission(answer(200, {"code": status, "message": "no", "data": None}))
        assert refused == self.read_submission(answer(status, {"code": status, "message": "no", "data": None}))

    @pytest.mark.parametrize("status", NO_ANSWER)
    def test_another_error_of_a_submit_says_neither_yes_nor_no(self, status):
        for body in (*error_bodies(status, "oops"), self.sample(next(iter(self.submits))), HTML, b""):
            assert isinstance(self.read_submission(answer(status, body)), events.Lost)
        assert isinstance(self.read_submission(answer(200, {"code": status, "message": "oops"})), events.Lost)

    @pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 413, 503])
    def test_a_submit_whose_answer_is_not_json_is_lost(self, status):
        whole = recorded(self.name, "submitted").body
        for body in (HTML, b"", whole[:-3], b"\xff\xfe\xff", b"null", b'"ok"', b"[1]", DEEP):
            assert isinstance(self.read_submission(answer(status, body)), events.Lost)

    def test_a_429_says_by_itself_that_it_is_a_throttle_unless_it_may_have_named_a_task(self):
        for body in (HTML, b"", b"slow down", b"null"):
            refused = self.read_submission(answer(429, body, {"retry-after": "7"}))
            assert refused == events.Refused(Reason.RATE, "HTTP 429", retry_after_s=7.0), body
        cut = recorded(self.name, "submitted").body[:-3]
        hidden = (b"\xef\xbb\xbf" + cut, b'"' + cut, b")]}'," + cut, b"data: " + cut, cut.decode().encode("utf-16"))
        for body in (cut, *hidden, gzip.compress(cut)[:-12], DEEP, b"[1"):
            assert isinstance(self.read_submission(answer(429, body)), events.Lost), body[:20]

    @pytest.mark.parametrize("body", [{}, {"code": 200}, {"data": []}, {"data": {}}, {"code": 1102}, {"id": ""}])
    def test_a_submit_whose_answer_names_no_task_is_lost(self, body):
        assert isinstance(self.read_submission(answer(200, body)), events.Lost)

    @given(status=st.sampled_from([200, 201, 400, 402, 403, 429, 500, 503]), data=st.data())
    @shared_by_classes
    def test_no_answer_to_a_submit_breaks_the_reading(self, status, data):
        self._read_any_submission(status, data.draw(ANY | tampered(self.samples(self.submits))))

    def test_no_odd_part_of_an_answer_to_a_submit_breaks_the_reading(self):
        for body in odd_answers(self.samples(self.submits)):
            self._read_any_submission(200, body)

    def _read_any_submission(self, status, body):
        event = self.read_submission(answer(status, body))
        assert isinstance(event, (events.Accepted, events.Refused, events.Lost))
        assert storable(event)
        if isinstance(event, events.Accepted):
            assert status in (200, 201)
            assert self.provider.query_request(event.task_id, self.access).url.isascii()

    @pytest.mark.parametrize(
        ("said", "read"),
        [("7", 7), ("1.5", 1.5), ("9" * 400, 3600), ("²", None), ("1.5.", None), ("-1", None), ("", None)],
    )
    def test_a_refusal_says_when_to_come_back(self, said, read):
        assert self.read_submission(answer(429, {}, {"retry-after": said})).retry_after_s == read

    # --- the answer to a query

    def test_each_recorded_answer_to_a_query_is_read(self):
        assert {name: self.read_query(recorded(self.name, name)) for name in self.queries} == self.queries

    def test_each_status_word_of_its_documents_is_known(self):
        for word in self.words["running"]:
            event = self.read_query(self.saying(word))
            assert isinstance(event, events.Progressed), word
            assert event.drift is None, word
        for word in self.words["completed"]:
            assert isinstance(self.read_query(self.saying(word, "completed")), events.Succeeded), word
        for word in self.words["failed"]:
            assert isinstance(self.read_query(self.saying(word, "failed")), events.Failed), word

    def test_it_knows_no_word_by_chance(self):
        tables = (self.words, COMMON_WORDS)
        spelled = {word.lower() for table in tables for words in table.values() for word in words}
        assert set(self.provider.statuses) == spelled

    @pytest.mark.parametrize("word", ["simmering", "almost failed", "completed?", 7])
    def test_an_unknown_status_word_is_alive_and_told_of(self, word):
        for sample in ("running", "completed", "failed"):
            event = self.read_query(self.saying(word, sample))
            assert isinstance(event, events.Progressed)
            assert event.drift == str(word)

    @pytest.mark.parametrize("word", [None, "", " ", True, [], {"a": "failed"}])
    def test_a_missing_status_is_alive_and_told_of(self, word):
        for sample in ("running", "completed", "failed"):
            event = self.read_query(self.saying(word, sample))
            assert isinstance(event, events.Progressed)
            assert event.drift == "(none)"

    def test_a_failure_with_an_address_in_it_is_a_failure(self):
        finished = [name for name, event in self.queries.items() if isinstance(event, events.Succeeded)]
        assert finished
        for name in finished:
            failed = self.read_query(self.saying(COMMON_WORDS["failed"][0], name))
            assert isinstance(failed, events.Failed), name

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            *[(30, 30), (30.7, 30), ("30", 30), ("30%", 30), (" 30 % ", 30), (0, 0), ("0%", 0), ("100%", 100)],
            *[(250, 100), (None, None), ("soon", None), (-1, None), (True, None), ([], None), ("1e999999999", None)],
        ],
    )
    def test_progress_is_read_in_each_spelling(self, written, read):
        running = self.sample("running")
        body = replaced(running, self.progress_at, written) if self.progress_at else running
        assert self.read_query(answer(200, body)) == events.Progressed(read if self.progress_at else None)

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 503, *NO_ANSWER, 302])
    def test_an_error_is_no_verdict_on_the_task(self, status):
        bodies = [*error_bodies(status, "oops"), {}, {"status": "failed"}, self.sample("failed"), HTML, b"", b"null"]
        for body in bodies:
            event = self.read_query(answer(status, body, {"retry-after": "7"}))
            assert isinstance(event, events.Unclear)
            assert event.retry_after_s == 7.0
        for said in ({}, {"status": "failed"}, {"data": None, "state": "failed"}):
            wrapped = {"code": max(status, 400), "message": "oops", **said}
            assert isinstance(self.read_query(answer(200, wrapped)), events.Unclear)

    @pytest.mark.parametrize(
        ("status", "reason"),
        [(401, Reason.KEY), (402, Reason.BALANCE), (429, Reason.RATE), (503, Reason.DOWN), (500, None)],
    )
    def test_an_error_of_a_query_tells_what_is_wrong_with_the_gateway(self, status, reason):
        for body in error_bodies(status, "oops"):
            assert self.read_query(answer(status, body)).reason is reason

    def test_a_task_that_the_gateway_does_not_know_is_missing(self):
        assert self.read_query(recorded(self.name, "unknown_task")).missing
        assert not self.read_query(answer(404, HTML)).missing
        assert not self.read_query(answer(400, {"code": "invalid_request", "message": "no"})).missing

    def test_an_answer_to_a_query_that_is_not_json_is_no_verdict(self):
        whole = recorded(self.name, "failed").body
        for body in (HTML, b"", whole[:-3], b"\xff\xfe\xff", b"null", b'"failed"', b"[]", DEEP):
            assert isinstance(self.read_query(answer(200, body)), events.Unclear)

    @given(status=st.sampled_from([200, 200, 200, 400, 404, 500]), data=st.data())
    @shared_by_classes
    def test_no_answer_to_a_query_breaks_the_reading(self, status, data):
        self._read_any_query(status, data.draw(ANY | tampered(self.samples(self.queries))))

    def test_no_odd_part_of_an_answer_to_a_query_breaks_the_reading(self):
        for body in odd_answers(self.samples(self.queries)):
            self._read_any_query(200, body)

    def _read_any_query(self, status, body):
        event = self.read_query(answer(status, body))
        assert isinstance(event, (events.Progressed, events.Succeeded, events.Failed, events.Unclear))
        assert storable(event)
        if isinstance(event, (events.Succeeded, events.Failed)):
            assert status == 200
            assert self.provider.read_status(body) in ("completed", "failed")
        if isinstance(event, events.Succeeded):
            assert urlsplit(event.link.video_url).hostname
            self._check_download(event.link.video_url)

    def _check_download(self, url):
        sent = self.provider.download_request(url, self.access)
        own = url.startswith(self.access.base_url + "/")
        assert sent.headers == ({"Authorization": f"Bearer {KEY}"} if "keyed_content" in self.traits and own else {})

    # --- callbacks

    def test_each_recorded_callback_is_read(self):
        assert {name: self.read_callback(self.sample(name)) for name in self.callbacks} == self.callbacks

    def test_a_repeated_callback_says_the_same(self):
        for name in self.callbacks:
            payload = self.sample(name)
            first = self.read_callback(payload)
            assert self.read_callback(payload) == first
            assert payload == self.sample(name)

    @pytest.mark.parametrize("payload", [None, [], "completed", 3, {}, {"data": None}, {"data": []}, {"code": 200}])
    def test_a_callback_without_a_state_is_malformed(self, payload):
        with pytest.raises(Malformed):
            self.provider.read_callback(payload, self.access)

    @given(data=st.data())
    @shared_by_classes
    def test_no_callback_breaks_the_reading(self, data):
        self._read_any_callback(data.draw(ANY | tampered(self.samples([*self.callbacks, *self.queries]))))

    def test_no_odd_part_of_a_callback_breaks_the_reading(self):
        for payload in odd_answers(self.samples([*self.callbacks, "completed", "failed"])):
            self._read_any_callback(payload)

    def _read_any_callback(self, payload):
        heard = self.read_callback(payload)
        assert isinstance(heard, str) or (storable(heard) and storable(heard.event))
        assert self.read_hint(payload) == hint_in(heard)

    def test_each_recorded_callback_gives_the_hint_that_is_in_its_report(self):
        for name in self.callbacks:
            assert self.read_hint(self.sample(name)) == hint_in(self.read_callback(self.sample(name)))

    # --- the download

    @pytest.mark.parametrize(
        "url",
        [
            *("https://elsewhere.example/clip.mp4", "https://{host}.evil.example/", "https://{host}:8443/clip.mp4"),
            *("http://{host}/clip.mp4", "https://evil.example/{host}/", "https://evil.example\\@{host}/clip.mp4"),
            *("https://me@{host}/clip.mp4", "https://{host}:99999999/", "https://[/", "nonsense", ""),
        ],
    )
    def test_the_key_goes_nowhere_else(self, url):
        url = url.format(host=self.access.base_url.removeprefix("https://"))
        assert self.provider.download_request(url, self.access) == Request("GET", url, {})

    def test_the_key_goes_to_its_own_address_only_if_the_clip_is_behind_it(self):
        url = f"{self.access.base_url}/v1/videos/t/content"
        headers = {"Authorization": f"Bearer {KEY}"} if "keyed_content" in self.traits else {}
        assert self.provider.download_request(url, self.access) == Request("GET", url, headers)

    # --- the tables themselves

    def test_every_recorded_answer_is_in_a_table(self):
        known = {*self.submits, *self.queries, *self.callbacks}
        assert {path.stem for path in (SAMPLES / self.name).glob("*.json")} == known


def versions(path):
    """`/api` and `/api/v1` of `/api/v1/video/generations`; `/v1` of `/v1/videos`."""
    steps = path.split("/")[1:]
    last = next((n for n, step in enumerate(steps, 1) if step == "v1"), 0)
    return ["/" + "/".join(steps[:n]) for n in range(1, last + 1)]


def error_bodies(status, message):
    """The forms in which gateways write an error."""
    return [
        {"error": {"code": status, "message": message, "type": "some_error"}},
        {"error": {"message": message, "type": "new_api_error", "code": ""}},
        {"code": "some_slug", "message": message, "data": None},
        {"code": status, "msg": message},
        {"error": message},
    ]


def storable(event):
    """Whether it can be written down: its texts are UTF-8, its numbers of a sensible length."""
    link = getattr(event, "link", None)
    facts = [getattr(holder, field.name) for holder in (event, link) if holder for field in fields(holder)]
    for fact in facts:
        if isinstance(fact, str):
            fact.encode()
    return all(len(f"{fact:f}") < 40 for fact in facts if isinstance(fact, (int, Decimal)))
