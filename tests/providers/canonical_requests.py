"""Requests in canonical words, as they are accepted, and values that each of their fields may have instead."""

from __future__ import annotations

from hypothesis import strategies as st

PICTURE, LAST, CLIP = "https://example.com/ref.png", "https://example.com/last.png", "https://example.com/ref-8s.mp4"

MOTION = {
    "model": "kling-v3-motion-control",
    "image_url": PICTURE,
    "video_url": CLIP,
    "character_orientation": "image",
    "mode": "std",
    "keep_original_sound": True,
    "watermark": False,
    "provider": "auto",
}
MOTION_26 = {**MOTION, "model": "kling-v2-6-motion-control"}
TEXT = {
    "model": "kling-v3",
    "prompt": "a desert at dusk",
    "mode": "std",
    "duration": 5,
    "aspect_ratio": "16:9",
    "sound": False,
    "watermark": False,
    "provider": "auto",
}
TEXT_26 = {**TEXT, "model": "kling-v2-6"}
IMAGE = {**TEXT, "image_url": PICTURE}
FIRST_LAST = {**IMAGE, "last_image_url": LAST}


def without(request, *names):
    return {name: value for name, value in request.items() if name not in names}


TIMED = [{"prompt": "she looks down", "duration": 2}, {"prompt": "and up", "duration": 3}]

CASES = {
    "motion": MOTION,
    "motion, all said": {
        **MOTION,
        "prompt": "she waves",
        "character_orientation": "video",
        "mode": "pro",
        "keep_original_sound": False,
    },
    "motion, watermark": {**MOTION, "watermark": True},
    "motion, element": {**MOTION, "character_orientation": "video", "element_ids": ["e1"]},
    "motion, no elements": {**MOTION, "element_ids": []},
    "motion, 4k": {**MOTION, "mode": "4k"},
    "motion 2.6": MOTION_26,
    "motion 2.6, watermark": {**MOTION_26, "watermark": True},
    "text": TEXT,
    "text, pro with sound": {**TEXT, "mode": "pro", "sound": True},
    "text, 4k": {**TEXT, "mode": "4k"},
    "text, negative prompt": {**TEXT, "negative_prompt": "blurred"},
    "text, cfg scale": {**TEXT, "cfg_scale": 0.5},
    "text, shot type": {**TEXT, "shot_type": "customize"},
    "text, intelligent shots": {**TEXT, "shot_type": "intelligent"},
    "text, timed shots": {**without(TEXT, "prompt"), "multi_prompt": TIMED},
    "text, watermark": {**TEXT, "watermark": True},
    "image": IMAGE,
    "image, no prompt": without(IMAGE, "prompt"),
    "image, shots": {**without(IMAGE, "prompt"), "multi_prompt": [{"prompt": "she looks down"}, {"prompt": "and up"}]},
    "image, timed shots": {**without(IMAGE, "prompt"), "multi_prompt": TIMED, "shot_type": "customize"},
    "first and last": FIRST_LAST,
    "first and last, all said": {**FIRST_LAST, "mode": "pro", "sound": True, "negative_prompt": "blurred"},
    "text 2.6": TEXT_26,
    "text 2.6, sound": {**TEXT_26, "mode": "pro", "sound": True},
    "text 2.6, voice": {**TEXT_26, "mode": "pro", "sound": True, "voice_ids": ["v1"]},
    "image 2.6": {**TEXT_26, "image_url": PICTURE},
    "image 2.6, no prompt": {**without(TEXT_26, "prompt"), "image_url": PICTURE},
    "first and last 2.6": {**TEXT_26, "image_url": PICTURE, "last_image_url": LAST},
}

# Why a gateway cannot do these that has no 4k.
NO_4K_MOTION = {"motion, 4k": "has no mode 4k with kling-v3-motion-control"}
NO_4K_TEXT = {"text, 4k": "has no mode 4k with kling-v3"}
# Why a gateway cannot do these that has no shots.
NO_SHOTS = {
    **dict.fromkeys(("text, shot type", "text, intelligent shots"), "has no way to say shot_type"),
    **dict.fromkeys(("text, timed shots", "image, shots"), "has no way to say multi_prompt"),
    "image, timed shots": "has no way to say multi_prompt, shot_type",
}
# Why a gateway cannot do these that has no Kling 2.6 but for motion.
NO_CLIP_26 = {case: "does not offer kling-v2-6" for case, request in CASES.items() if request["model"] == "kling-v2-6"}
# Why a gateway cannot do these that has motion control alone.
MOTION_ONLY = {
    case: f"does not offer {request['model']}"
    for case, request in CASES.items()
    if request["model"] in ("kling-v3", "kling-v2-6")
}

texts = st.text(min_size=1, max_size=12)
addresses = st.builds("https://example.com/{}".format, st.integers(1, 99))
shots = st.fixed_dictionaries({"prompt": texts}, optional={"duration": st.integers(1, 15)})
VALUES = {
    "prompt": texts,
    "negative_prompt": texts,
    "multi_prompt": st.lists(
        st.fixed_dictionaries({"prompt": texts}, optional={"duration": st.integers(1, 15)}), min_size=1
    ),
    "image_url": addresses,
    "last_image_url": addresses,
    "video_url": addresses,
    "character_orientation": st.sampled_from(["image", "video"]),
    "keep_original_sound": st.booleans(),
    "element_ids": st.lists(texts, min_size=1, max_size=1),
    "watermark": st.booleans(),
    "mode": st.sampled_from(["std", "pro", "4k"]),
    "duration": st.integers(3, 15),
    "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
    "sound": st.booleans(),
    "voice_ids": st.lists(texts, min_size=1, max_size=2),
    "cfg_scale": st.floats(0, 1),
    "shot_type": st.sampled_from(["customize", "intelligent"]),
}
