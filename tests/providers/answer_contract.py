"""What every adapter makes of what gateways say beside their documents: their vendor's words, throttles."""

from __future__ import annotations

import gzip
import json
from itertools import product

import pytest
from link_contract import LinkContract
from recorded_answers import answer, around, recorded
from retry_contract import RetryContract

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request

# PROVIDERS.md 11.8, what runs in every document, and the words of other vendors' documents.
COMMON_WORDS = {
    "running": ("submitted", "pending", "queued", "processing", "in_progress", "running"),
    "completed": (
        *("succeed", "succeeded", "success", "completed", "successful", "complete", "done", "finished", "finish"),
        *("成功", "完成", "已生成"),
    ),
    "failed": (
        *("failed", "failure", "error", "cancelled", "canceled", "expired", "timeout", "fail", "errored", "cancel"),
        *("timed_out", "time_out", "timedout", "aborted", "rejected", "terminated"),
        *("失败", "取消", "超时", "过期", "终止", "中止"),
    ),
}
KINDS = {"running": events.Progressed, "completed": events.Succeeded, "failed": events.Failed}
# As Chinese servers put them together, on the mainland and elsewhere.
ZH_WORDS = {
    "completed": ("已成功", "已完成", "生成成功", "任务成功", "生成完成", "视频处理完成", "已處理完成", "視頻製作成功"),
    "failed": ("已失败", "生成失败", "任务失败", "已取消", "已超时", "任务已过期", "執行失敗", "已經終止"),
    "running": ("未完成", "生成中", "即将完成"),
}
SPELLINGS = (
    *(str.upper, str.title, " {} ".format, "{}\n".format, lambda word: word.replace("_", "-")),
    *("TASK_STATUS_{}".format, "task_{}".format, "{}.".format, '"{}"'.format),
    *("\u200b{}\ufeff".format, "\u00a0{}\u3000".format, "✅ {}！".format, "[{}]".format),
    lambda word: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in word),  # full width
)
# Other places of a status word, as a function of the word: objects, and the task or the vendor's response inside.
PLACES = {
    **{f"object with {name}": lambda word, name=name: {"status": {name: word}} for name in ("code", "state", "name")},
    "object with a number": lambda word: {"state": {"code": 2, "status": word}},
    "of a vendor": lambda word: {"output": {"task_status": word}},
    "of a task": lambda word: {"task": {"id": "t1", "status": word}},
    "of a task's facts": lambda word: {"task_info": {"state": word}},
    "of a response": lambda word: {"response": {"task_status": word}},
    "beside a number": lambda word: {"status": 99, "task_status": word},
    "list of one": lambda word: {"status": [word]},
    "list of one object": lambda word: {"state": [{"name": word}]},
}
THROTTLES = [
    *("parallel task over resource pack limit", "rate limit exceeded", "Rate-limited", "rate_limit_exceeded"),
    *("Too many requests", "too many concurrent requests", "You have too many running tasks", "Requests too frequent"),
    *("system overloaded", "The model is overloaded", "server is busy", "System is currently busy", "queue is full"),
    *("concurrency limit reached", "Exceeded the maximum number of concurrent jobs", "user concurrency exceeded"),
    *("concurrent request limit", "QPS limit exceeded", "ThrottlingException", "at capacity", "Please slow down"),
    *("请求过于频繁", "您的操作过于频繁，请稍后再试", "系统繁忙，请稍后再试", "服务器当前繁忙", "上游负载已饱和"),
    *("并发数超过限制", "任务数已达上限", "请求频率超限", "触发限流", "服务过载", "请求过多"),
    *("RateLimitExceeded", "SlowDown", "ServerOverloaded", "TooManyRequests", "RESOURCE_EXHAUSTED"),
    *("Quota exceeded for quota metric 'requests per minute'", "Please reduce your request rate", "frequency limit"),
    *("max parallel tasks reached", "You've reached the maximum number of active generations", "insufficient capacity"),
    *("Capacity limit reached", "queue limit exceeded", "request frequency too high", "burst limit exceeded"),
    *(
        "当前排队人数过多",
        "已达到并发上限",
        "QPS超限",
        "rpm 达到上限",
        "当前模型负载较高",
        "算力不足",
        "资源不足，请稍后重试",
    ),
    *("已触发频控", "您已达到总请求数限制：1分钟内最多请求60次", "リクエストが多すぎます", "요청이 너무 많습니다"),
    *("請求過於頻繁，請稍後再試", "系統繁忙，請稍後再試", "已達併發上限", "並發數超過限制", "伺服器過載", "觸發限流"),
    *("Zu viele Anfragen", "Trop de requêtes", "Demasiadas solicitudes", "Muitas solicitações", "Troppe richieste"),
    *("Слишком много запросов", "Quá nhiều yêu cầu", "Terlalu banyak permintaan", "Çok fazla istek"),
]
# Of the call's own making, or of what nobody knows the end of.
NO_THROTTLES = [
    *("Too many images", "image_urls has too many entries in the request", "prompt is over the limit of characters"),
    *("optimistic concurrency failure", "concurrency conflict on row 7", "aspect ratio is limited"),
    *("the frame rate exceeds 60", "the bit rate is too high", "素材资源不存在", "the maximum number of images is 2"),
    *("las imágenes son demasiadas", "trop de caractères", "zu viele Bilder", "視頻時長超過限制", "參數錯誤"),
    *("the length limit is exceeded", "please try again later", "并发修改冲突", "视频时长超过限制", "at most 10 s"),
]


