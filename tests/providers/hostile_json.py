"""JSON that no gateway promised: any at all, and recorded answers with one thing in them changed."""

from __future__ import annotations

from copy import copy

from hypothesis import strategies as st

NAMES = st.sampled_from(
    [
        *("code", "msg", "message", "data", "error", "id", "task_id", "taskId", "status", "state", "progress", "url"),
        *("result", "results", "result_url", "resultUrls", "resultJson", "param", "videos", "expires_at", "metadata"),
        *("fail_reason", "task_result", "task_info", "video_duration", "videoDuration", "cost", "failMsg", "failCode"),
    ]
)
ODD = [
    *("", " ", "completed", "SUCCESS", "failed", "FAILURE", "processing", "simmering", "success", "..", "a/b?c#d", "²"),
    *("https://example.com/clip.mp4", "https://", "https://[", "https://x:99999999/", "http://a@b\\c/", "data:,x"),
    *("https:// /", "https://x/\ud800", "https://x/" + "y" * 8200, "http://x\n.example/", "HTTPS://x/", "/v1/x"),
    *("30%", "1e999999999", "-1e999999999", "1e-999999999", "NaN", "-5", "\ud800", "\x00", "400", "503", "{}"),
    *('{"resultUrls": [1]}', "[", "[" * 2000, "policy violation", "余额不足", "x" * 600),
    *(None, True, False, 0, 1, -1, 200, 400, 402, 503, 10**18, 10**400, 0.3, 1e300, 1e-300, float("inf"), float("nan")),
    *([], {}, [[]], [None], ["https://example.com/clip.mp4"], {"url": ["https://example.com/clip.mp4"]}, {"data": []}),
]
LEAVES = st.sampled_from(ODD) | st.text(max_size=5)
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=5)
)


def paths(value, before=()):
    yield before
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from paths(inner, (*before, step))


def replaced(value, path, new):
    """The same with something else at the path."""
    if not path:
        return new
    copied, step = copy(value), path[0]
    copied[step] = replaced(value[step], path[1:], new) if path[1:] else new
    return copied


def odd_answers(samples):
    """Each of the samples with each of the odd values in the place of each of its parts, one at a time."""
    for sample in samples:
        for path in paths(sample):
            yield from (replaced(sample, path, odd) for odd in ODD)


@st.composite
def tampered(draw, samples):
    """One of the samples with anything in the place of one of its parts."""
    sample = draw(st.sampled_from(samples))
    return replaced(sample, draw(st.sampled_from(list(paths(sample)))), draw(ANY))
