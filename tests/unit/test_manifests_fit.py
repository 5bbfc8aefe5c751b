"""The Kubernetes manifests fit together, and to images, settings and routes."""

from __future__ import annotations

import json
import re
import shlex
from importlib import metadata
from urllib.parse import urlsplit

import pytest
import yaml

from api.operations import OPERATIONS
from distilq.cli import programs
from distilq.settings import Settings
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client
from tests.unit.manifests import (
    ALL,
    FOLDER,
    OVERLAYS,
    PAGE,
    SHOWN,
    container,
    mounts,
    of_kind,
    pod,
    ports,
    secrets_of,
    selected,
    sources,
    workloads,
)

ROOT = FOLDER.parents[1]
#: What the Dockerfile says of each of its targets.
IMAGES = dict(
    re.findall(
        r"^FROM base AS (api|worker)\n(.*?)(?=^FROM|\Z)",
        (ROOT / "Dockerfile").read_text(),
        re.M | re.S,
    )
)
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
API, WORKER = "distilq-api", "distilq-worker"


@pytest.mark.parametrize("overlay", [*OVERLAYS, ALL, SHOWN])
def test_whatever_an_object_names_is_there(overlay: str) -> None:
    for service in of_kind("Service", overlay=overlay).values():
        [behind] = selected(service["spec"]["selector"], overlay)
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports(behind))
    for budget in of_kind("PodDisruptionBudget", overlay=overlay).values():
        assert len(selected(budget["spec"]["selector"]["matchLabels"], overlay)) == 1
    for policy in of_kind("NetworkPolicy", overlay=overlay).values():
        assert selected(policy["spec"]["podSelector"].get("matchLabels", {}), overlay)
    for scaler in of_kind("HorizontalPodAutoscaler", "ScaledObject", overlay=overlay).values():
        target = workloads(overlay)[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]
    for workload in workloads(overlay).values():
        for name in sources("configMapRef", workload):
            assert name in of_kind("ConfigMap", overlay=overlay)
        for volume in mounts(workload).values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in of_kind("PersistentVolumeClaim", overlay=overlay)


@pytest.mark.parametrize(
    ("name", "key"),
    [(API, "distilq_redis_url"), (WORKER, "distilq_redis_url"), ("distilq-redis", "users.acl")],
)
def test_the_trial_brings_the_secrets_that_its_pods_mount(name: str, key: str) -> None:
    [secret] = secrets_of(workloads("trial")[name])
    assert of_kind("Secret", overlay="trial")[secret]["data"].keys() == {key}


def test_the_page_names_every_secret_that_somebody_has_to_make() -> None:
    [keda], [ingress] = of_kind("TriggerAuthentication").values(), of_kind("Ingress").values()
    names = [name for each in workloads().values() for name in secrets_of(each)]
    names += [keda["spec"]["secretTargetRef"][0]["name"], ingress["spec"]["tls"][0]["secretName"]]
    assert len(names) == 7
    for name in names:
        assert f"`{name}`" in PAGE, name


def test_the_settings_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for config in of_kind("ConfigMap").values():
        given = config["data"] | {"DISTILQ_SECRETS_DIR": str(tmp_path)}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        known = {f"DISTILQ_{name.upper()}" for name in Settings.model_fields}
        assert given.keys() <= known
        assert Settings.from_env().model_fields_set == {
            n.removeprefix("DISTILQ_").lower() for n in given
        }
    for each in (API, WORKER, "distilq-webhooks"):
        assert {v["name"] for v in container(workloads()[each]).get("env", ())} <= known


