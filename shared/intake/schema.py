"""The schema of a job's request: its fields, for which models, within which limits (CONTRACT.md, POST /v1/jobs)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from rushes.shared.domain.job import moment_ms
from rushes.shared.providers import PROVIDERS

MOTION_MODELS = ("kling-v3-motion-control", "kling-v2-6-motion-control")
CLIP_MODELS = ("kling-v3", "kling-v2-6")
MODELS = (*MOTION_MODELS, *CLIP_MODELS)
COMMON = {"model", "prompt", "mode", "image_url", "watermark"}
RUSHES_FIELDS = {
    *("provider", "max_cost_usd", "priority", "not_before", "start_before", "batch", "callback_url", "metadata"),
}
MOTION_FIELDS = COMMON | RUSHES_FIELDS | {"video_url", "character_orientation", "keep_original_sound", "element_ids"}
CLIP_FIELDS = (
    COMMON
    | RUSHES_FIELDS
    | {"negative_prompt", "multi_prompt", "last_image_url", "duration", "aspect_ratio", "sound", "voice_ids"}
    | {"cfg_scale", "shot_type"}
)
# A presigned link of AWS that holds a session token has 1,200 to 4,000 characters; browsers and CDNs take 8,192.
INPUT_URL_CHARS, CALLBACK_URL_CHARS = 8192, 2048
METADATA_KEYS, METADATA_BYTES = 16, 4096
BATCH_CHARS = 64
TEXT_CHARS, ID_CHARS = 2500, 128
# Lengths of a clip by model, in seconds. A motion clip is as long as its reference.
DURATIONS_S: Mapping[str, Sequence[int]] = {"kling-v3": range(3, 16), "kling-v2-6": (5, 10)}
HALF_PAIR = re.compile("[\ud800-\udfff]")

# The patterns below are read by Python here, and by any JSON Schema validator in /openapi.json. They use no shorthand
# such as \s or \d, because each dialect means other characters by it.

# Characters that show nothing: blanks, line breaks, control characters.
INVISIBLE = r"\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
WITHOUT_NUL = r"[^\u0000]*"
# A blank prompt would be paid for and say nothing.
NOT_BLANK = rf"{WITHOUT_NUL}[^{INVISIBLE}]{WITHOUT_NUL}"
USD = r"[0-9]{1,9}(\.[0-9]{1,12})?"
ZERO_USD = r"[0.]*"
# A moment of this century as RFC 3339 has it, with its offset; days that no month has do not match.
DAY = (
    "20([0-9][0-9]-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))|([02468][048]|[13579][26])-02-29)"
)
MOMENT = rf"{DAY}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,9}})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
LABEL = "[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
# A last label that begins with a letter is of a host name; one with a digit may be another spelling of an IP address.
NAME = rf"({LABEL}\.)*[A-Za-z]([A-Za-z0-9_-]{{0,61}}[A-Za-z0-9])?"
# Only the plain spelling of a host: other letters, a final dot or a zone may be spellings of internal hosts.
HOST = rf"({LABEL}(\.{LABEL})*|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\])"
PATH = rf"([/?#][^{INVISIBLE}]*)?"
WEB_URL = re.compile(rf"[Hh][Tt][Tt][Pp][Ss]?://{HOST}(:([1-9][0-9]{{0,4}})?)?{PATH}")
S3_URL = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\u0000\u000a]+"


def is_valid_utf8(text: str) -> bool:
    """Whether UTF-8 can encode it; JSON may hold half of a surrogate pair, which it cannot."""
    return not HALF_PAIR.search(text)


def check_text(text: str) -> str:
    """The text, if Redis, S3 and the gateways can store it; raises ValidationError."""
    if not is_valid_utf8(text):
        raise ValidationError("Not valid UTF-8: it holds half of a surrogate pair.")
    if "\0" in text:
        raise ValidationError("It holds a NUL character.")
    return text


class Text(fields.String):
    """A string that can be written as UTF-8."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return check_text(str(super()._deserialize(value, attr, data, **kwargs)))


class Flag(fields.Field[bool]):
    """A JSON boolean, and nothing that only looks like one."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Not true or false.")
        return value


class Whole(fields.Field[int]):
    """A whole JSON number; as JSON Schema has it, `5.0` and `5e0` are 5."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError("Not a whole number.")
        return value


class Share(fields.Field[float]):
    """A JSON number from 0 to 1."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValidationError("Not a number from 0 to 1.")
        return value


class Dollars(fields.Field[str]):
    """Money as a decimal string."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(USD, value) or re.fullmatch(ZERO_USD, value):
            raise ValidationError('Not a positive amount as a decimal string, such as "0.50".')
        return value


