"""A visitor without a browser: signed in, with the token that every form of the console brings along."""

from __future__ import annotations

import re
from typing import Any

from flask.testing import FlaskClient
from receiver_steps import KEYS, Web
from werkzeug.test import TestResponse

TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')
TOKEN_OF_A_FORM = re.compile(r'name="csrf_token" value="([^"]+)"')
FORM_KEY = re.compile(r'name="form_key" value="([^"]+)"')
SCRIPT = {"Accept": "application/json"}


class Visitor:
    """A person, or the script of the page that the person looks at."""

    def __init__(self, web: Web, tenant: str = "acme") -> None:
        self.client: FlaskClient = web.app.test_client()
        self.token = self._token_of("/sign-in", TOKEN_OF_A_FORM)
        answer = self.client.post("/sign-in", data={"key": KEYS[tenant], "csrf_token": self.token})
        assert answer.status_code == 303, answer.text
        self.token = self._token_of("/spend", TOKEN)

    def _token_of(self, path: str, pattern: re.Pattern[str]) -> str:
        found = pattern.search(self.client.get(path).text)
        assert found
        return found[1]

    def page(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def form(self, path: str, **fields: Any) -> TestResponse:
        """Send a form as a person without scripts does."""
        return self.client.post(path, data={"csrf_token": self.token, **fields})

    def script(self, path: str, data: dict[str, Any], token: str | None = None) -> TestResponse:
        """Send it as the page's script does."""
        headers = {**SCRIPT, "X-CSRF-Token": self.token if token is None else token}
        return self.client.post(path, data=data, headers=headers, content_type="multipart/form-data")