def in_text(body):
    """The body, with its `data` (or its only object) as JSON in a string."""
    return {**body, "data": json.dumps(body["data"])} if "data" in body else json.dumps(body)


WRAPPINGS = (lambda body: [body], json.dumps, lambda body: json.dumps([json.dumps(body)]), in_text)
READERS = {"submitted": "read_submission", "completed": "read_query"}
AROUND = ((b"", b"\n<!-- 12 ms -->"), (b")]}',\n", b""), (b"data: ", b"\n\ndata: [DONE]\n\n"), (b"\n while(1);", b""))
# As CONTRACT.md's caller might write one; gateways repeat it when they refuse.
PROMPT = "Too many requests in an overloaded, busy shop: RATE LIMIT on her balance; 请求过于频繁"
SENT = Request("POST", "https://gateway.example/", {}, {"prompt": PROMPT, "mode": "std"})


def documented_errors(code, message, kind="some_error"):
    """The forms in which documents have an error, all said by the gateway itself."""
    return [
        {"error": {"code": code, "message": message, "type": kind}},
        {"error": {"code": "", "message": f"{message} (request id: 1)", "type": kind}},
        {"code": code, "message": message, "request_id": "r1"},
        {"code": code, "msg": message, "data": None},
        {"code": "fail_to_fetch_task", "message": json.dumps({"code": code, "message": message}), "data": None},
    ]


RISK = "Failure to pass the risk control system"
# How a failed task says why, beside its state.
FAILURES = [
    *({"task_status_msg": RISK}, {"fail_reason": RISK}, {"failMsg": RISK}, {"error_message": RISK}, {"message": RISK}),
    *({"error": RISK}, {"error": {"message": RISK}}, {"error": {"detail": RISK}}, {"errors": [{"message": RISK}]}),
    *({"error": {"code": 1301, "message": "no"}}, {"error": {"message": 'upstream: {"code": 1301, "message": "no"}'}}),
    *({"failCode": "1301", "failMsg": "no"}, {"result": {"error": {"message": RISK}}}),
]


