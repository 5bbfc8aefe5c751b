"""The manifests of deploy/kubernetes as `kubectl kustomize` renders them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import secrets

Json = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (FOLDER / "components").iterdir())
#: Not among them: the base with every component, and the one that docs/deploy.md shows.
ALL, SHOWN = "all components", "shown"
PAGE = (FOLDER.parents[1] / "docs/deploy.md").read_text()


@cache
def rendered(overlay: str) -> list[Json]:
    """Its objects, with secrets of this run where it has any."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(FOLDER, f"{folder}/kubernetes")) / "overlays"
        secrets.write(root / "trial/secrets", ["bundled"], "distilq-redis:6379")
        kustomization = {
            "resources": ["../../base"],
            "components": [f"../../components/{name}" for name in COMPONENTS],
        }
        _write(root / ALL, yaml.safe_dump(kustomization))
        _write(root / SHOWN, *re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S))
        command = [_kubectl(), "kustomize", str(root / overlay)]
        said = subprocess.run(command, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    return list(yaml.safe_load_all(said.stdout))


def _write(overlay: Path, kustomization: str) -> None:
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(kustomization)


def _kubectl() -> str:
    """That of the environment, or of PATH; without one a test is skipped here and fails in CI."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which("kubectl", path=path)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("needs kubectl, which the group dev has")
        pytest.skip("needs kubectl")
    return found


def of_kind(*kinds: str, overlay: str = ALL) -> dict[str, Json]:
    """Objects of these kinds by their names."""
    found = [each for each in rendered(overlay) if each["kind"] in kinds]
    return {each["metadata"]["name"]: each for each in found}


def workloads(overlay: str = ALL) -> dict[str, Json]:
    """What has pods."""
    return of_kind("Deployment", "StatefulSet", overlay=overlay)


def pod(workload: Json) -> Json:
    spec: Json = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Json) -> Json:
    """The only one of its pods."""
    [found] = pod(workload)["containers"]
    assert isinstance(found, dict)
    return found


def ports(workload: Json) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(workload).get("ports", ())}


def mounts(workload: Json) -> dict[str, Json]:
    """Volumes by the path where they are."""
    volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
    templates = workload["spec"].get("volumeClaimTemplates", ())
    volumes |= {template["metadata"]["name"]: template for template in templates}
    return {
        each["mountPath"]: volumes[each["name"]] for each in container(workload)["volumeMounts"]
    }


def sources(kind: str, workload: Json) -> list[str]:
    """What its variables come from."""
    given = container(workload).get("envFrom", ())
    return [each[kind]["name"] for each in given if kind in each]


def secrets_of(workload: Json) -> list[str]:
    """Those that its pods need."""
    volumes = [
        each["secret"]["secretName"] for each in mounts(workload).values() if "secret" in each
    ]
    return [*volumes, *sources("secretRef", workload)]


def selected(labels: Json, overlay: str) -> list[Json]:
    """The workloads whose pods have all these labels."""
    return [
        each
        for each in workloads(overlay).values()
        if labels.items() <= each["spec"]["template"]["metadata"]["labels"].items()
    ]
