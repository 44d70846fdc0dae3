"""The scrape configurations under deploy/prometheus are valid, and the one for Kubernetes keeps the
right pods and labels.

Debian's Prometheus is built without Kubernetes discovery. So the relabelling, which is what can be
wrong, runs in a real server on pods that a file lists with the labels that discovery would set.
"""
import json
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

SOURCE = Path(__file__).resolve().parents[3]
PROMETHEUS = SOURCE / "deploy/prometheus"
sys.path.append(str(SOURCE / "tests/support"))
from prometheus_tools import Prometheus, promtool  # noqa: E402


def pod(name, port_name, port, address="127.0.0.1", phase="Running", init="false", **labels):
    """A target as Kubernetes discovery of role pod gives it."""
    meta = {"namespace": "inference", "pod_name": name, "pod_node_name": "machine-1", "pod_phase": phase,
            "pod_container_init": init, "pod_container_port_name": port_name, "pod_container_port_number": str(port)}
    meta |= {f"pod_label_{label}": value for label, value in labels.items()}
    return {"targets": [f"{address}:{port}"],
            "labels": {f"__meta_kubernetes_{key}": value for key, value in meta.items()}}


class ScrapeConfigTest(unittest.TestCase):
    def test_the_static_one_is_valid_with_its_rules(self):
        promtool("check", "config", PROMETHEUS / "prometheus.yaml")

    def test_both_name_the_job_that_alerts_name(self):
        for file in ("prometheus.yaml", "prometheus_kubernetes.yaml"):
            jobs = [job["job_name"] for job in yaml.safe_load((PROMETHEUS / file).read_text())["scrape_configs"]]
            self.assertEqual(jobs, ["switchyard", "dcgm"], file)

    def test_on_kubernetes_each_running_node_is_one_target_with_its_pod_and_machine(self):
        node = {"app_kubernetes_io_name": "switchyard-node"}
        pods = {
            "switchyard": [pod("node-0", "metrics", 1, **node), pod("node-0", "grpc", 2, **node),
                           pod("node-0", "metrics", 3, init="true", **node),
                           pod("node-1", "metrics", 4, phase="Failed", **node),
                           pod("node-2", "metrics", 5, phase="Pending", **node)],
            "dcgm": [pod("exporter-a", "metrics", 9400, app="nvidia-dcgm-exporter"),
                     pod("exporter-b", "metrics", 9400, "127.0.0.2", app_kubernetes_io_name="dcgm-exporter"),
                     pod("web", "http", 9400, app="web"), pod("exporter-a", "other", 9401, app="nvidia-dcgm-exporter")],
        }
        config = yaml.safe_load((PROMETHEUS / "prometheus_kubernetes.yaml").read_text())
        with tempfile.TemporaryDirectory() as folder:
            config["rule_files"] = [str(PROMETHEUS / "rules/*.yaml")]
            for job in config["scrape_configs"]:
                self.assertEqual(job.pop("kubernetes_sd_configs")[0]["role"], "pod")
                file = Path(folder) / f"{job['job_name']}.json"
                file.write_text(json.dumps(pods[job["job_name"]]))
                job["file_sd_configs"] = [{"files": [str(file)]}]
            file = Path(folder) / "prometheus.yaml"
            file.write_text(yaml.safe_dump(config))
            promtool("check", "config", file)
            with Prometheus(file) as server:
                targets = server.wait_until(lambda: self.all_of(server.get("targets"), sum(map(len, pods.values()))))
        by_job = {}
        for target in targets:
            by_job.setdefault(target["labels"].pop("job"), []).append(target["labels"])
        self.assertEqual(by_job["switchyard"], [
            {"instance": "node-0", "namespace": "inference", "pod": "node-0", "node": "machine-1"},
            {"instance": "node-2", "namespace": "inference", "pod": "node-2", "node": "machine-1"}])
        self.assertEqual(by_job["dcgm"], [{"instance": "127.0.0.1:9400"}, {"instance": "127.0.0.2:9400"}])

    @staticmethod
    def all_of(answer, discovered):
        """The targets that are kept, once all were discovered."""
        if len(answer["activeTargets"]) + len(answer["droppedTargets"]) < discovered:
            return None
        return sorted(answer["activeTargets"], key=lambda target: target["labels"]["instance"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
