"""How every adapter finds the clip in the answer about a finished task, however and wherever it is written."""

from __future__ import annotations

import json

import pytest
from recorded_answers import answer, around

CLIP = "https://files.example/f/clip.mp4"
COVER = "https://files.example/f/cover.jpg"
MARKED = "https://files.example/f/clip_watermark.mp4"
ODD_LINKS = [
    *(CLIP, f"{CLIP}\n", f"  {CLIP}", f"\t{CLIP} \r\n", CLIP.replace("https", "HTTPS"), CLIP.replace("https:", "")),
    *([CLIP], [[CLIP]], [[], [[CLIP]]], [COVER, CLIP], [MARKED, CLIP], [None, "", CLIP]),
    *(json.dumps(CLIP), json.dumps([CLIP]), json.dumps({"url": CLIP}), json.dumps(json.dumps([{"url": CLIP}]))),
    *({"url": CLIP}, [{"url": CLIP}], [{"url": [CLIP]}], {"videos": [{"url": CLIP}]}, {"video": {"url": CLIP}}),
    *({"video_url": CLIP}, {"videoUrl": [CLIP]}, {"url": COVER, "video_url": CLIP}, {"outputs": [{"url": CLIP}]}),
    [{"id": "v1", "cover_url": COVER, "watermark_url": MARKED, "url": CLIP, "duration": "5"}],
    [{"type": "image", "url": "https://files.example/f/1"}, {"type": "video", "url": CLIP}],
    {"cover": {"url": COVER}, "watermark_url": MARKED, "output": {"video_url": f" {CLIP}"}},
]
OTHER = "https://files.example/f/other.mp4"
# As texts of other formats have it.
COPIED_LINKS = [
    *(f"<{CLIP}>", f"'{CLIP}'", f"\ufeff{CLIP}\u200b", f"{CLIP}\0", f"{CLIP},", CLIP.replace("/", "\\/")),
    *(f"{CLIP},{OTHER}", f"{CLIP}; {OTHER}", f"{CLIP}\n{OTHER}", f"{CLIP}|{OTHER}", str([CLIP]), str({"url": CLIP})),
    *(f"[video]({CLIP})", f"![]({COVER}) ![]({CLIP})", f'<video src="{CLIP}"></video>', f"Here it is: {CLIP}."),
    *(
        f"url={CLIP}",
        f"视频地址：{CLIP}。",
        f"download:{CLIP}",
        f"【{CLIP}】",
        f"已生成，见{CLIP}"[:4] + f" {CLIP}，请下载",
    ),
    *(
        CLIP.removeprefix("https://"),
        {"content": f"Done! {CLIP}"},
        [{"message": {"content": f"[{OTHER[:-4]}]({CLIP})"}}],
    ),
]
# Beside or below names that not all gateways have.
NAMED_LINKS = [
    *({"url": MARKED, "url_no_watermark": CLIP}, {"url": OTHER, "no_watermark_url": CLIP}),
    *([{"resource": {"resource": CLIP}}], [{"resource": OTHER, "resource_without_watermark": CLIP}]),
    *({"video_list": [CLIP]}, {"video_result": [{"url": CLIP}]}, {"generatedSamples": [{"video": {"uri": CLIP}}]}),
    *({"assets": {"video": CLIP, "image": COVER}}, {"artifacts": [{"url": CLIP}]}, {"items": [{"play_url": CLIP}]}),
    *(
        {"media": [{"download_link": CLIP}]},
        {"list": {"output_urls": [CLIP]}},
        {"1": {"url": CLIP}, "3": {"url": OTHER}},
    ),
    [{"mimeType": "image/png", "url": "https://files.example/f/1"}, {"mimeType": "video/mp4", "url": CLIP}],
    [{"type": "no_watermark", "url": CLIP}, {"type": "watermark", "url": OTHER}],
    *({"video": {"720p": CLIP}}, {"videos": {"default": CLIP}}, {"url": {"hd": CLIP, "sd": OTHER}}, {"mp4": CLIP}),
    *({"video": {"origin": CLIP, "sd": OTHER}}, [{"name": "cover", "value": COVER}, {"name": "video", "value": CLIP}]),
    {"task": {"result": {"url": CLIP}}},
]
NO_LINKS = [
    *(None, "", " ", [], {}, [[]], [None], [{}], "soon", "/v1/videos/x", "ftp://files.example/clip.mp4", "[", '["'),
    *(COVER, [COVER], {"cover_url": COVER}, {"watermark_url": MARKED, "url": ""}, {"input": {"video_url": CLIP}}),
    *("see https://docs.example/errors", "files/clip.mp4", "data:video/mp4;base64,AAAA", "s3://bucket/clip.mp4"),
    *(
        {"callback_url": CLIP},
        {"poster": CLIP},
        {"message": "see https://docs.example/1"},
        [{"mimeType": "audio/mp4", "url": CLIP}],
    ),
    *({"image_url": CLIP}, [{"type": "audio", "url": "https://files.example/f/1"}], {"video_urls": [CLIP]}),
]


class LinkContract:
    """Inherited by AnswerContract."""

    link_at: tuple
    """Where an answer about a finished task holds its link, or what is around it."""
    linkless: str = "completed"
    """The recorded answer in which that is the only link."""

    def linked(self, value, name=None):
        """The recorded answer of a finished task with that in the place of its link."""
        body = self.sample(self.linkless)
        holder = around(body, self.link_at)
        holder.pop(self.link_at[-1], None)
        holder[name or self.link_at[-1]] = value
        return self.read_query(answer(200, body))

    @pytest.mark.parametrize(
        "name", ["videos", "outputs", "video_url", "url", "urls", "results", "result", "output", "resultUrls"]
    )
    @pytest.mark.parametrize("value", [CLIP, [CLIP], [{"url": CLIP, "cover_url": COVER}], f"{CLIP}\n"])
    def test_the_clip_is_found_under_every_name_that_gateways_have_for_it(self, name, value):
        assert self.linked(value, name).link.video_url == CLIP

    @pytest.mark.parametrize("values", [ODD_LINKS, COPIED_LINKS, NAMED_LINKS], ids=["odd", "copied", "named"])
    def test_the_clip_is_found_however_its_address_is_written(self, values):
        assert {json.dumps(value): self.linked(value).link.video_url for value in values} == {
            json.dumps(value): CLIP for value in values
        }

    def test_an_address_that_html_escaped_is_unescaped(self):
        for ampersand in ("&amp;", "&#38;", "&#038;", "&#x26;", "&AMP;", "\\u0026"):
            assert self.linked(f"{CLIP}?a=1{ampersand}b=2").link.video_url == f"{CLIP}?a=1&b=2", ampersand
        assert self.linked(f"{CLIP}?a\\u003d1").link.video_url == f"{CLIP}?a=1"

    def test_a_field_of_a_query_is_no_entity(self):
        for signed in (f"{CLIP}?a=1&copy=2&lt=3&amplitude=4", f"{CLIP}?a=%26amp%3B&sig=a%2Bb=="):
            assert self.linked(signed).link.video_url == signed

    def test_where_no_clip_is_named_none_is_made_up(self):
        for value in NO_LINKS:
            event = self.linked(value)
            if self.provider.content_path:
                assert event.link.video_url.endswith("/content"), value
            else:
                assert (event.message, event.finished) == ("the gateway says completed but gave no link", True), value
