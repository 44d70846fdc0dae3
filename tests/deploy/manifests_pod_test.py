"""Pods are what they must be to start, to drain and to be safe: the values, in every overlay."""
import re
import tomllib
import unittest

import manifests
from manifests import build, containers, node_of, of_kind, pod_labels, pod_of, selects, workloads

ADMIN_PORT = 50052


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


class PodTest(unittest.TestCase):
    def each_node(self):
        self.assertGreater(len(manifests.WITH_NODES), 4)
        for overlay in manifests.WITH_NODES:
            yield overlay, build(overlay), *node_of(build(overlay))

    def each_pod(self):
        for overlay in manifests.OVERLAYS:
            for workload in workloads(build(overlay)):
                yield f"{overlay}: {manifests.name_of(workload)}", pod_of(workload)
            for pod in of_kind(manifests.samples(overlay), "Pod"):
                yield f"{overlay}: {manifests.name_of(pod)}", pod["spec"]

    def test_probes_ask_three_services_on_the_admin_port(self):
        for where, _, _, _, node in self.each_node():
            with self.subTest(where):
                wanted = {"startupProbe": ("startup", 10, 180, 1), "readinessProbe": ("readiness", 2, 2, 1),
                          "livenessProbe": ("liveness", 10, 6, 5)}
                for probe, (service, period, failures, timeout) in wanted.items():
                    with self.subTest(probe):
                        self.assertEqual(node[probe]["grpc"], {"port": ADMIN_PORT, "service": service})
                        self.assertEqual(node[probe]["periodSeconds"], period)
                        self.assertEqual(node[probe]["failureThreshold"], failures)
                        self.assertEqual(node[probe].get("timeoutSeconds", 1), timeout)

    def test_there_is_time_to_leave_and_to_drain(self):
        for where, items, _, pod, node in self.each_node():
            with self.subTest(where):
                config = tomllib.loads(manifests.file_at(items, pod, node, "/etc/switchyard/node.toml"))
                leave = node["lifecycle"]["preStop"]["sleep"]["seconds"]
                self.assertEqual(leave, 15)
                self.assertEqual(pod["terminationGracePeriodSeconds"], leave + seconds(config["drain-limit"]) + 15)

    def test_nodes_start_side_by_side_and_are_replaced_one_by_one(self):
        for where, items, workload, pod, _ in self.each_node():
            with self.subTest(where):
                self.assertEqual(workload["spec"]["podManagementPolicy"], "Parallel")
                self.assertEqual(workload["spec"]["updateStrategy"]["type"], "RollingUpdate")
                (budget,) = [item for item in of_kind(items, "PodDisruptionBudget")
                             if selects(item["spec"]["selector"], pod_labels(workload))]
                self.assertEqual(budget["spec"]["maxUnavailable"], 1)
                spread = {rule["topologyKey"]: rule for rule in pod["topologySpreadConstraints"]}
                self.assertEqual(set(spread), {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})
                for rule in spread.values():
                    self.assertEqual(rule["whenUnsatisfiable"], "ScheduleAnyway")
                    self.assertTrue(selects(rule["labelSelector"], pod_labels(workload)))
                self.assertNotIn("requiredDuringSchedulingIgnoredDuringExecution", pod["affinity"]["podAntiAffinity"])

    def test_every_pod_passes_the_restricted_standard_and_more(self):
        for where, pod in self.each_pod():
            with self.subTest(where):
                context = pod["securityContext"]
                self.assertTrue(context["runAsNonRoot"])
                self.assertGreater(context["runAsUser"], 0)
                self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod))
                for volume in pod.get("volumes", []):
                    self.assertLessEqual(set(volume) - {"name"},
                                         {"configMap", "secret", "emptyDir", "persistentVolumeClaim"})
                for container in containers(pod):
                    own = container["securityContext"]
                    self.assertEqual(own, {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                           "capabilities": {"drop": ["ALL"]}})
                    self.assertFalse([port for port in container.get("ports", []) if "hostPort" in port])
                    self.assertIn("memory", container["resources"]["requests"])

    def test_what_a_pod_need_not_write_it_cannot(self):
        for where, pod in self.each_pod():
            with self.subTest(where):
                writable = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
                for container in containers(pod):
                    for mount in container["volumeMounts"]:
                        if mount["name"] not in writable and container["name"] not in ("fetch", "load"):
                            self.assertTrue(mount.get("readOnly"), f"{container['name']}: {mount['name']}")

    def test_no_pod_gets_a_token_of_the_cluster(self):
        for overlay in manifests.OVERLAYS:
            for account in of_kind(build(overlay), "ServiceAccount"):
                self.assertIs(account["automountServiceAccountToken"], False)
            self.assertFalse(of_kind(build(overlay), "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"))
        for where, pod in self.each_pod():
            with self.subTest(where):
                self.assertIs(pod["automountServiceAccountToken"], False)
                # Variables SWITCHYARD_... are the node's flags.
                self.assertIs(pod["enableServiceLinks"], False)

    def test_gpus_are_asked_for_in_gpu_overlays_only(self):
        for overlay in manifests.WITH_NODES:
            with self.subTest(overlay):
                _, pod, node = node_of(build(overlay))
                gpus = node["resources"].get("limits", {}).get("nvidia.com/gpu")
                tolerated = [entry["key"] for entry in pod.get("tolerations", [])]
                if overlay in manifests.WITH_GPU:
                    self.assertEqual((gpus, tolerated), ("1", ["nvidia.com/gpu"]))
                    self.assertIn("nodeAffinity", pod["affinity"])
                    self.assertTrue(node["image"].endswith("-cuda"), node["image"])
                else:
                    self.assertEqual((gpus, tolerated), (None, []))
                    self.assertNotIn("nvidia", str(pod))

    def test_images_have_this_version(self):
        version = re.search(r"project\(switchyard VERSION (\S+)",
                            (manifests.SOURCE_DIR / "CMakeLists.txt").read_text()).group(1)
        for where, pod in self.each_pod():
            with self.subTest(where):
                for container in containers(pod):
                    self.assertRegex(container["image"], rf"^switchyard-(node|weights):{re.escape(version)}(-cuda|-demo)?$")

    def test_the_namespace_enforces_what_pods_promise(self):
        for where, items, *_ in self.each_node():
            with self.subTest(where):
                (namespace,) = of_kind(items, "Namespace")
                for mode in ("enforce", "audit", "warn"):
                    self.assertEqual(namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"], "restricted")


class NetworkTest(unittest.TestCase):
    def test_nobody_reaches_the_admin_port(self):
        """Not even by a rule that names no port, which would open all of them."""
        for overlay in manifests.WITH_NODES:
            with self.subTest(overlay):
                items = build(overlay)
                workload, _, node = node_of(items)
                number = {port["name"]: port["containerPort"] for port in node["ports"]}
                self.assertEqual(number["admin"], ADMIN_PORT)
                for policy in of_kind(items, "NetworkPolicy"):
                    if not selects(policy["spec"]["podSelector"], pod_labels(workload)):
                        continue
                    for rule in policy["spec"].get("ingress", []):
                        self.assertTrue(rule.get("from") and rule.get("ports"), policy["metadata"]["name"])
                        for port in rule["ports"]:
                            self.assertIn(port["port"], ("grpc", "metrics"))
                            self.assertNotIn("endPort", port)

    def test_what_no_rule_allows_is_refused(self):
        for overlay in manifests.WITH_NODES:
            with self.subTest(overlay):
                (deny,) = [item for item in of_kind(build(overlay), "NetworkPolicy") if item["spec"]["podSelector"] == {}]
                self.assertEqual(deny["spec"], {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})

    def test_only_the_download_reaches_the_internet_and_nodes_nobody(self):
        for overlay in manifests.OVERLAYS:
            for policy in of_kind(build(overlay), "NetworkPolicy"):
                with self.subTest(overlay=overlay, policy=policy["metadata"]["name"]):
                    anywhere = [rule for rule in policy["spec"].get("egress", []) if not rule.get("to")]
                    self.assertEqual(bool(anywhere), policy["metadata"]["name"] == "switchyard-weights")
                    if selects(policy["spec"]["podSelector"], {"app.kubernetes.io/name": "switchyard-node"}):
                        self.assertFalse(policy["spec"].get("egress"))


class AutoscalingTest(unittest.TestCase):
    def setUp(self):
        (self.scaled,) = of_kind(build("keda"), "ScaledObject")

    def test_it_is_slow_to_scale_down_and_never_to_none(self):
        spec = self.scaled["spec"]
        self.assertEqual((spec["pollingInterval"], spec["cooldownPeriod"]), (15, 360))
        self.assertGreaterEqual(spec["minReplicaCount"], 1)
        self.assertNotIn("idleReplicaCount", spec)
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self.assertEqual(behavior["scaleDown"]["stabilizationWindowSeconds"], 300)

    def test_missing_figures_are_an_error_and_not_a_zero(self):
        spec = self.scaled["spec"]
        self.assertEqual(spec["fallback"]["behavior"], "currentReplicasIfHigher")
        self.assertEqual(len(spec["triggers"]), 2)
        for trigger in spec["triggers"]:
            self.assertEqual(trigger["metadata"]["ignoreNullValues"], "false")
            self.assertEqual(trigger["metricType"], "AverageValue")
            self.assertRegex(trigger["metadata"]["query"], r"and on \(\) min\(up\{.*\}\) == 1$")
            self.assertNotIn(" or ", trigger["metadata"]["query"])

    def test_the_number_of_nodes_is_nobody_elses(self):
        workload, _, _ = node_of(build("keda"))
        self.assertNotIn("replicas", workload["spec"])
        self.assertEqual(self.scaled["spec"]["scaleTargetRef"]["name"], workload["metadata"]["name"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
