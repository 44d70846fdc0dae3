"""Every overlay builds, without a warning, and each of its objects is what a cluster would accept: Kubernetes'
own by its strict schemas of several versions, custom resources by schemas/."""
import json
import tempfile
import unittest
from pathlib import Path

import manifests
import jsonschema
import kubernetes_validate
import yaml

# The oldest has preStop's sleep by default; the newest is what the schemas go to.
VERSIONS = ["1.30", "1.37"]
SCHEMAS = {schema["title"]: schema for schema in
           (json.loads(path.read_text()) for path in (Path(__file__).parent / "schemas").glob("*.json"))}


class SchemaTest(unittest.TestCase):
    def check(self, item):
        schema = SCHEMAS.get(f"{item['apiVersion']} {item['kind']}")
        if schema:
            jsonschema.Draft202012Validator(schema).validate(item)
            return
        for version in VERSIONS:
            kubernetes_validate.validate(item, version, strict=True)

    def test_every_object_of_every_overlay_is_valid(self):
        for overlay in manifests.OVERLAYS:
            for item in manifests.build(overlay) + manifests.samples(overlay):
                with self.subTest(overlay=overlay, item=manifests.name_of(item)):
                    self.check(item)

    def test_the_overlays_are_those_that_the_readme_tells_of(self):
        readme = (manifests.SOURCE_DIR / "deploy/kubernetes/README.md").read_text(encoding="utf-8")
        self.assertGreater(len(manifests.OVERLAYS), 5)
        for overlay in manifests.OVERLAYS:
            self.assertIn(f"`{overlay}`", readme)

    def with_component(self, component):
        """The fleet and one component more."""
        with tempfile.TemporaryDirectory(dir=manifests.KUBERNETES / "overlays") as folder:
            (Path(folder) / "kustomization.yaml").write_text(
                "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../fleet]\n"
                f"components: [../../components/{component}]\n")
            return list(yaml.safe_load_all(manifests.kustomize(folder)))

    def test_components_that_no_overlay_takes_build_and_do_what_they_say(self):
        items = {name: self.with_component(name) for name in ("service-monitor", "writable-root", "hub-token")}
        for name, built in items.items():
            for item in built:
                with self.subTest(component=name, item=manifests.name_of(item)):
                    self.check(item)
        self.assertEqual(len(manifests.of_kind(items["service-monitor"], "ServiceMonitor")), 1)
        _, _, node = manifests.node_of(items["writable-root"])
        self.assertFalse(node["securityContext"]["readOnlyRootFilesystem"])
        (job,) = manifests.of_kind(items["hub-token"], "Job")
        self.assertEqual(manifests.pod_of(job)["containers"][0]["args"][-2:], ["--token", "/etc/hub-token/token"])

    def test_every_file_belongs_to_a_kustomization(self):
        for path in manifests.KUBERNETES.glob("*/**/*.*"):
            if path.name == "kustomization.yaml" or path.name.endswith(".sample.yaml") or path.is_dir():
                continue
            with self.subTest(path.relative_to(manifests.KUBERNETES)):
                self.assertIn(path.name, (path.parent / "kustomization.yaml").read_text(encoding="utf-8"))

    def test_the_schemas_refuse_what_is_wrong(self):
        """A check that could not fail would be none."""
        seen = set()
        for overlay in manifests.OVERLAYS:
            for item in manifests.build(overlay):
                kind = f"{item['apiVersion']} {item['kind']}"
                if kind in seen:
                    continue
                seen.add(kind)
                with self.subTest(kind), self.assertRaises(Exception):
                    self.check({**item, "spec": {**item.get("spec", {}), "nonsense": 1}, "nonsense": 1})
        self.assertLessEqual({kind for kind in SCHEMAS if "ServiceMonitor" not in kind and "PrometheusRule" not in kind},
                             seen)


if __name__ == "__main__":
    unittest.main(verbosity=2)
