"""No manifest names what is not there: ConfigMaps, Secrets, their keys, claims, accounts, volumes, ports,
labels, Services; and nothing is there that nobody names."""
import re
import unittest

import manifests
from manifests import build, containers, keys_of, name_of, node_of, of_kind, pod_labels, pod_of, selects, workloads

# Others' pods and Services, by the labels or names that the overlay's first lines ask for.
OTHERS_LABELS = [{"app.kubernetes.io/name": "switchyard-load-test"}, {"inferencepool": "switchyard-node-epp"}]
OTHERS_SERVICES = {"switchyard-node-epp"}


class ReferenceTest(unittest.TestCase):
    def each(self):
        for overlay in manifests.OVERLAYS:
            yield overlay, build(overlay), build(overlay) + manifests.samples(overlay)

    def names(self, items, kind):
        return {item["metadata"]["name"] for item in of_kind(items, kind)}

    def wanted_by(self, pod):
        """(kind, name, key or None) of all that a pod asks for."""
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"]["name"], None
            if "secret" in volume:
                yield "Secret", volume["secret"]["secretName"], None
            if "persistentVolumeClaim" in volume:
                yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None
        for container in containers(pod):
            for source in container.get("envFrom", []):
                for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                    if field in source:
                        yield kind, source[field]["name"], None
            for variable in container.get("env", []):
                for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                    if field in variable.get("valueFrom", {}):
                        yield kind, variable["valueFrom"][field]["name"], variable["valueFrom"][field]["key"]
        yield "ServiceAccount", pod["serviceAccountName"], None

    def test_what_pods_name_is_there_and_all_of_it_is_named(self):
        for overlay, items, with_samples in self.each():
            with self.subTest(overlay):
                named = set()
                for workload in workloads(items):
                    for kind, name, key in self.wanted_by(pod_of(workload)):
                        with self.subTest(workload=name_of(workload), wants=f"{kind}/{name}"):
                            self.assertIn(name, self.names(with_samples, kind))
                            if key:
                                self.assertIn(key, keys_of(with_samples, kind, name))
                            named.add((kind, name))
                for kind in ("ConfigMap", "Secret", "PersistentVolumeClaim", "ServiceAccount"):
                    for item in of_kind(with_samples, kind):
                        if "grafana_dashboard" in item["metadata"].get("labels", {}):
                            continue  # Grafana's sidecar looks for the label
                        self.assertIn((kind, item["metadata"]["name"]), named)

    def test_containers_mount_volumes_of_their_pod_and_all_of_them(self):
        for overlay, items, _ in self.each():
            with self.subTest(overlay):
                for workload in workloads(items):
                    pod = pod_of(workload)
                    volumes = [volume["name"] for volume in pod.get("volumes", [])]
                    mounts = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
                    self.assertEqual(sorted(volumes), sorted(mounts), name_of(workload))
                    for container in containers(pod):
                        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
                        self.assertEqual(len(paths), len(set(paths)))

    def test_files_that_commands_and_configurations_name_are_mounted(self):
        for overlay, items, with_samples in self.each():
            with self.subTest(overlay):
                for workload in workloads(items):
                    pod = pod_of(workload)
                    for container in containers(pod):
                        paths = [word for word in container["args"] if word.startswith("/etc/")]
                        for path in paths:  # grows while it is walked: a configuration names more
                            text = manifests.file_at(with_samples, pod, container, path)
                            self.assertIsNotNone(text, f"{name_of(workload)}: {path}")
                            if path.endswith(".toml"):
                                paths += re.findall(r'^[a-z-]+ = "(/etc/[^"]+)"', text, re.M)

    def test_variables_of_commands_are_defined(self):
        for overlay, items, _ in self.each():
            with self.subTest(overlay):
                for workload in workloads(items):
                    for container in containers(pod_of(workload)):
                        defined = {variable["name"] for variable in container.get("env", [])}
                        for source in container.get("envFrom", []):
                            defined |= set(keys_of(items, "ConfigMap", source["configMapRef"]["name"]))
                        used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
                        self.assertLessEqual(used, defined, name_of(workload))

    def test_services_lead_to_ports_of_pods(self):
        for overlay, items, _ in self.each():
            with self.subTest(overlay):
                services = of_kind(items, "Service")
                if overlay in manifests.WITH_NODES:
                    self.assertTrue(services)
                for service in services:
                    pods = [workload for workload in workloads(items)
                            if selects(service["spec"]["selector"], pod_labels(workload))]
                    self.assertTrue(pods, name_of(service))
                    for workload in pods:
                        ports = {port["name"]: port["containerPort"]
                                 for container in pod_of(workload)["containers"] for port in container["ports"]}
                        for port in service["spec"]["ports"]:
                            self.assertEqual(ports[port["targetPort"]], port["port"])
                            self.assertTrue(port["appProtocol"])

    def test_addresses_in_commands_are_services_and_ports_of_the_fleet(self):
        services = {item["metadata"]["name"]: {port["port"] for port in item["spec"]["ports"]}
                    for item in of_kind(build("fleet"), "Service")}
        (job,) = of_kind(build("load-test"), "Job")
        words = pod_of(job)["containers"][0]["args"]
        addresses = [word for word in words if re.fullmatch(r"[a-z0-9.-]+:\d+", word)]
        self.assertGreater(len(addresses), 1)
        for address in addresses:
            name, port = address.split(":")
            service = name.removeprefix("switchyard-node-0.")
            self.assertIn(int(port), services[service], address)

    def test_the_statefulset_has_its_headless_service_of_ready_pods(self):
        for overlay in manifests.WITH_NODES:
            items = build(overlay)
            workload, _, _ = node_of(items)
            (service,) = [item for item in of_kind(items, "Service")
                          if item["metadata"]["name"] == workload["spec"]["serviceName"]]
            self.assertEqual(service["spec"]["clusterIP"], "None")
            self.assertIs(service["spec"]["publishNotReadyAddresses"], False)

    def test_selectors_select_something(self):
        for overlay, items, _ in self.each():
            with self.subTest(overlay):
                labels = [pod_labels(workload) for workload in workloads(items)]
                for workload in of_kind(items, "StatefulSet"):
                    self.assertTrue(selects(workload["spec"]["selector"], pod_labels(workload)))
                for item in of_kind(items, "PodDisruptionBudget", "PodMonitor", "InferencePool"):
                    self.assertTrue(any(selects(item["spec"]["selector"], each) for each in labels), name_of(item))
                for policy in of_kind(items, "NetworkPolicy"):
                    spec = policy["spec"]
                    self.assertTrue(any(selects(spec["podSelector"], each) for each in labels), name_of(policy))
                    peers = [peer for rule in spec.get("ingress", []) for peer in rule["from"]]
                    peers += [peer for rule in spec.get("egress", []) for peer in rule.get("to", [])]
                    for peer in peers:
                        if "podSelector" in peer:
                            nodes = [{"app.kubernetes.io/name": "switchyard-node"}]  # load-test is beside them
                            self.assertTrue(any(selects(peer["podSelector"], each)
                                                for each in labels + nodes + OTHERS_LABELS), name_of(policy))

    def test_ports_by_name_or_number_are_ports_of_nodes(self):
        for overlay in manifests.WITH_NODES:
            with self.subTest(overlay):
                items = build(overlay)
                workload, _, node = node_of(items)
                ports = {port["name"]: port["containerPort"] for port in node["ports"]}
                for policy in of_kind(items, "NetworkPolicy"):
                    if selects(policy["spec"]["podSelector"], pod_labels(workload)):
                        for rule in policy["spec"].get("ingress", []):
                            self.assertLessEqual({port["port"] for port in rule["ports"]}, set(ports))
                for monitor in of_kind(items, "PodMonitor"):
                    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                        self.assertEqual(endpoint["port"], "metrics")
                for pool in of_kind(items, "InferencePool"):
                    self.assertEqual([port["number"] for port in pool["spec"]["targetPorts"]], [ports["grpc"]])
                    self.assertIn(pool["spec"]["endpointPickerRef"]["name"], OTHERS_SERVICES)

    def test_the_configuration_listens_where_the_ports_are(self):
        import tomllib
        for overlay in manifests.WITH_NODES:
            with self.subTest(overlay):
                items = build(overlay)
                _, pod, node = node_of(items)
                config = tomllib.loads(manifests.file_at(items, pod, node, "/etc/switchyard/node.toml"))
                for name, flag in (("grpc", "listen"), ("admin", "admin"), ("metrics", "metrics")):
                    (number,) = [port["containerPort"] for port in node["ports"] if port["name"] == name]
                    self.assertEqual(config[flag], f"0.0.0.0:{number}")

    def test_the_model_is_where_the_configuration_says(self):
        import tomllib
        for overlay in manifests.WITH_NODES:
            with self.subTest(overlay):
                items = build(overlay)
                _, pod, node = node_of(items)
                model = tomllib.loads(manifests.file_at(items, pod, node, "/etc/switchyard/node.toml"))["model"]
                if overlay == "cpu-demo":
                    dockerfile = (manifests.SOURCE_DIR / "deploy/Dockerfile").read_text(encoding="utf-8")
                    self.assertIn(f" {model}/\n", dockerfile)
                    continue
                (fetch,) = of_kind(items, "Job")
                told = [containers(pod)[0]["args"], pod_of(fetch)["containers"][0]["args"]]
                for words in told:
                    self.assertEqual(words[words.index("--to") + 1], model)
                self.assertIn("/models", [mount["mountPath"] for mount in node["volumeMounts"]])

    def test_everything_is_in_one_namespace(self):
        for overlay, items, _ in self.each():
            with self.subTest(overlay):
                for item in items:
                    if item["kind"] != "Namespace":
                        self.assertEqual(item["metadata"]["namespace"], "switchyard", name_of(item))

    def test_configmaps_of_pods_roll_out_when_they_change(self):
        for overlay, items, _ in self.each():
            with self.subTest(overlay):
                for item in of_kind(items, "ConfigMap"):
                    if "grafana_dashboard" not in item["metadata"].get("labels", {}):
                        self.assertRegex(item["metadata"]["name"], r"-[a-z0-9]{10}$")

    def test_dashboards_and_rules_are_where_their_readers_look(self):
        for overlay in manifests.WITH_GPU:
            with self.subTest(overlay):
                items = build(overlay)
                dashboards = [item for item in of_kind(items, "ConfigMap")
                              if item["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
                files = (manifests.SOURCE_DIR / "deploy/grafana/dashboards").glob("*.json")
                self.assertEqual(sorted(name for item in dashboards for name in item["data"]),
                                 sorted(path.name for path in files))
                (rules,) = of_kind(items, "PrometheusRule")
                jobs = set(re.findall(r'job="(\w+)"', str(rules)))
                (monitor,) = of_kind(items, "PodMonitor")
                (job,) = [rule["replacement"] for rule in monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
                          if rule["targetLabel"] == "job"]
                self.assertIn(job, jobs)

    def test_the_sample_list_of_weights_is_that_of_the_demo_model(self):
        import hashlib
        for overlay in ("single-node", "fleet"):
            lines = (manifests.KUBERNETES / "overlays" / overlay / "SHA256SUMS").read_text().splitlines()
            sums = dict(reversed(line.split("  ")) for line in lines if not line.startswith("#"))
            self.assertIn("model.safetensors", sums)
            for name, digest in sums.items():
                body = (manifests.SOURCE_DIR / "deploy/demo-model" / name).read_bytes()
                self.assertEqual(hashlib.sha256(body).hexdigest(), digest, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
