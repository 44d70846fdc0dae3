"""Manifests say nothing to the programs that they do not know, and ask Prometheus for nothing that they do
not have."""
import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
import tomllib
import unittest
import urllib.request
from pathlib import Path

import manifests

BUILD_DIR = Path(os.environ["SWITCHYARD_BUILD_DIR"])
NODE = BUILD_DIR / "node/switchyard-node"
CLIENT = BUILD_DIR / "client/switchyard"
DEMO_MODEL = manifests.SOURCE_DIR / "deploy/demo-model"


def flags_of(*command):
    """The names in a --help."""
    text = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    return set(re.findall(r"^ +(?:-\w,)?--([a-z][a-z0-9-]*)", text, re.M))


@contextlib.contextmanager
def running_node(*flags):
    """A node on the demo model: name -> address, for grpc, metrics, admin."""
    node = subprocess.Popen([NODE, "serve", "--model", DEMO_MODEL, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                             "--metrics", "127.0.0.1:0", "--log-level", "error", *flags],
                            stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(60, node.kill)
    watchdog.start()
    try:
        yield dict(re.findall(r"(\w+)=(\S+)", node.stdout.readline()))
    finally:
        watchdog.cancel()
        node.kill()
        node.wait()
        node.stdout.close()


class FlagsTest(unittest.TestCase):
    def test_configurations_have_flags_that_the_node_has(self):
        flags = flags_of(NODE, "serve")
        self.assertIn("max-queue", flags)
        for path in sorted(manifests.KUBERNETES.glob("**/node.toml")):
            with self.subTest(path.relative_to(manifests.KUBERNETES)):
                keys = set(tomllib.loads(path.read_text(encoding="utf-8")))
                self.assertLessEqual(keys, flags)

    def test_the_node_takes_them(self):
        """But for files, which only a cluster mounts."""
        for path in sorted(manifests.KUBERNETES.glob("**/node.toml")):
            with self.subTest(path.relative_to(manifests.KUBERNETES)):
                lines = [line for line in path.read_text(encoding="utf-8").splitlines() if '= "/etc/' not in line]
                run = subprocess.run([NODE, "serve", "--config", "/dev/stdin", "--model", "/nonexistent",
                                      "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--metrics", "127.0.0.1:0"],
                                     input="\n".join(lines), capture_output=True, text=True, check=False, timeout=30)
                self.assertEqual(run.returncode, 1, run.stderr)
                self.assertIn("cannot load", run.stderr)

    def test_arguments_are_flags_of_the_programs(self):
        seen = set()
        for overlay in manifests.OVERLAYS:
            for workload in manifests.workloads(manifests.build(overlay)):
                for container in manifests.containers(manifests.pod_of(workload)):
                    program = {"node": [NODE, "serve"], "load": [CLIENT, "load"]}.get(container["name"])
                    used = {word.removeprefix("--").split("=")[0]
                            for word in container["args"] if word.startswith("--")}
                    if program is None:
                        script = (manifests.SOURCE_DIR / "deploy/fetch_weights.sh").read_text(encoding="utf-8")
                        known = set(re.findall(r"--([a-z-]+)", script.split("set -euo")[0]))
                    else:
                        known = flags_of(*program)
                    with self.subTest(overlay=overlay, container=container["name"]):
                        self.assertTrue(used)
                        self.assertLessEqual(used, known)
                        seen.add(container["name"])
        self.assertLessEqual({"node", "fetch", "wait-for-weights"}, seen)

    def test_autoscaling_asks_for_metrics_that_nodes_have(self):
        with running_node() as addresses:
            with urllib.request.urlopen(f"http://{addresses['metrics']}/metrics", timeout=10) as page:
                there = set(re.findall(r"^([a-z_:]+)", page.read().decode(), re.M))
        (scaled,) = manifests.of_kind(manifests.build("keda"), "ScaledObject")
        wanted = set(re.findall(r"switchyard_[a-z_]+", str([trigger["metadata"]["query"]
                                                            for trigger in scaled["spec"]["triggers"]])))
        self.assertEqual(len(wanted), 2)
        self.assertLessEqual(wanted, there)

    def test_the_endpoint_picker_finds_its_metrics_on_the_port_of_the_pool(self):
        items = manifests.build("gateway-api")
        _, pod, node = manifests.node_of(items)
        file = manifests.file_at(items, pod, node, "/etc/switchyard/node.toml")
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(file)
            config.flush()
            with running_node("--config", config.name) as addresses:
                with urllib.request.urlopen(f"http://{addresses['grpc']}/metrics", timeout=10) as page:
                    there = set(re.findall(r"^([a-z_:]+)", page.read().decode(), re.M))
        self.assertLessEqual({"vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"},
                             there)
        (pool,) = manifests.of_kind(items, "InferencePool")
        self.assertEqual(tomllib.loads(file)["listen"], f"0.0.0.0:{pool['spec']['targetPorts'][0]['number']}")
        picker = {"inferencepool": pool["spec"]["endpointPickerRef"]["name"]}
        ports = {port["port"] for policy in manifests.of_kind(items, "NetworkPolicy")
                 for rule in policy["spec"].get("ingress", []) for peer in rule["from"] for port in rule["ports"]
                 if "podSelector" in peer and manifests.selects(peer["podSelector"], picker)}
        self.assertEqual(ports, {"grpc"})

    def test_the_load_job_runs_on_the_demo_model(self):
        """Its very arguments, against one node and for two seconds."""
        items = manifests.build("load-test")
        (job,) = manifests.of_kind(items, "Job")
        pod = manifests.pod_of(job)
        (container,) = pod["containers"]
        workload = manifests.file_at(items, pod, container, "/etc/load/workload.json")
        with running_node() as addresses, tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "workload.json").write_text(workload)
            here = {"switchyard-node:50051": addresses["grpc"],
                    "switchyard-node-0.switchyard-node-pods:9464": addresses["metrics"],
                    "/etc/load/workload.json": f"{folder}/workload.json"}
            words = [here.get(word, word.replace("/results/", folder + "/")) for word in container["args"]]
            run = subprocess.run([CLIENT, *words, "--rate", "5", "--duration", "2", "--warmup", "0"],
                                 capture_output=True, text=True, check=False, timeout=90)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            report = json.loads((Path(folder) / "report.json").read_text())
            self.assertIn("schema", str(report)[:200])
            self.assertIn("<html", (Path(folder) / "report.html").read_text()[:500])


if __name__ == "__main__":
    unittest.main(verbosity=2)
