"""What tests of deploy/kubernetes share: overlays as kubectl's kustomize builds them, and ways through them.

Import this first: it goes on in the python of build/tools/manifests (deploy/install_manifest_tools.sh), or
ends the test as skipped (77) where that is not installed.
"""
import functools
import os
import subprocess
import sys
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
KUBERNETES = SOURCE_DIR / "deploy/kubernetes"
TOOLS = SOURCE_DIR / "build/tools/manifests"

if subprocess.run([SOURCE_DIR / "deploy/install_manifest_tools.sh", "--check"], check=False).returncode != 0:
    print("SKIPPED: no manifest was checked; run deploy/install_manifest_tools.sh, which deploy/test.sh does")
    sys.exit(77)
if Path(sys.prefix).resolve() != TOOLS.resolve():
    os.execv(TOOLS / "bin/python3", [str(TOOLS / "bin/python3"), "-B", *sys.argv])

import yaml  # noqa: E402  only there

OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
# With nodes of their own; the others are applied beside one of these.
WITH_NODES = [name for name in OVERLAYS if name != "load-test"]
WITH_GPU = [name for name in WITH_NODES if name != "cpu-demo"]
KUBECTL = os.environ.get("SWITCHYARD_KUBECTL", str(TOOLS / "bin/kubectl"))
POD_KINDS = {"StatefulSet", "Deployment", "DaemonSet", "Job"}


def kustomize(folder):
    run = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    if run.returncode != 0 or "arning" in run.stderr:
        raise AssertionError(f"kubectl kustomize {folder}:\n{run.stderr}")
    return run.stdout


@functools.cache
def build(overlay):
    """An overlay's objects."""
    return list(yaml.safe_load_all(kustomize(KUBERNETES / "overlays" / overlay)))


def name_of(item):
    return f"{item['kind']}/{item['metadata']['name']}"


def of_kind(items, *kinds):
    return [item for item in items if item["kind"] in kinds]


def workloads(items):
    return [item for item in items if item["kind"] in POD_KINDS]


def pod_of(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def node_of(items):
    """The nodes' StatefulSet, its pod and its container."""
    (workload,) = [item for item in items if name_of(item) == "StatefulSet/switchyard-node"]
    pod = pod_of(workload)
    (container,) = pod["containers"]
    return workload, pod, container


def selects(selector, labels):
    """Whether a selector, plain or with matchLabels, matches; the expressions we do not use are refused."""
    assert "matchExpressions" not in selector, selector
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", selector).items())


def samples(overlay):
    """What is an operator's to make, as the overlay shows it: Secrets, mostly."""
    paths = sorted((KUBERNETES / "overlays" / overlay).glob("*.sample.yaml"))
    return [item for path in paths for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def keys_of(items, kind, name):
    """The keys of a ConfigMap or Secret, or None without such a one."""
    for item in items:
        if item["kind"] == kind and item["metadata"]["name"] == name:
            return {**item.get("data", {}), **item.get("binaryData", {}), **item.get("stringData", {})}
    return None


def file_at(items, pod, container, path):
    """The text of a file that a ConfigMap or Secret puts into a container, or None."""
    for mount in container.get("volumeMounts", []):
        if os.path.dirname(path) != mount["mountPath"]:
            continue
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
        kind = "ConfigMap" if "configMap" in volume else "Secret"
        source = volume.get("configMap", volume.get("secret", {}))
        keys = keys_of(items, kind, source.get("name", source.get("secretName"))) or {}
        return keys.get(os.path.basename(path))
    return None
