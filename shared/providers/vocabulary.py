"""The words of all gateways. Each passes on its vendor's words now and then, so any gateway may use any of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from rushes.shared.domain.events import Reason

# Status words by meaning (PROVIDERS.md 11.8). A gateway's own words come on top, in its file.
RUNNING = ("submitted", "pending", "queued", "processing", "in_progress", "running")
COMPLETED = (
    *("succeed", "succeeded", "success", "successful", "completed", "complete", "done", "finished", "finish"),
    *("成功", "完成", "已生成"),
)
FAILED = (
    *("failed", "failure", "fail", "error", "errored", "expired", "timeout", "timed_out", "time_out", "timedout"),
    *("cancelled", "canceled", "cancel", "aborted", "rejected", "terminated"),
    *("失败", "取消", "超时", "过期", "终止", "中止"),
)
STATUSES: Mapping[str, str] = {
    **dict.fromkeys(RUNNING, "running"),
    **dict.fromkeys(COMPLETED, "completed"),
    **dict.fromkeys(FAILED, "failed"),
}
HOLDERS = ("data.", "data.0.", "")
ID_PATHS = tuple(f"{holder}{name}" for holder in HOLDERS for name in ("id", "task_id", "taskId"))

# Kling's own codes of a refused submit (6.4), as gateways pass them on. Of 11xx and 13xx only 1302 and 1303 are
# throttles, whatever the HTTP status. 5xxx does not say whether the call was accepted.
KLING_CODES: Mapping[str, Reason] = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), Reason.PROVIDER),  # the gateway's own key, not ours
    **dict.fromkeys(("1100", "1101", "1102"), Reason.BALANCE),
    **dict.fromkeys(("1103", "1202", "1203", "1304"), Reason.PROVIDER),
    **dict.fromkeys(("1200", "1201"), Reason.INPUT),
    **dict.fromkeys(("1300", "1301"), Reason.POLICY),
    **dict.fromkeys(("1302", "1303"), Reason.RATE),
}

# The HTTP status that a documented code or type of an error stands for (3.3, 2.1, 4.7), if it comes inside a 200.
# Errors that may follow after the call was passed to the vendor (internal, upstream, do_request_failed) are left out:
# such a call may have been paid for.
ERROR_KINDS: Mapping[str, int] = {
    **dict.fromkeys(("invalid_request_error", "invalid_request", "invalid_json", "missing_model"), 400),
    **dict.fromkeys(("authentication_error", "invalid_api_key"), 401),
    "insufficient_quota_error": 402,
    **dict.fromkeys(("permission_error", "invalid_model", "invalid_api_platform"), 403),
    **dict.fromkeys(("model_mapping_failed", "model_price_error", "invalid_channel_id"), 403),
    "not_found_error": 404,
    "request_too_large_error": 413,
    **dict.fromkeys(("rate_limit_error", "rate_limit_exceeded", "too_many_requests"), 429),
    **dict.fromkeys(("service_unavailable_error", "service_unavailable"), 503),
}

# The reason of a refusal, by its HTTP status. Any other status (408, 409, 5xx but 503, …) does not prove a refusal.
STATUS_REASONS: Mapping[int, Reason] = {
    400: Reason.INPUT,
    401: Reason.KEY,
    402: Reason.BALANCE,
    403: Reason.PROVIDER,
    404: Reason.PROVIDER,
    405: Reason.PROVIDER,
    413: Reason.INPUT,
    415: Reason.INPUT,
    422: Reason.INPUT,
    429: Reason.RATE,
    503: Reason.DOWN,
}
# The reasons that an error's text may give, by HTTP status. Gateways report an empty account, a policy violation or a
# throttle under any status of the first line, 200 included. Under a 5xx only a throttle is a refusal. A timeout (408,
# 504, 52x) or a conflict (409) is no refusal whatever its text says: the call may have been accepted.
ANY_REASON, THROTTLE = frozenset(Reason), frozenset({Reason.RATE})
BY_WORDS: Mapping[int, frozenset[Reason]] = {
    **dict.fromkeys((200, 400, 403, 422, 429), ANY_REASON),
    **dict.fromkeys((500, 502, 503, 529), THROTTLE),
}
# As names of an enumeration begin: TASK_STATUS_SUCCEED.
ENUM_PREFIX = re.compile(r"^(job|task|video)_((status|state)_)?|^(status|state)_")
# What Chinese words of a state begin with: 已完成, 视频生成成功.
ZH_PREFIX = re.compile(r"^(任务|视频|生成|处理|执行|制作|渲染|已经?)+")
# Marks, signs and spaces, also those of no width; but a question mark takes a word back.
WORD_EDGES = re.compile(r"^[^\w?]+|[^\w?]+$")
# Servers outside mainland China write the same words in traditional characters.
SIMPLIFIED = str.maketrans(
    "請過於頻訪問調並併發務隊滿數達負載飽緊張餘額費違規審風統網絡資較當處報錢點積夠帳戶達時敗視頻經執製終無獲係個體驟試後",
    "请过于频访问调并并发务队满数达负载饱紧张余额费违规审风统网络资较当处报钱点积够帐户达时败视频经执制终无获系个体骤试后",
)
REDIRECTS = frozenset({301, 302, 303, 307, 308})

# new-api's own check gives this type before it relays the call, for keys, channels and limits alike (4.7).
GATE_KIND = "new_api_error"

MONEY = r"(balance|credit|quota|fund)s?"
PARALLEL = r"(requests?|tasks?|jobs?|calls?|generations?|submissions?|connections?)"
UNDER_WAY = r"((active|concurrent|running|pending|queued|parallel|simultaneous|outstanding|video|api)[ _]){0,2}"
SERVERS = r"(systems?|servers?|services?|models?|engines?|gateways?|upstream|channels?)[ _]((is|are)[ _])?(\w+[ _])?"
SERVERS_ZH = r"(系统|[服伺]务?器|服务|上游|模型|通道|渠道|网络|接口|资源|算力|平台)(当前|目前|比较|过于|太|正|很)?"
# Whole phrases with their subject, because a prompt may hold a busy street or an overloaded cart.
THROTTLES = (
    r"(rate|request|qps|rpm|tpm|burst|frequency)[ _-]?limit(s|ed|ing|er)?(?![a-z])([ _](exceeded|reached|error))?",
    r"(request|call|access)[ _](rate|frequency)|(requests?|calls?|tokens?)[ _]per[ _](second|minute|hour|day)",
    r"frequent[ _](requests?|calls?)|resources?[ _](has[ _]been[ _]|is[ _])?exhausted",
    rf"too[ _]many[ _]{UNDER_WAY}{PARALLEL}|too[ _]frequent|requests?[ _]too[ _]fast|(please[ _])?slow[ _]down",
    r"throttl(ed|ing)|(parallel[ _]tasks?[ _])?over[ _]resource[ _]pack[ _]limit|parallel[ _]tasks?[ _](\w+[ _])?limit",
    r"(?<!optimistic[ _])(?<![a-z])concurrency(?![a-z]|[ _](conflict|violation|error|control))"
    r"([ _](limit|exceeded|reached))*",
    rf"concurrent[ _]({PARALLEL}[ _])?(\w+[ _]){{0,2}}(limit|quota|exceeded|reached)",
    r"(limit|max(imum)?|exceed(ed|s)?)[ _](\w+[ _]){0,3}concurrent(?![a-z])",
    rf"({SERVERS})?(?<![a-z])overload(ed)?(?![a-z])|{SERVERS}busy(?![a-z])",
    rf"max(imum)?[ _](number[ _]of[ _])?(parallel|active|concurrent|running|pending)[ _]{PARALLEL}",
    r"(at|over)[ _](full[ _])?capacity|capacity[ _](limit[ _])?(exceeded|reached)|queue[ _](is[ _])?(full|limit)",
    r"(insufficient|not[ _]enough|no)[ _](\w+[ _]){0,2}capacity(?![a-z])",
    r"リクエスト(数)?が多すぎ|요청이 너무 많|(人数|排队)(过多|较多|太多)|(qps|rpm|tpm)[ ]?(已?超|过高|达到)",
    r"频控|请求数限制|最多请求|资源不足|算力(不足|紧张)|负载(较|过|太|很)高",
    r"(请求|操作|访问|调用|提交)(过于|太|过|较)?频繁|频率(超|过|受?限)|(请求|访问|调用)(数|次数|量)?过(多|快|大|高)",
    r"并发(数|量|任务|请求|限制|上限|超|已|达|过)|并行任务|任务(数|数量)?(已达上限|已满|过多|超限)|队列已满|限流|限速|速率限制",
    rf"{SERVERS_ZH}繁忙|{SERVERS_ZH}?过载|负载已?(饱和|过高|过大)|{SERVERS_ZH}紧张",
    r"\bcode\W{1,4}130[23]\b",
    # "Too many requests" in the languages of gateways' other markets.
    r"zu viele (anfragen|aufgaben)|trop de (requêtes|demandes|tâches)|demasiad[ao]s (solicitudes|peticiones|tareas)",
    r"muitas (solicitações|requisições|tarefas)|troppe (richieste|attività)|слишком много (запросов|задач)",
    r"(quá|có quá) nhiều yêu cầu|terlalu banyak permintaan|çok fazla istek|คำขอมากเกินไป|طلبات كثيرة",
)
# Words in a code or message that say more than the status; the first pattern that matches counts.
REASON_WORDS: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (
        Reason.POLICY,
        re.compile(
            r"content[ _](policy|filter)|policy[ _]violation|violat\w+[ _].{0,30}polic|moderation|nsfw|\bsafety\b"
            r"|unsafe|(?<!case[- ])sensitive|risk[ _]control|敏感|违规|审核|风控"
        ),
    ),
    (
        Reason.BALANCE,
        re.compile(
            rf"(insufficient|not[ _](have[ _])?enough|out[ _]of)[ _](\w+[ _])?{MONEY}|exceeded your (current )?quota"
            r"|payment[ _]required|(please|need to)[ _]top[ _-]?up"
            r"|(积分|点数|金币|次数|资源包|账户|帐户)(余额|额度)?(已?(不足|不够|用完|用尽|耗尽))"
            rf"|{MONEY}[ _](\w+[ _])?(insufficient|exhausted|not[ _]enough)"
            r"|resource[ _]pack[ _](\w+[ _]){0,2}(exhausted|expired|depleted|used[ _]up)"
            r"|arrears|余额不足|额度不足|欠费|\bcode\W{1,4}110[012]\b"
        ),
    ),
    (Reason.RATE, re.compile("|".join(THROTTLES))),
    (
        Reason.BALANCE,
        re.compile(
            rf"{MONEY}[ _](\w+[ _])?exceeded|pre_consume|\bbalance\b( (is )?(too )?low)?|recharge|余额|额度|充值"
        ),
    ),
    # Not the caller's fault: another gateway may have the model.
    (Reason.PROVIDER, re.compile(r"(invalid|unsupported|unknown)[ _]model|model[ _](is[ _])?not[ _](found|supported)")),
)


def status_meaning(word: str, statuses: Mapping[str, str]) -> str | None:
    """The meaning of a status word in any spelling: running, completed or failed. None for an unknown word."""
    plain = WORD_EDGES.sub("", unicodedata.normalize("NFKC", word)).lower().translate(SIMPLIFIED)
    spelled = re.sub(r"[\s-]+", "_", plain)
    bare = ENUM_PREFIX.sub("", spelled)
    return next((statuses[form] for form in (spelled, bare, ZH_PREFIX.sub("", bare)) if form in statuses), None)


def reason_in_words(*texts: str, sent: str = "") -> Reason | None:
    """The reason that the words of an error give. Words that only repeat our own call (`sent`) do not count."""
    words, sent = _spelled(" ".join(texts)), _spelled(sent)
    return next((reason for reason, pattern in REASON_WORDS if _matches(pattern, words, sent)), None)


def _spelled(words: str) -> str:
    """In small letters and simplified characters, words written together with spaces between: RateLimitExceeded."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words).lower().translate(SIMPLIFIED)


def _matches(pattern: re.Pattern[str], words: str, sent: str) -> bool:
    return any(match[0] not in sent for match in pattern.finditer(words))
