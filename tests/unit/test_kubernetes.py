"""The manifests of deploy/kubernetes: what Kubernetes takes, with least rights, and in step with what Rushes is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from receiver_steps import environment
from test_containers import COMPOSE, seconds

from rushes.shared import services
from rushes.webhook_receiver.app import create_app

DEPLOY = Path(__file__).parents[2] / "deploy"
FOLDER = DEPLOY / "kubernetes"
NO_OBJECTS = {"kustomization.yaml", "external-metrics.yaml"}
# The oldest that is still common, and the newest that the validator knows.
VERSIONS = ("1.30", kubernetes_validate.latest_version())


def objects() -> Iterator[dict[str, Any]]:
    for file in sorted(FOLDER.glob("*.yaml")):
        if file.name not in NO_OBJECTS:
            yield from yaml.safe_load_all(file.read_text("utf-8"))


OBJECTS = {f"{each['kind']} {each['metadata']['name']}": each for each in objects()}
PODS = {
    name: each["spec"]["template"]["spec"] for name, each in OBJECTS.items() if each["kind"] in ("Deployment", "Job")
}
PROCESSES = ("web", "worker", "scheduler")


@pytest.mark.parametrize("name", OBJECTS)
def test_kubernetes_takes_it(name: str) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(OBJECTS[name], version, strict=True)


def test_kustomize_joins_all_of_it() -> None:
    kubectl = shutil.which("kubectl") or pytest.skip("no kubectl")
    built = subprocess.run([kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    made = {f"{each['kind']} {each['metadata']['name']}" for each in yaml.safe_load_all(built.stdout)}
    assert set(OBJECTS) - {"Job doctor"} <= made
    assert "image: rushes\n" not in built.stdout


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_no_more_than_it_must(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"secretRef": {"name": "rushes"}} in container["envFrom"]
    assert "env" not in container  # no secret stands in a manifest
    assert {"cpu", "memory"} == set(container["resources"]["requests"])


@pytest.mark.parametrize("name", PROCESSES)
def test_a_pod_is_given_the_time_that_its_process_takes_to_end(name: str) -> None:
    pod = PODS[f"Deployment {name}"]
    assert pod["terminationGracePeriodSeconds"] >= seconds(COMPOSE[name]["stop_grace_period"])


@pytest.mark.parametrize("name", PROCESSES)
def test_pods_run_what_the_procfile_runs_and_one_stays_while_nodes_are_drained(name: str) -> None:
    lines = dict(line.split(": ", 1) for line in (DEPLOY / "Procfile").read_text("utf-8").splitlines())
    assert " ".join(PODS[f"Deployment {name}"]["containers"][0]["command"]) == lines[name]
    assert OBJECTS[f"PodDisruptionBudget {name}"]["spec"]["minAvailable"] == 1
    scaler = OBJECTS.get(f"HorizontalPodAutoscaler {name}")
    assert (scaler["spec"]["minReplicas"] if scaler else OBJECTS[f"Deployment {name}"]["spec"]["replicas"]) == 2


def test_a_web_pod_that_waits_for_redis_or_the_bucket_stays_in_service() -> None:
    (web,) = PODS["Deployment web"]["containers"]
    paths = {web[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"/healthz"}


def test_the_internet_reaches_all_routes_but_those_that_are_for_us() -> None:
    (rule,) = OBJECTS["Ingress web"]["spec"]["rules"]
    paths = {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}
    routes = {route.rule for route in create_app(services.build(environment())).url_map.iter_rules()}
    tops = {(f"/{top}", "Prefix") if (top := route.split("/")[1]) else ("/", "Exact") for route in routes}
    assert paths == tops - {(own, "Prefix") for own in ("/metrics", "/healthz", "/readyz")}


def test_workers_are_scaled_by_a_metric_that_there_is() -> None:
    scaled = [metric for metric in OBJECTS["HorizontalPodAutoscaler worker"]["spec"]["metrics"] if "external" in metric]
    (name,) = {metric["external"]["metric"]["name"] for metric in scaled}
    assert f"{name}{{" in (DEPLOY / "alerts.yml").read_text("utf-8")  # whose names are compared with /metrics
    (adapter,) = yaml.safe_load((FOLDER / "external-metrics.yaml").read_text("utf-8"))["rules"]["external"]
    assert adapter["seriesQuery"].startswith(f"{name}{{")
    assert adapter["metricsQuery"].startswith("max(")


def test_settings_that_are_no_secrets_are_settings() -> None:
    known = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", (DEPLOY / "env.example").read_text("utf-8"), re.MULTILINE))
    given = [line.partition("=")[0] for line in (FOLDER / "settings.env").read_text("utf-8").splitlines()]
    assert [name for name in given if name not in known] == []
