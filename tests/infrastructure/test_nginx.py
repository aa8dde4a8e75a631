"""The receiver behind a real nginx, which ends TLS and serves it under a path beside other sites."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from certificates import self_signed
from patience import PATIENCE_S, wait_until
from real_server import Server, serving
from receiver_steps import KEYS
from servers import INSTALLED

from rushes.deploy.sandbox.ports import free_ports, http_status

NGINX = shutil.which("nginx", path=f"{INSTALLED / 'bin'}:/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx: make infrastructure")

PREFIX = "/films/rushes"
# proxy_pass with a path strips the prefix, and without one passes it on.
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; listen 127.0.0.1:{plain};
    ssl_certificate {folder}/both.pem; ssl_certificate_key {folder}/both.pem;
    location {prefix}/ {{
      proxy_pass http://127.0.0.1:{upstream}{path};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, port: int, plain: int, upstream: int, path: str) -> Iterator[None]:
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, plain=plain, upstream=upstream, prefix=PREFIX, path=path))
    process = subprocess.Popen([str(NGINX), "-e", folder / "error.log", "-p", folder, "-c", config])
    try:
        wait_until(lambda: process.poll() is not None or http_status(plain, f"{PREFIX}/healthz") == 200, "nginx")
        assert process.poll() is None, (folder / "error.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait()


class Site:
    """The receiver as a stranger sees it."""

    def __init__(self, url: str, authorities: str, server: Server) -> None:
        self.url, self.server = url, server
        self.context = ssl.create_default_context(cafile=authorities)

    def call(
        self, method: str, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        connection = HTTPSConnection(urlsplit(self.url).netloc, context=self.context, timeout=PATIENCE_S)
        body = urlencode(form) if form else None
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        connection.request(method, path, body, {**kind, **headers})
        response = connection.getresponse()
        answer = (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read().decode(),
        )
        connection.close()
        return answer

    def sign_in(self, key: str, **headers: str) -> tuple[int, str, str]:
        """Status, Location and cookie of a try by a browser with no past."""
        _, given, page = self.call("GET", f"{PREFIX}/sign-in")
        token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
        cookie = given["set-cookie"]
        form = {"csrf_token": token, "key": key}
        status, answer, _ = self.call("POST", f"{PREFIX}/sign-in", form, Cookie=cookie.partition(";")[0], **headers)
        return status, answer.get("location", ""), cookie


MANY = 200


@pytest.fixture(scope="module", params=["/", ""], ids=["strips the prefix", "passes it on"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tmp_path = tmp_path_factory.mktemp("nginx")
    authorities, _ = self_signed("localhost", tmp_path)
    port, plain = free_ports(2)
    url = f"https://localhost:{port}{PREFIX}"
    settings = {"RUSHES_PUBLIC_URL": url, "RUSHES_TRUSTED_PROXIES": "127.0.0.0/8"}
    with serving(tmp_path / "log", **settings) as server, nginx(tmp_path, port, plain, server.port, request.param):
        yield Site(url, authorities, server)


def test_the_console_is_reached_over_tls_under_the_path(site: Site) -> None:
    status, location, cookie = site.sign_in(KEYS["acme"])

    assert (status, location) == (303, f"{PREFIX}/")
    assert {"Secure", f"Path={PREFIX}"} < set(cookie.split("; "))
    status, answer, _ = site.call("GET", f"{PREFIX}/")
    assert (status, answer["location"]) == (302, f"{PREFIX}/sign-in")
    status, _, page = site.call("GET", f"{PREFIX}/sign-in")
    assets = [part.partition('"')[0] for part in page.split('="')[1:] if part.startswith("/") and "static" in part]
    assert [site.call("GET", asset)[0] for asset in assets] == [200] * 3


def test_many_wrong_keys_of_one_client_lock_nobody_else_out(site: Site) -> None:
    """nginx adds 127.0.0.1, so what is before it is from a proxy of ours too, as from a load balancer."""
    guesser, other = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.10"}

    guesses = [site.sign_in(f"guess-{n}", **guesser)[0] for n in range(10)]
    while guesses[-1] == 401 and len(guesses) < MANY:  # they are counted anew each minute
        guesses.append(site.sign_in(f"guess-{len(guesses)}", **guesser)[0])

    assert guesses[:10] == [401] * 10
    assert guesses[-1] == 429
    assert site.sign_in("guess", **other)[0] == 401
    assert site.sign_in(KEYS["acme"], **guesser)[0] == 303
    (line,) = [line for line in site.server.log.read_text("utf-8").splitlines() if "many wrong keys" in line]
    assert "203.0.113.9" in line


def test_a_gateway_reaches_the_address_that_it_was_given(site: Site) -> None:
    status, _, body = site.call("POST", f"{PREFIX}/callbacks/apimart/job_x/token", {"a": "b"})

    assert (status, "not_found" in body) == (404, True)
    assert site.call("GET", f"{PREFIX}/openapi.json")[0] == 200