class AnswerContract(LinkContract, RetryContract):
    """Inherited by ProviderContract."""

    # --- words

    @pytest.mark.parametrize("meaning", COMMON_WORDS)
    def test_a_word_of_any_gateway_is_known_in_polls_and_in_callbacks(self, meaning):
        for word, spelled in product(COMMON_WORDS[meaning], SPELLINGS):
            response = self.saying(spelled(word), meaning)
            assert isinstance(self.read_query(response), KINDS[meaning]), word
            assert isinstance(self.read_callback(response.json()).event, KINDS[meaning]), word

    @pytest.mark.parametrize("name", ["status", "state", "task_status"])
    @pytest.mark.parametrize("meaning", COMMON_WORDS)
    def test_a_word_is_read_under_each_name_that_gateways_have_for_it(self, name, meaning):
        body = self.saying(COMMON_WORDS[meaning][0], meaning).json()
        holder = around(body, self.state_at)
        holder[name] = holder.pop(self.state_at[-1])
        assert isinstance(self.read_query(answer(200, body)), KINDS[meaning])
        assert isinstance(self.read_callback(body).event, KINDS[meaning])

    @pytest.mark.parametrize("meaning", ["completed", "failed"])
    def test_a_word_is_read_in_other_places_too(self, meaning):
        for place, around_word in PLACES.items():
            body = self.saying("x", meaning).json()
            holder = around(body, self.state_at)
            del holder[self.state_at[-1]]
            for name, value in around_word(COMMON_WORDS[meaning][0]).items():
                holder[name] = {**(holder.get(name) or {}), **value} if isinstance(value, dict) else value
            assert isinstance(self.read_query(answer(200, body)), KINDS[meaning]), place

    def test_a_word_of_chinese_parts_is_known_in_both_scripts(self):
        for meaning, words in ZH_WORDS.items():
            for word in words:
                event = self.read_query(self.saying(word, meaning if meaning in self.words else "completed"))
                assert isinstance(event, KINDS[meaning]), word

    # --- bodies in other wrappings

    def test_an_answer_wrapped_in_a_list_or_in_text_is_read(self):
        submitted, completed = (recorded(self.name, name).json() for name in ("submitted", "completed"))
        for wrap in WRAPPINGS:
            assert isinstance(self.read_submission(answer(200, wrap(submitted))), events.Accepted), wrap(submitted)
            assert isinstance(self.read_query(answer(200, wrap(completed))), events.Succeeded), wrap(completed)
        for wrap in (json.dumps, in_text):
            assert isinstance(self.read_callback(wrap(completed)).event, events.Succeeded), wrap(completed)

    def test_a_body_whose_names_begin_with_capitals_is_read(self):
        task = {"TaskID": "task-12345678", "TaskStatus": "SUCCESS", "VideoURL": "https://files.example/clip.mp4"}
        for body in (task, {"DATA": task}, {"code": 200, "data": task}, {"Code": 200, "Data": [task]}):
            assert self.read_submission(answer(200, body)).task_id == "task-12345678", body
            assert self.read_query(answer(200, body)).link.video_url == "https://files.example/clip.mp4", body

    def test_a_body_that_was_compressed_unasked_is_read(self):
        for name, kind in (("submitted", events.Accepted), ("completed", events.Succeeded)):
            read = getattr(self, READERS[name])
            assert isinstance(read(answer(200, gzip.compress(recorded(self.name, name).body))), kind)
        assert isinstance(self.read_submission(answer(200, gzip.compress(b"x" * 900)[:-9])), events.Lost)

    def test_a_body_with_something_around_it_is_read(self):
        for name, kind in (("submitted", events.Accepted), ("completed", events.Succeeded)):
            read, body = getattr(self, READERS[name]), recorded(self.name, name).body
            for before, after in AROUND:
                assert isinstance(read(answer(200, before + body + after)), kind), (before, after)
        refused = {"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}
        assert isinstance(self.read_submission(answer(400, json.dumps(refused).encode() + b"<br>")), events.Lost)

    @pytest.mark.parametrize("name", ["task_id", "taskId", "id"])
    def test_the_id_of_a_new_task_is_found_wherever_it_is(self, name):
        task = {name: "task-12345678", "status": "submitted"}
        for body in (
            *(task, {"data": task}, {"data": [task]}, {"code": 200, "data": {"data": task}}, {"result": task}),
            *({"task": task}, {"output": task, "request_id": "r1"}),
        ):
            assert self.read_submission(answer(200, body)).task_id == "task-12345678", body

    def test_the_id_of_a_task_comes_before_that_of_a_request_or_a_row(self):
        for body in ({"id": 77, "task_id": "task-12345678"}, {"id": "r1", "data": {"task_id": "task-12345678"}}):
            assert self.read_submission(answer(200, body)).task_id == "task-12345678", body

    def test_data_itself_may_be_the_id_of_a_new_task(self):
        assert self.read_submission(answer(200, {"code": 200, "data": "task-12345678"})).task_id == "task-12345678"
        for data in ("success", "submitted", "ok", "please wait 10 s", "", "1"):
            assert isinstance(self.read_submission(answer(200, {"code": 200, "data": data})), events.Lost), data

    def test_a_task_two_objects_deep_is_read(self):
        body = {"result": {"task": {"id": "t1", "status": "succeed", "videos": ["https://files.example/clip.mp4"]}}}
        assert isinstance(self.read_query(answer(200, body)), events.Succeeded)

    def test_the_state_of_a_task_comes_before_that_of_its_envelope(self):
        for envelope in ("ok", "success", "error"):
            body = {"status": envelope, "task": {"id": "t1", "status": "processing", "progress": 5}}
            assert self.read_query(answer(200, body)) == events.Progressed(None), envelope

    @pytest.mark.parametrize("word", ["error", "fail", "failed"])
    def test_an_envelope_that_says_failed_is_no_verdict_on_the_task(self, word):
        for body in (
            {"status": word, "message": "try again"},
            {"status": word, "data": None},
            {"state": word, "data": {}},
        ):
            assert isinstance(self.read_query(answer(200, body)), events.Unclear), body
        assert isinstance(self.read_query(answer(200, {"data": {"state": word}})), events.Failed)

    def test_a_number_beside_a_word_is_not_the_state(self):
        body = self.saying("succeed", "completed").json()
        assert isinstance(self.read_query(answer(200, {"status": 200, **body})), events.Succeeded)

    # --- throttles

    def test_a_throttle_is_later_under_any_status(self):
        statuses = (200, 400, 403, 422, 429, 500, 502, 503, 529)
        bodies = [body for text in THROTTLES for body in documented_errors("some_slug", text)]
        for status, body in product(statuses, bodies):
            refused = self.read_submission(answer(status, body, {"retry-after": "7"}))
            assert isinstance(refused, events.Refused), (status, body)
            assert (refused.reason, refused.retry_after_s) == (Reason.RATE, 7.0), (status, body)

    @pytest.mark.parametrize("code", [429, "429", "too_many_requests"])
    def test_a_throttle_is_later_by_its_own_code_under_another_status(self, code):
        for status, body in product((400, 403, 500), documented_errors(code, "no")):
            if str(code) in json.dumps(body):
                assert self.read_submission(answer(status, body)).reason is Reason.RATE, (status, body)

    @pytest.mark.parametrize(
        ("code", "reason"),
        [("401", Reason.KEY), ("invalid_api_key", Reason.KEY), (402, Reason.BALANCE), (503, Reason.DOWN)],
    )
    def test_an_errors_own_code_says_more_than_a_400(self, code, reason):
        assert self.read_submission(answer(400, {"error": {"code": code, "message": "no"}})).reason is reason
        assert isinstance(self.read_submission(answer(500, {"error": {"code": code, "message": "no"}})), events.Lost)

    @pytest.mark.parametrize(
        "body",
        [
            *({"errors": [{"message": "rate limit"}]}, {"errors": ["rate limit"]}, {"error": {"detail": "rate limit"}}),
            *({"error": {"error_message": "rate limit"}}, {"error_msg": "rate limit"}, {"title": "rate limit"}),
            *({"data": {"msg": "rate limit"}}, {"code": 400, "data": {"message": "rate limit"}}),
            *({"errors": [{"detail": "rate limit"}]}, [{"error": {"message": "rate limit"}}]),
        ],
    )
    def test_a_refusal_is_read_in_other_forms_too(self, body):
        refused = self.read_submission(answer(400, body))
        assert (refused.reason, refused.message) == (Reason.RATE, "rate limit")

    @pytest.mark.parametrize("code", [1302, "1303"])
    @pytest.mark.parametrize("status", [200, 400, 429, 500])
    def test_a_throttle_is_later_by_klings_code_alone(self, status, code):
        named = [body for body in documented_errors(code, "no") if str(code) in json.dumps(body)]
        assert len(named) == 4
        for body in [*named, {"error": {"message": f"upstream says code: {code}"}}]:
            assert self.read_submission(answer(status, body)).reason is Reason.RATE, body

    @pytest.mark.parametrize("code", [1100, 1101, "1102"])
    @pytest.mark.parametrize("status", [200, 400, 429])
    def test_an_empty_account_at_kling_is_no_throttle(self, status, code):
        body = {"code": code, "message": "the account cannot be used", "request_id": "r1"}
        assert self.read_submission(answer(status, body)).reason is Reason.BALANCE

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "积分不足",
                "積分不夠",
                "餘額不足",
                "账户余额不足",
                "点数已用完",
                "Your account does not have enough credits",
            ),
            *("Payment required", "Please top up", "You need to top-up your account", "资源包已耗尽"),
        ],
    )
    def test_an_empty_account_is_one_in_any_words(self, text):
        for body in documented_errors("some_slug", text):
            assert self.read_submission(answer(400, body)).reason is Reason.BALANCE, body

    @pytest.mark.parametrize("text", NO_THROTTLES)
    def test_what_only_sounds_like_a_throttle_is_none(self, text):
        for body in documented_errors("some_slug", text):
            assert self.read_submission(answer(400, body)).reason is Reason.INPUT
            assert isinstance(self.read_submission(answer(500, body)), events.Lost)
            assert isinstance(self.read_submission(answer(200, body)), events.Lost)

    @pytest.mark.parametrize("status", [408, 409, 425, 504, 520, 522, 524])
    def test_no_word_makes_a_refusal_of_a_call_that_may_have_gone_through(self, status):
        for body in documented_errors(status, "too many requests"):
            assert isinstance(self.read_submission(answer(status, body)), events.Lost)
        assert isinstance(self.read_submission(answer(200, {"code": status, "message": "rate limit"})), events.Lost)

    @pytest.mark.parametrize("status", [500, 502])
    @pytest.mark.parametrize(
        "body",
        [
            *({"message": "too many requests"}, {"error": "too many requests"}, {"msg": "system overloaded"}),
            *(b"too many requests", b'"too many requests"', b"<html>too many requests</html>", ["too many requests"]),
            {"error": {"message": "too many requests"}, "data": {"task_id": "t1"}},
            {"code": 1303, "message": "parallel task over resource pack limit", "data": [{"task_id": "t1"}]},
            {"code": "x", "message": "too many requests", "data": {"status": "submitted"}},
        ],
    )
    def test_a_throttle_that_is_not_surely_the_gateways_own_word_says_nothing(self, status, body):
        assert isinstance(self.read_submission(answer(status, body)), events.Lost)

    def test_words_of_the_prompt_that_a_refusal_repeats_tell_nothing(self):
        for message in (
            f"Invalid prompt: {PROMPT}",
            f"prompt '{PROMPT[:40]}…' is too long",
            "bad words: busy, balance",
        ):
            for body in documented_errors(400, message, "invalid_request_error"):
                refused = self.provider.read_submission(answer(400, body), SENT)
                assert refused.reason is Reason.INPUT, body
        real = {"error": {"code": 400, "message": "Rate limit exceeded", "type": "invalid_request_error"}}
        assert self.provider.read_submission(answer(400, real), SENT).reason is Reason.RATE

    # --- why a task failed

    def test_a_failed_task_is_asked_why_in_the_words_of_other_vendors_too(self):
        for failure in FAILURES:
            body = self.saying("failed").json()
            around(body, self.state_at).update(failure)
            failed = self.read_query(answer(200, {"message": "SUCCEED", **body}))
            assert failed.reason is Reason.POLICY, failure
            assert failed.message in (RISK, "no") or "1301" in failed.message

    def test_what_an_envelope_says_of_the_query_is_not_why_a_task_failed(self):
        for envelope in ({"code": 200, "message": "success"}, {"code": 0, "msg": "OK"}):
            failed = self.read_query(answer(200, {**self.saying("failed").json(), **envelope}))
            assert failed.message == "the gateway gives no reason"

    # --- errors inside a 200

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}, Reason.INPUT),
            ({"error": {"code": "401", "message": "no", "type": "authentication_error"}}, Reason.KEY),
            ({"error": {"code": "", "message": "no", "type": "insufficient_quota_error"}}, Reason.BALANCE),
            ({"error": {"code": 429, "message": "no"}}, Reason.RATE),
            ({"error": {"code": 503, "message": "no", "type": "service_unavailable_error"}}, Reason.DOWN),
            ({"error": {"code": "", "message": "Invalid token", "type": "new_api_error"}}, Reason.DOWN),
            ({"error": {"code": "", "message": "用户额度不足", "type": "new_api_error"}}, Reason.BALANCE),
            ({"error": {"message": "Insufficient credits"}}, Reason.BALANCE),
            ({"code": 200, "error": {"code": 400, "message": "no"}, "data": None}, Reason.INPUT),
            ({"code": "invalid_request", "message": "no", "data": None}, Reason.INPUT),
            ({"code": "insufficient_user_quota", "message": "no", "data": None}, Reason.BALANCE),
            ({"code": 1201, "message": "no", "request_id": "r1"}, Reason.INPUT),
            ({"code": 1301, "message": "no", "request_id": "r1", "data": {}}, Reason.POLICY),
            ({"success": False, "message": "余额不足"}, Reason.BALANCE),
            ({"success": False, "error": "Not enough credits"}, Reason.BALANCE),
            ({"code": 402, "msg": "no"}, Reason.BALANCE),
        ],
    )
    def test_an_error_of_a_documented_form_inside_a_200_is_a_refusal(self, body, reason):
        refused = self.read_submission(answer(200, body))
        assert isinstance(refused, events.Refused)
        assert refused.reason is reason

    @pytest.mark.parametrize(
        "body",
        [
            {"error": {"code": 500, "message": "internal error", "type": "internal_server_error"}},
            {"error": {"code": "", "message": "upstream failed", "type": "upstream_error"}},
            {"error": {"code": 504, "message": "timed out"}},
            {"error": {"code": 409, "message": "the same key is in use"}},
            {"error": {"message": "something went wrong"}},
            {"error": "something went wrong"},
            {"error": {"code": 400, "type": "invalid_request_error"}},
            {"error": None, "message": "no"},
            {"code": "do_request_failed", "message": "EOF", "data": None},
            {"code": 5000, "message": "internal error", "request_id": "r1"},
            {"code": 0, "message": "too many requests", "data": None},
            {"code": "success", "message": "balance", "data": None},
            {"success": False, "message": "something went wrong"},
            {"error": {"code": 400, "message": "no", "id": "t1"}},
            {"code": 429, "message": "no", "data": {"inner": [{"taskId": 7}]}},
        ],
    )
    def test_an_error_inside_a_200_that_is_not_clearly_a_refusal_is_lost(self, body):
        assert isinstance(self.read_submission(answer(200, body)), events.Lost)

    def test_a_task_beside_an_error_was_accepted_or_nobody_knows(self):
        task = recorded(self.name, "submitted").json()
        error = {"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}
        assert isinstance(self.read_submission(answer(200, {**task, **error})), events.Accepted)

    # --- charsets

    @pytest.mark.parametrize("charset", ["gbk", "big5", "iso-8859-1", "utf-16", "utf-8-sig"])
    def test_a_task_in_another_charset_was_accepted(self, charset):
        word = "中文" if charset in ("gbk", "big5") else "é"
        text = json.dumps({**recorded(self.name, "submitted").json(), "note": word}, ensure_ascii=False)
        kinds = (
            "application/json",
            f"application/json; charset={charset}",
            f'a/b;charset="{charset}"',
            "a; charset=base64",
        )
        for kind in kinds:
            accepted = self.read_submission(answer(200, text.encode(charset), {"content-type": kind}))
            assert isinstance(accepted, events.Accepted), kind

    def test_a_letter_that_holds_a_backslash_is_read_in_its_charset(self):
        text = json.dumps({**recorded(self.name, "submitted").json(), "note": "許"}, ensure_ascii=False)
        response = answer(200, text.encode("big5"), {"content-type": "application/json; charset=Big5"})
        assert isinstance(self.read_submission(response), events.Accepted)

    # --- an address that has moved

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("body", [b"", b"<html>Moved</html>", b"{}", b'{"message": "moved"}', b"null"])
    def test_a_redirect_of_a_submit_is_no_acceptance_and_says_where_to(self, status, body):
        headers = {"location": "https://new.example:8443/v2/videos?key=secret", "retry-after": "7"}
        refused = self.read_submission(answer(status, body, headers))
        assert (refused.reason, refused.retry_after_s) == (Reason.MOVED, 7.0)
        assert f"HTTP {status}" in refused.message
        assert "https://new.example:8443/v2/videos" in refused.message
        assert f"{self.name.upper()}_BASE_URL" in refused.message
        assert "secret" not in refused.message

    @pytest.mark.parametrize("location", ["", "/v2/videos", "https://[", "nonsense", "https://u:secret@new.example/"])
    def test_a_redirect_to_anywhere_is_one(self, location):
        refused = self.read_submission(answer(308, b"", {"location": location} if location else {}))
        assert refused.reason is Reason.MOVED
        assert "secret" not in refused.message

    @pytest.mark.parametrize("status", [300, 304, 305, 306])
    def test_another_3xx_says_nothing(self, status):
        assert isinstance(self.read_submission(answer(status, b"", {"location": "https://x.example/"})), events.Lost)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_of_a_query_is_no_verdict_and_says_where_to(self, status):
        unclear = self.read_query(answer(status, b"", {"location": "https://new.example/v2?key=secret"}))
        assert (unclear.reason, unclear.finished, unclear.missing) == (Reason.MOVED, False, False)
        assert "https://new.example/v2" in unclear.message
        assert "secret" not in unclear.message

    def test_a_redirect_that_names_a_task_says_nothing(self):
        assert isinstance(self.read_submission(answer(303, recorded(self.name, "submitted").json())), events.Lost)
