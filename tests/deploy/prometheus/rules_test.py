"""The rules and scrape configurations under deploy/prometheus are valid, fire when they should and
only then, and say what to do. promtool runs the cases of *_alerts.yaml.

Those are in promtool's format but for the annotations, which are added here: from the rule's own
text, with the labels that the case expects and `exp_value` as the value. So a template that names a
label which the alert does not have fails.
"""
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[2]
PROMETHEUS = SOURCE / "deploy/prometheus"
sys.path.append(str(SOURCE / "tests/support"))
from prometheus_tools import promtool  # noqa: E402

RULE_FILES = sorted(PROMETHEUS.glob("rules/*.yaml"))
CASE_FILES = sorted(HERE.glob("*_alerts.yaml"))


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def all_rules():
    return [rule for file in RULE_FILES for group in read(file)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in all_rules() if "alert" in rule}


def rendered(template, labels, value):
    """What Prometheus makes of an annotation."""
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels[match[1]], template)
    return re.sub(r"{{ \$value( \| \w+)? }}", lambda _: value, text)


def with_annotations(cases):
    for test in cases["tests"]:
        for case in test.get("alert_rule_test", ()):
            for alert in case.get("exp_alerts", ()):
                value = alert.pop("exp_value", "no value given")
                alert["exp_annotations"] = {
                    name: rendered(text, alert["exp_labels"], value)
                    for name, text in ALERTS[case["alertname"]]["annotations"].items()}
    cases["rule_files"] = [str(file) for file in RULE_FILES]
    return cases


class RulesTest(unittest.TestCase):
    def test_rules_are_well_formed(self):
        self.assertTrue(RULE_FILES)
        promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)

    def test_alerts_fire_when_they_should_and_only_then(self):
        for file in CASE_FILES:
            with self.subTest(file.name), tempfile.NamedTemporaryFile("w", suffix=".yaml") as cases:
                yaml.safe_dump(with_annotations(read(file)), cases)
                cases.flush()
                promtool("test", "rules", cases.name)

    def test_every_alert_is_seen_firing_and_not_firing(self):
        seen = {(case["alertname"], "exp_alerts" in case) for file in CASE_FILES
                for test in read(file)["tests"] for case in test.get("alert_rule_test", ())}
        self.assertEqual(seen, {(name, fires) for name in ALERTS for fires in (True, False)})

    def test_every_alert_says_how_bad_it_is_and_what_to_do(self):
        for name, rule in ALERTS.items():
            with self.subTest(name):
                self.assertRegex(name, "^Switchyard[A-Z]")
                self.assertEqual(set(rule["labels"]), {"severity"})
                self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
                self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook"})
                self.assertLess(len(rule["annotations"]["summary"]), 80)

    def test_alerts_that_a_runbook_refers_to_exist(self):
        for name, rule in ALERTS.items():
            for other in re.findall(r"Switchyard[A-Z]\w+", rule["annotations"]["runbook"]):
                self.assertIn(other, ALERTS, name)

    def test_recorded_names_are_those_that_alerts_use(self):
        recorded = {rule["record"] for rule in all_rules() if "record" in rule}
        used = set(re.findall(r"model:[\w:]+", " ".join(rule["expr"] for rule in ALERTS.values())))
        self.assertEqual(recorded, used)

    def test_the_kubernetes_copy_is_up_to_date_and_says_the_same(self):
        program = PROMETHEUS / "make_prometheus_rule.py"
        self.assertEqual(subprocess.run([sys.executable, "-B", program, "--check"]).returncode, 0)
        copy = read(SOURCE / "deploy/kubernetes/components/monitoring/prometheus_rule.yaml")
        self.assertEqual(copy["kind"], "PrometheusRule")
        self.assertEqual(copy["spec"]["groups"], [group for file in RULE_FILES for group in read(file)["groups"]])


if __name__ == "__main__":
    unittest.main(verbosity=2)