class Moment(fields.Field[str]):
    """A moment with its offset, as RFC 3339 has it. It is kept as it was given."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(MOMENT, value):
            raise ValidationError("Not an ISO 8601 moment with its offset, such as 2026-12-01T08:00:00Z.")
        return value


class Preference(fields.Field[str | list[str]]):
    """`auto`, a gateway's name, or a list of names."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str | list[str]:
        names = value if isinstance(value, list) else [value]
        known = {*PROVIDERS, "auto"} if not isinstance(value, list) else set(PROVIDERS)
        if not names or not all(isinstance(name, str) and name in known for name in names):
            raise ValidationError(f"Give auto, one of {', '.join(PROVIDERS)}, or a list of these.")
        if len(set(names)) < len(names):
            raise ValidationError("A gateway is named twice.")
        return cast(str | list[str], value)


class CallbackUrl(Text):
    """An https address. Intake checks whether we may reach it."""

    max_chars: ClassVar[int] = CALLBACK_URL_CHARS
    also: ClassVar[str] = ""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if len(text) > self.max_chars:
            raise ValidationError(f"Longer than {self.max_chars} characters.")
        if not self._fits(text):
            raise ValidationError(f"Not an https address{self.also}.")
        return text

    def _fits(self, text: str) -> bool:
        return bool(WEB_URL.fullmatch(text)) and _is_url(text)


class InputUrl(CallbackUrl):
    """An https address, or `s3://bucket/key`."""

    max_chars = INPUT_URL_CHARS
    also = " or s3://bucket/key"

    def _fits(self, text: str) -> bool:
        return bool(re.fullmatch(S3_URL, text)) or super()._fits(text)


def _is_url(text: str) -> bool:
    try:
        _ = urlsplit(text).port
    except ValueError:  # a port beyond 65535, brackets around what is no address
        return False
    return True


CHECK_NOT_BLANK = validate.Regexp(rf"{NOT_BLANK}\Z", error="Blank.")
WORDS = [validate.Length(1, TEXT_CHARS), CHECK_NOT_BLANK]
IDS = validate.Length(1, ID_CHARS)


class ShotType(fields.String):
    """Kling's own API has `intelligence` where the gateways have `intelligent`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **kwargs))
        return SHOT_TYPE_SYNONYMS.get(text, text)


SHOT_TYPE_SYNONYMS = {"intelligence": "intelligent"}


class Shot(Schema):
    """One shot of a `multi_prompt`."""

    class Meta:
        unknown = RAISE

    prompt = Text(required=True, validate=WORDS)
    duration = Whole(validate=validate.Range(1, 15))


class Metadata(fields.Field[dict[str, str]]):
    """An object of strings, small enough to be returned in every document."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise ValidationError("Not an object of strings.")
        size = sum(len(check_text(text).encode()) for pair in value.items() for text in pair)
        if len(value) > METADATA_KEYS or size > METADATA_BYTES:
            raise ValidationError(f"More than {METADATA_KEYS} keys or {METADATA_BYTES} bytes.")
        return value


class JobRequest(Schema):
    """The body of POST /v1/jobs. Unknown fields are refused."""

    class Meta:
        unknown = RAISE

    model = fields.String(required=True, validate=validate.OneOf(MODELS))
    prompt = Text(validate=WORDS)
    negative_prompt = Text(validate=WORDS)
    multi_prompt = fields.List(fields.Nested(Shot), validate=validate.Length(1, 16))
    image_url = InputUrl()
    last_image_url = InputUrl()
    video_url = InputUrl()
    character_orientation = fields.String(validate=validate.OneOf(["image", "video"]))
    keep_original_sound = Flag()
    element_ids = fields.List(Text(validate=IDS), validate=validate.Length(max=1))
    watermark = Flag()
    mode = fields.String(validate=validate.OneOf(["std", "pro", "4k"]))
    duration = Whole()
    aspect_ratio = fields.String(validate=validate.OneOf(["16:9", "9:16", "1:1"]))
    sound = Flag()
    voice_ids = fields.List(Text(validate=IDS), validate=validate.Length(1, 16))
    cfg_scale = Share()
    shot_type = ShotType(validate=validate.OneOf(["customize", "intelligent"]))
    provider = Preference()
    max_cost_usd = Dollars()
    priority = Whole(validate=validate.Range(0, 9))
    not_before = Moment()
    start_before = Moment()
    batch = Text(validate=[validate.Length(1, BATCH_CHARS), CHECK_NOT_BLANK])
    callback_url = CallbackUrl()
    metadata = Metadata()

    @validates_schema(skip_on_field_errors=True)
    def check_combinations(self, data: dict[str, Any], **_: Any) -> None:
        """Check the rules that span several fields. Each problem is reported under the field that has to change."""
        problems = _misplaced(data)
        check = _motion_problems if data["model"] in MOTION_MODELS else _clip_problems
        further = {**check(data), **_time_problems(data)}
        problems.update({name: problem for name, problem in further.items() if name not in problems})
        if problems:
            raise ValidationError({name: [problem] for name, problem in problems.items()})


