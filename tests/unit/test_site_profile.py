"""The profile `site` of compose: nginx, a bucket, replicas and Sentinels, as far as it can be tried without Docker."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import redis_server
from certificates import Authority
from patience import wait_until
from redis_server import RedisServer
from servers import running
from test_containers import COMPOSE
from test_nginx import NGINX

from rushes.deploy.sandbox.ports import free_ports

SITE = Path(__file__).parents[2] / "deploy" / "site"
ADDED = {name: each for name, each in COMPOSE.items() if each.get("profiles") == ["site"]}


def test_without_the_profile_it_is_what_it_was() -> None:
    assert set(COMPOSE) - set(ADDED) == {"redis", "web", "worker", "scheduler"}
    depended_on = {
        name for each in COMPOSE.values() if each not in ADDED.values() for name in each.get("depends_on", ())
    }
    assert depended_on & set(ADDED) == set()


@pytest.mark.parametrize("name", ADDED)
def test_each_file_that_is_mounted_is_there(name: str) -> None:
    sources = [volume.split(":")[0] for volume in ADDED[name].get("volumes", ())]
    missing = [source for source in sources if source.startswith("./") and not (SITE.parent / source).exists()]
    assert set(missing) <= {"./site/tls"}  # the user's certificate


@pytest.mark.skipif(NGINX is None, reason="no nginx: make infrastructure")
def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    names = {
        "/tmp/": f"{tmp_path}/",
        "/etc/nginx/tls/fullchain.pem": str(authority.certificate),
        "/etc/nginx/tls/key.pem": str(authority.key),
        "web:8000": "127.0.0.1:1",
        "store:9000": "127.0.0.1:2",
        "events {}": f"pid {tmp_path}/pid; events {{}}",
    }
    text = (SITE / "nginx.conf").read_text("utf-8")
    for name, here in names.items():
        assert name in text
        text = text.replace(name, here)
    (tmp_path / "nginx.conf").write_text(text, "utf-8")
    tried = [str(NGINX), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_sentinel_takes_its_configuration_and_finds_the_master(own_redis: RedisServer, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    text = (SITE / "sentinel.conf").read_text("utf-8").replace("port 26379", f"port {port}")
    text = text.replace("mymaster redis 6379", f"mymaster 127.0.0.1 {own_redis.port}")
    (tmp_path / "sentinel.conf").write_text(text, "utf-8")
    argv = [redis_server._executable(), str(tmp_path / "sentinel.conf"), "--sentinel"]
    with running("sentinel", argv), redis.Redis(port=port, decode_responses=True) as client:
        wait_until(lambda: master_port(client) == own_redis.port, "the Sentinel")


def master_port(client: Any) -> int:
    try:
        return int(client.sentinel_master("mymaster")["port"])
    except redis.RedisError:
        return 0
