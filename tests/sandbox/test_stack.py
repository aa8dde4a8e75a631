"""The embedded parts, and the whole stack with processes that stand in for Rushes' own."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import stat
import sys

import pytest
from gateway_client import Client
from patience import PATIENCE_S, wait_until

from rushes.deploy.sandbox import redis, s3, stack
from rushes.deploy.sandbox.ports import NotReady, http_status
from rushes.deploy.sandbox.stack import Ports, Stack

WEB = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Web).serve_forever()
"""
PROCFILE = "web: python {root}/web.py\nworker: sleep 600\nscheduler: sleep 600\n"


def redis_says(port, command):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(4096).decode()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "web.py").write_text(WEB)
    (root / "Procfile").write_text(PROCFILE.format(root=root))
    return root


@pytest.fixture(scope="module")
def running(root, tmp_path_factory):
    foreign = {"RUSHES_DAILY_BUDGET_USD": "1", "AWS_PROFILE": "mine", "EVOLINK_API_KEY": "sk-real", "KEPT": "yes"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in foreign.items():
            patch.setenv(name, value)
        with Stack(
            tmp_path_factory.mktemp("data"), commands=root / "Procfile", extra_env={"SANDBOX_TASK_SECONDS": "0"}
        ) as running:
            yield running


def killed(running, name):
    """Kill a process of the stack and wait for its next life."""
    pid = running.processes()[name]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: running.processes().get(name, pid) != pid, name)


def web_env(running):
    return Client(running.ports.web).call("GET", "/").json


def test_a_started_stack_has_every_part_and_process(running):
    assert list(running.processes()) == ["redis", "s3", "gateways", "web", "worker", "scheduler"]
    assert redis.answers(running.ports.redis)
    assert s3.has_bucket(running.ports.s3, "rushes")
    assert http_status(running.ports.gateways, "/_sandbox/health") == 200


def test_the_processes_are_set_to_the_parts(running):
    env, ports = web_env(running), running.ports

    assert env["REDIS_URL"] == f"redis://127.0.0.1:{ports.redis}/0"
    assert (env["RUSHES_S3_BUCKET"], env["AWS_ENDPOINT_URL_S3"]) == ("rushes", f"http://127.0.0.1:{ports.s3}")
    assert (env["RUSHES_PUBLIC_URL"], env["PORT"]) == (running.url, str(ports.web))
    assert env["APIMART_BASE_URL"] == f"http://127.0.0.1:{ports.gateways}/apimart"
    assert env["RUSHES_API_KEYS"] == f"demo:{running.secrets.demo_key},admin:{running.secrets.admin_key}"
    assert (env["RUSHES_EGRESS_ALLOW"], env["SANDBOX_TASK_SECONDS"]) == ("127.0.0.0/8", "0")
    assert env["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable)


def test_nothing_of_the_callers_own_settings_reaches_the_stack(running):
    env = web_env(running)

    assert "RUSHES_DAILY_BUDGET_USD" not in env
    assert "AWS_PROFILE" not in env
    assert env["EVOLINK_API_KEY"] == "sandbox-evolink"
    assert env["KEPT"] == "yes"


def test_every_key_of_the_stack_is_taken_by_its_gateway(running):
    for gateway in stack.GATEWAYS:
        client = Client(running.ports.gateways, running.env[f"{gateway.upper()}_API_KEY"])
        assert client.submit(gateway).status == 200


def test_a_killed_redis_comes_back_with_what_it_had(running):
    assert redis_says(running.ports.redis, "SET kept yes") == "+OK\r\n"
    killed(running, "redis")
    wait_until(lambda: redis.answers(running.ports.redis), "redis")

    assert redis_says(running.ports.redis, "GET kept") == "$3\r\nyes\r\n"


def test_a_killed_s3_comes_back_with_its_bucket(running):
    killed(running, "s3")

    wait_until(lambda: s3.has_bucket(running.ports.s3, "rushes"), "s3")


def test_a_killed_process_comes_back(running):
    killed(running, "web")

    wait_until(lambda: http_status(running.ports.web, "/readyz") == 200, "web")


def test_what_the_processes_say_is_in_the_log(running):
    assert "worker    | started (pid" in (running.data_dir / "stack.log").read_text()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction"), ("bind", "127.0.0.1")],
)
def test_redis_is_durable_and_evicts_nothing(running, setting, value):
    assert redis_says(running.ports.redis, f"CONFIG GET {setting}").split("\r\n")[4] == value


def test_long_fields_do_not_swell_a_hash(running):
    redis_says(running.ports.redis, f"HSET job field {'x' * 1000}")

    assert redis_says(running.ports.redis, "OBJECT ENCODING job").split("\r\n")[1] in ("ziplist", "listpack")


def test_a_stack_keeps_its_secrets_and_shows_them_to_nobody(root, tmp_path):
    first, second = (Stack(tmp_path, commands=root / "Procfile").secrets for _ in range(2))

    assert first == second
    assert len({first.secret_key, first.demo_key, first.admin_key}) == 3
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "secrets.json").read_text())["demo_key"] == first.demo_key


def test_ports_that_were_given_are_kept_and_the_others_are_free_ones():
    settled = Ports(web=8000, redis=6390).with_free_ports()

    assert (settled.web, settled.redis) == (8000, 6390)
    assert len({settled.web, settled.redis, settled.s3, settled.gateways}) == 4


def test_a_stack_that_does_not_come_up_says_why_and_leaves_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(Stack, "_await_parts", lambda self: None)
    (tmp_path / "Procfile").write_text("web: sh -c 'echo no such setting; exit 1'\n")
    out = io.StringIO()
    failing = Stack(tmp_path / "data", commands=tmp_path / "Procfile", outputs=[out])

    def nobody(*_):
        wait_until(lambda: "no such setting" in out.getvalue(), "the reason")

    monkeypatch.setattr(stack, "http_status", nobody)
    monkeypatch.setattr(stack, "WEB_TIMEOUT_S", 0)

    with pytest.raises(NotReady, match=r"(?s)web did not answer.*no such setting"):
        failing.start()
    assert failing.processes() == {}


def test_a_stack_does_not_work_on_the_ledger_of_another_one(tmp_path, monkeypatch):
    monkeypatch.setattr(stack, "PART_TIMEOUT_S", 0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        second = Stack(tmp_path / "data", Ports(redis=port))

        with pytest.raises(NotReady, match=f"port {port} is taken"):
            second.start()

    assert second.processes() == {}
    assert not (tmp_path / "data" / "env").exists()


def test_redis_is_found_on_the_path_first(tmp_path, monkeypatch):
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert redis.executable() == str(own)


def test_redis_alone_runs_for_the_length_of_a_with(tmp_path):
    with redis.running(tmp_path / "redis") as url:
        port = int(url.split(":")[2].split("/")[0])
        assert redis_says(port, "PING") == "+PONG\r\n"

    assert not redis.answers(port)


def test_s3_alone_runs_for_the_length_of_a_with():
    with s3.running("clips") as endpoint:
        port = int(endpoint.rsplit(":", 1)[1])
        assert s3.has_bucket(port, "clips")
        assert not s3.has_bucket(port, "others")