def _misplaced(data: Mapping[str, Any]) -> dict[str, str]:
    allowed = MOTION_FIELDS if data["model"] in MOTION_MODELS else CLIP_FIELDS
    return {name: f"Not a field of {data['model']}." for name in data if name not in allowed}


def _time_problems(data: Mapping[str, Any]) -> dict[str, str]:
    if "not_before" not in data or "start_before" not in data:
        return {}
    is_ordered = moment_ms(data["not_before"]) < moment_ms(data["start_before"])
    return {} if is_ordered else {"start_before": "Must be later than not_before."}


def _motion_problems(data: Mapping[str, Any]) -> dict[str, str]:
    required = ("image_url", "video_url", "character_orientation")
    problems = {name: f"Required for {data['model']}." for name in required if name not in data}
    if data.get("element_ids") and data.get("character_orientation") == "image":
        problems["character_orientation"] = "Must be video when element_ids is given."
    return problems


def _clip_problems(data: Mapping[str, Any]) -> dict[str, str]:
    rules = {
        "prompt": _prompt_problem(data),
        "multi_prompt": _shots_problem(data),
        "last_image_url": "Needs image_url, the first frame." if _lacks(data, "last_image_url", "image_url") else None,
        "duration": _duration_problem(data),
        "sound": _sound_problem(data),
        "voice_ids": _voice_problem(data),
    }
    return {name: problem for name, problem in rules.items() if problem}


def _lacks(data: Mapping[str, Any], name: str, required: str) -> bool:
    return name in data and required not in data


def _prompt_problem(data: Mapping[str, Any]) -> str | None:
    if "prompt" in data and "multi_prompt" in data:
        return "Excluded by multi_prompt."
    return "Required for text to video." if not {"prompt", "image_url", "multi_prompt"} & data.keys() else None


def _shots_problem(data: Mapping[str, Any]) -> str | None:
    # Every gateway that documents shots without a picture wants the length of each (PROVIDERS.md 11.1).
    is_timed = all("duration" in shot for shot in data.get("multi_prompt", ()))
    return None if is_timed or "image_url" in data else "Without image_url each shot needs a duration."


def _duration_problem(data: Mapping[str, Any]) -> str | None:
    if data.get("duration", 5) in DURATIONS_S[data["model"]]:
        return None
    allowed = "5 or 10" if data["model"] == "kling-v2-6" else "from 3 to 15"
    return f"Must be {allowed} with {data['model']}."


def _sound_problem(data: Mapping[str, Any]) -> str | None:
    has_no_sound = data["model"] == "kling-v2-6" and data.get("mode", "std") != "pro"
    return "Needs mode pro with kling-v2-6." if data.get("sound") and has_no_sound else None


def _voice_problem(data: Mapping[str, Any]) -> str | None:
    has_voices = data["model"] == "kling-v2-6" and data.get("sound")
    return None if has_voices or "voice_ids" not in data else "Only for kling-v2-6 with sound."


MOTION_DEFAULTS = {"mode": "std", "keep_original_sound": True, "watermark": False, "provider": "auto"}
CLIP_DEFAULTS = {
    "mode": "std",
    "duration": 5,
    "aspect_ratio": "16:9",
    "sound": False,
    "watermark": False,
    "provider": "auto",
}


FIELDS = tuple(JobRequest().fields)
NUMBERS = (Whole, Share)
# The fields that are JSON numbers, those of a shot included. `metadata` may have the same names; its values are text.
NUMBER_FIELDS = frozenset(
    name for schema in (JobRequest, Shot) for name, field in schema().fields.items() if isinstance(field, NUMBERS)
)


@lru_cache(maxsize=128)
def _schema(names: tuple[str, ...]) -> JobRequest:
    """The schema of these fields. A schema visits all of its fields, and takes longer to make than to use."""
    return JobRequest(only=[*dict.fromkeys(("model", *names))])


def validated(body: Any) -> dict[str, Any]:
    """The request with its defaults filled in; raises marshmallow's ValidationError with problems by field."""
    data: dict[str, Any] = _schema(tuple(name for name in FIELDS if name in body)).load(body)
    defaults = MOTION_DEFAULTS if data["model"] in MOTION_MODELS else CLIP_DEFAULTS
    return {**data, **{name: value for name, value in defaults.items() if name not in data}}
