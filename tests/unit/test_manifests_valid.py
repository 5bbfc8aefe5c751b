"""What the Kubernetes manifests render to is what Kubernetes and KEDA know."""

from __future__ import annotations

import copy
import json

import kubernetes_validate
import pytest
from cloudcoil.models.keda import v1alpha1 as keda

from tests.unit.manifests import (
    ALL,
    COMPONENTS,
    OVERLAYS,
    SHOWN,
    Json,
    container,
    of_kind,
    pod,
    rendered,
    workloads,
)

#: The oldest that docs/deploy.md names, and the newest that there are schemas of.
KUBERNETES = ("1.32", kubernetes_validate.latest_version())
KEDA = ("ScaledObject", "TriggerAuthentication")
PODS = ("distilq-api", "distilq-worker", "distilq-webhooks", "distilq-redis")


def distinct() -> list[Json]:
    """The objects of all overlays, each once."""
    found = {
        json.dumps(each, sort_keys=True): each
        for overlay in (*OVERLAYS, ALL, SHOWN)
        for each in rendered(overlay)
    }
    return list(found.values())


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_all_that_is_in_them(version: str) -> None:
    objects = [each for each in distinct() if each["kind"] not in KEDA]
    assert len(objects) > 20
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_a_word_that_kubernetes_does_not_know_is_found() -> None:
    wrong = copy.deepcopy(workloads()["distilq-api"])
    container(wrong)["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


def known_to_keda(given: Json) -> bool:
    """Whether nothing gets lost when KEDA's definitions read it; they ignore what is strange."""
    read = getattr(keda, given["kind"]).model_validate(given)
    return bool(read.model_dump(mode="json", by_alias=True, exclude_none=True) == given)


@pytest.mark.parametrize("kind", KEDA)
def test_keda_knows_all_that_is_in_its_objects(kind: str) -> None:
    [given] = of_kind(kind).values()
    assert known_to_keda(given)
    assert not known_to_keda(given | {"spec": given["spec"] | {"minReplicas": 1}})


def test_every_component_adds_what_it_is_for() -> None:
    assert COMPONENTS == ["gpu", "ingress", "keda", "redis", "s3", "webhooks"]
    assert set(workloads()) == set(PODS)
    assert of_kind("Ingress")
    assert of_kind("ScaledObject")
    assert not of_kind("PersistentVolumeClaim")  # s3 takes it away
    assert container(workloads()["distilq-worker"])["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_as_little_as_it_can(name: str) -> None:
    spec, only = pod(workloads()[name]), container(workloads()[name])
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in only["resources"]["limits"]