def test_what_settings_and_images_say_is_a_directory_is_mounted() -> None:
    [config] = of_kind("ConfigMap").values()
    for name in (API, WORKER, "distilq-webhooks"):
        found = mounts(workloads()[name])
        assert config["data"]["DISTILQ_SECRETS_DIR"] in found
        assert "/tmp" in found  # noqa: S108 (a path in a pod)
    [config] = of_kind("ConfigMap", overlay="cpu").values()
    files = config["data"]["DISTILQ_STORAGE_URL"].removeprefix("file://")
    assert "persistentVolumeClaim" in mounts(workloads("cpu")[API])[files]
    [models] = re.findall(r"HF_HOME=(\S+)", IMAGES["worker"])
    assert models in mounts(workloads()[WORKER])


def test_pods_run_as_their_images_do() -> None:
    for image, name in (("api", API), ("worker", WORKER), ("api", "distilq-webhooks")):
        [(user, group)] = re.findall(r"^USER (\d+):(\d+)$", IMAGES[image], re.M)
        context = pod(workloads()[name])["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    [port] = re.findall(r"^EXPOSE (\d+)$", IMAGES["api"], re.M)
    assert ports(workloads()[API]) == {"http": int(port)}
    assert (
        container(workloads()["distilq-webhooks"])["command"]
        == COMPOSE["services"]["webhooks"]["command"].split()
    )


def test_a_worker_is_asked_for_its_heartbeat_as_by_its_image() -> None:
    [command] = re.findall(r"^HEALTHCHECK .*CMD (.*)$", IMAGES["worker"], re.M)
    for probe in ("startupProbe", "readinessProbe"):
        assert container(workloads()[WORKER])[probe]["exec"]["command"] == json.loads(command)


def test_without_a_worker_the_api_stays_in_its_service() -> None:
    client = make_client(MemoryStore())
    assert client.get("/readyz").status_code == 503
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container(workloads()[API])[probe]["httpGet"]["path"]
        assert client.get(path).status_code == 200
        assert OPERATIONS["get", path].access == "open"


def test_nobody_is_killed_while_he_ends_in_good_order() -> None:
    [config] = of_kind("ConfigMap").values()
    drain_s = float(config["data"]["DISTILQ_DRAIN_S"])
    assert pod(workloads()[WORKER])["terminationGracePeriodSeconds"] >= drain_s + 30
    pause_s = container(workloads()[API])["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = pod(workloads()[API])["terminationGracePeriodSeconds"]
    assert grace_s > pause_s + programs.API_STOP_S
    assert Settings.model_fields["max_wait_s"].default > pause_s


def test_keda_asks_for_numbers_that_the_api_gives() -> None:
    [scaled] = of_kind("ScaledObject").values()
    [service] = [each for name, each in of_kind("Service").items() if name == API]
    answer = json.loads(make_client(MemoryStore()).get("/v1/queue").text)
    for trigger in scaled["spec"]["triggers"]:
        url = urlsplit(trigger["metadata"]["url"])
        assert url.hostname == f"{API}.{service['metadata']['namespace']}.svc.cluster.local"
        assert url.port == service["spec"]["ports"][0]["port"]
        assert ("get", url.path) in OPERATIONS
        assert isinstance(answer[trigger["metadata"]["valueLocation"]], int)


def test_a_worker_has_as_many_threads_as_it_may_use_cores() -> None:
    only = container(workloads()[WORKER])
    [threads] = [each for each in only["env"] if each["name"] == "DISTILQ_THREADS"]
    assert threads["valueFrom"] == {"resourceFieldRef": {"resource": "limits.cpu"}}
    assert int(only["resources"]["limits"]["cpu"]) >= 1


def test_redis_is_started_as_by_compose() -> None:
    only, there = container(workloads()["distilq-redis"]), COMPOSE["services"]["redis"]
    assert only["image"] == there["image"]
    options = shlex.split(there["command"])
    assert set(options) - {"/run/secrets/users.acl"} <= set(only["args"])
    user = pod(workloads()["distilq-redis"])["securityContext"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == there["user"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_names_images_of_this_version(overlay: str) -> None:
    for name in (API, WORKER):
        tag = container(workloads(overlay)[name])["image"].rpartition(":")[2]
        assert tag.removesuffix("-cuda") == metadata.version("distilq")
