"""The dashboards under deploy/grafana are what their source says, well formed and well laid out.

That their metrics exist and move is end_to_end/prometheus_test.py's.
"""
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

SOURCE = Path(__file__).resolve().parents[3]
GRAFANA = SOURCE / "deploy/grafana"
sys.path.append(str(SOURCE / "tests/support"))
from grafana_dashboards import all_queries, dashboards, legend_labels, panels_of, without_variables  # noqa: E402
from prometheus_tools import promtool  # noqa: E402

BUILT_IN = {"__rate_interval", "__range", "__all"}


class DashboardsTest(unittest.TestCase):
    def test_the_files_are_what_their_source_makes(self):
        done = subprocess.run([sys.executable, "-B", GRAFANA / "make_dashboards.py", "--check"], timeout=60)
        self.assertEqual(done.returncode, 0)

    def test_there_is_one_for_a_node_for_the_fleet_and_for_load_tests(self):
        self.assertEqual({dashboard["uid"] for dashboard in dashboards()},
                         {"switchyard-node", "switchyard-fleet", "switchyard-load-test"})

    def test_every_query_is_promql(self):
        # promtool checks the expressions of rules; so each query becomes one.
        rules = [{"record": "query", "expr": without_variables(expression), "labels": {"at": str(at)}}
                 for at, (_, _, expression) in enumerate(all_queries())]
        self.assertGreater(len(rules), 150)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}, file)
            file.flush()
            promtool("check", "rules", "--lint=none", file.name)

    def test_objectives_come_first(self):
        for dashboard in dashboards():
            first = dashboard["panels"][0]
            self.assertEqual((first["type"], first["title"], first["collapsed"]), ("row", "Service levels", False))

    def test_objectives_are_those_of_the_alert_rules(self):
        sys.path.append(str(GRAFANA))
        sys.dont_write_bytecode = True
        import queries  # of deploy/grafana
        rules = "".join(path.read_text() for path in sorted((SOURCE / "deploy/prometheus/rules").glob("*.yaml")))
        for text in (f'time_to_first_token_seconds_bucket{{le="{queries.FIRST_TOKEN_SECONDS}"}}',
                     f'inter_token_latency_seconds_bucket{{le="{queries.TOKEN_SECONDS}"}}',
                     f"14.4 * {queries.FAILED_SHARE}", queries.FAILED, queries.SENT_ELSEWHERE, queries.BLOCK_POOLS):
            self.assertTrue(text in rules, text)

    def test_panels_neither_overlap_nor_leave_gaps(self):
        for dashboard in dashboards():
            taken = set()
            for panel in panels_of(dashboard, collapsed=False):
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertFalse(cells & taken, panel["title"])
                taken |= cells
            lines = 1 + max(y for _, y in taken)
            self.assertEqual(len(taken), 24 * lines, f"{dashboard['uid']} leaves room empty")

    def test_panels_are_numbered_and_named(self):
        for dashboard in dashboards():
            panels = list(panels_of(dashboard))
            self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
            for panel in panels:
                self.assertTrue(panel["title"])
                if panel["type"] not in ("row", "heatmap"):
                    self.assertIn("unit", panel["fieldConfig"]["defaults"], panel["title"])

    def test_variables_that_queries_use_are_there(self):
        for dashboard in dashboards():
            known = {variable["name"] for variable in dashboard["templating"]["list"]} | BUILT_IN
            used = set(re.findall(r"\$\{?([a-z_]\w*)", json.dumps(dashboard)))
            self.assertLessEqual(used, known, dashboard["uid"])
            self.assertGreaterEqual(used, known - BUILT_IN, f"{dashboard['uid']} has a variable that nothing uses")

    def test_a_legend_names_only_labels_that_its_query_keeps(self):
        for where, legend, expression in all_queries():
            kept = re.match(r"[^(]*?\bby \(([^)]*)\)", expression)
            if kept and expression.startswith(("sum by", "max by")):
                self.assertLessEqual(set(legend_labels(legend)), set(kept[1].split(", ")), where)

    def test_tables_of_several_queries_have_a_column_to_join_them_by(self):
        for dashboard in dashboards():
            for panel in panels_of(dashboard):
                if panel["type"] == "table" and len(panel["targets"]) > 1:
                    kept = [re.match(r"max by \(([^)]*)\)", target["expr"]) for target in panel["targets"]]
                    self.assertTrue(all(kept), panel["title"])
                    self.assertTrue(set.intersection(*(set(match[1].split(", ")) for match in kept)), panel["title"])

    def test_gpu_panels_are_out_of_the_way_of_who_has_none(self):
        for dashboard in dashboards():
            for panel in panels_of(dashboard, collapsed=False):
                self.assertNotIn("DCGM_", json.dumps(panel.get("targets", [])), panel["title"])
            last = dashboard["panels"][-1]
            self.assertTrue(last["collapsed"])
            self.assertIn("DCGM_", json.dumps(last["panels"]))

    def test_the_kubernetes_component_holds_every_dashboard(self):
        maps = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"]
        self.assertEqual(sorted(file for entry in maps for file in entry["files"]),
                         sorted(f"dashboards/{path.name}" for path in (GRAFANA / "dashboards").glob("*.json")))
        for path in (GRAFANA / "dashboards").glob("*.json"):
            # kubectl apply writes all of a ConfigMap, quoted, into an annotation of at most 256 KiB.
            self.assertLess(len(json.dumps(path.read_text())), 200 * 1024)

    def test_provisioning_names_what_is_there(self):
        sources = yaml.safe_load((GRAFANA / "provisioning/datasources/switchyard.yaml").read_text())["datasources"]
        self.assertEqual([source["type"] for source in sources], ["prometheus"])
        scrape = yaml.safe_load((SOURCE / "deploy/prometheus/prometheus.yaml").read_text())["scrape_configs"][0]
        self.assertEqual(sources[0]["jsonData"]["timeInterval"], scrape["scrape_interval"])
        providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/switchyard.yaml").read_text())["providers"]
        self.assertEqual([provider["type"] for provider in providers], ["file"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
