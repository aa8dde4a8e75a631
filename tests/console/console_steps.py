"""A person at the console without a browser: pages and forms as they come."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from factories import REQUEST
from flask import Flask
from receiver_steps import KEYS, Web
from werkzeug.test import TestResponse

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
# As Chromium 140 sends it.
BROWSERS_ACCEPT = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)


class Visitor:
    """One browser's cookies; `key` signs in at once."""

    def __init__(self, app: Flask, key: str | None = None) -> None:
        self.client = app.test_client()
        self.client.environ_base["HTTP_ACCEPT"] = BROWSERS_ACCEPT
        self.client.environ_base["wsgi.url_scheme"] = "https"
        if key:
            assert self.sign_in(key).status_code == 303

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def page(self, path: str) -> str:
        """The page's source; it must be there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def reads(self, path: str) -> str:
        """The page's words, without the marks between them."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.page(path))).split())

    def token(self, path: str = "/sign-in") -> str:
        """What the page gives its forms."""
        found = TOKEN.search(self.client.get(path, follow_redirects=True).text)
        assert found
        return found[1]

    def send(self, path: str, token: str | None = None, **fields: str) -> TestResponse:
        """A form, with this visitor's own token unless told otherwise."""
        held = self.token() if token is None else token
        return self.client.post(path, data={"csrf_token": held, **fields})

    def sign_in(self, key: str, onward: str = "/") -> TestResponse:
        return self.send("/sign-in", key=key, next=onward)

    def is_in(self) -> bool:
        return self.get("/").status_code == 200


def visitor(web: Web, tenant: str = "acme") -> Visitor:
    """A person who is signed in as that tenant."""
    return Visitor(web.app, KEYS[tenant])


def asking_for(prompt: str, **more: Any) -> dict[str, Any]:
    """What makes a standing job one with that prompt."""
    return {"request": {**REQUEST, "prompt": prompt, **more}}
