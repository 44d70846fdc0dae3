"""A real Prometheus watches a real node through two runs of `switchyard load`, one in which all is
well and one of overload, and through its end; and a second node with TLS and tokens, which idles.
With the rules and dashboards of deploy/: everything they read is there, what should move moves, alerts
come when they should and no others do.

Rules are evaluated each second and wait for seconds where they would wait for minutes, which
tests/deploy/prometheus covers. GPU metrics come from another exporter, which is
not here: what begins with DCGM_ is left out.
"""
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

import grpc
import yaml

from api import SOURCE_DIR, Stub
from node_process import CLIENT, NodeProcess, endless

sys.path.append(str(SOURCE_DIR / "tests/support"))
from grafana_dashboards import all_queries, without_variables  # noqa: E402
from promql import selectors  # noqa: E402
from prometheus_tools import Prometheus, promtool  # noqa: E402

DEPLOYED = SOURCE_DIR / "deploy/prometheus"
JOB = 'job="switchyard"'

# What a run like this one cannot move, and why.
STILL = {
    "switchyard_build_info": "what runs",
    "switchyard_model_info": "what runs",
    "switchyard_cache_config_info": "what runs",
    "switchyard_startup_seconds": "is over when the first scrape comes",
    "switchyard_node_state": "nodes that stay ready until they end",
    "switchyard_tls_certificate_not_after_timestamp_seconds": "the certificate is not exchanged",
}
# The second node's certificate is for two days.
CALM_ALERTS = {"SwitchyardCertificateExpiring"}
# What overload may cause beside the alert that it must cause.
OVERLOAD_ALERTS = {"SwitchyardKvCacheFull", "SwitchyardPreempting", "SwitchyardOldestWaitLong",
                   "SwitchyardFirstTokensVerySlow", "SwitchyardFirstTokensSlow", "SwitchyardTokensVerySlow",
                   "SwitchyardTokensSlow"}


def credentials_in(folder):
    """Flags of a node with TLS and tokens, whose files are in `folder`."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-keyout", folder / "key", "-out", folder / "certificate"],
                   check=True, capture_output=True, timeout=30)
    (folder / "tokens").write_text("somebody a-token-of-some-length\n")
    return ("--tls-cert", folder / "certificate", "--tls-key", folder / "key", "--tokens-file", folder / "tokens",
            "--reload-interval", "100ms")


def deployed_files(folder, targets):
    """prometheus.yaml as deployed, but for the nodes' addresses and the pace; returns its path."""
    (folder / "rules").mkdir()
    for file in DEPLOYED.glob("rules/*.yaml"):
        rules = yaml.safe_load(file.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "3s"
        (folder / "rules" / file.name).write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((DEPLOYED / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "switchyard"]
    config["scrape_configs"][0]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"] = [
        {"targets": targets, "labels": {"node": "localhost", "namespace": "switchyard"}}]  # as on Kubernetes
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def read_by_rules_and_dashboards():
    """selector -> who reads it, of all that a node has to export. Autoscaling's queries too."""
    readers = {}
    for file in sorted(DEPLOYED.glob("rules/*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                for selector in selectors(rule["expr"]):
                    readers.setdefault(selector, set()).add(rule.get("alert") or rule["record"])
    for file in sorted(SOURCE_DIR.glob("deploy/kubernetes/**/*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document.get("kind") == "ScaledObject":  # KEDA's: a wrong name would never scale
                for trigger in document["spec"]["triggers"]:
                    for selector in selectors(trigger["metadata"].get("query", "")):
                        readers.setdefault(selector, set()).add(str(file.relative_to(SOURCE_DIR)))
    for where, _, expression in all_queries():
        for selector in selectors(without_variables(expression)):
            readers.setdefault(selector, set()).add(where)
    return {selector: who for selector, who in readers.items()
            if not selector.name.startswith("DCGM_")}


class PrometheusTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        # Room for four answers and not for their whole context.
        cls.node = cls.enterClassContext(NodeProcess(
            "--max-batch-rows", "4", "--max-queue", "4", "--kv-memory", "1536KiB", "--max-context", "1024"))
        cls.secured = cls.enterClassContext(NodeProcess(*credentials_in(folder)))
        cls.server = cls.enterClassContext(Prometheus(
            deployed_files(folder, [cls.node.metrics_address, cls.secured.metrics_address])))
        cls.wait_for_scrapes(2)
        cls.began = cls.server.now()
        cls.calm_load()
        cls.wait_for_scrapes(2)
        cls.alerts_in_calm = cls.alerts_so_far()
        (folder / "tokens").write_text("no token\n")
        cls.overload()
        cls.alerts_in_overload = cls.alerts_so_far()
        cls.pages = [cls.page_of(node) for node in (cls.node, cls.secured)]
        cls.seen = cls.server.query(f"{{{JOB}}}[10m]")
        cls.node.stop()
        cls.secured.stop()
        cls.alerts_at_the_end = cls.server.wait_until(
            lambda: {"SwitchyardMetricsAbsent", "SwitchyardNodeUnreachable"} <= cls.alerts_so_far() and
            cls.alerts_so_far())

    @staticmethod
    def page_of(node):
        with urllib.request.urlopen(f"http://{node.metrics_address}/metrics", timeout=10) as page:
            return page.read().decode()

    @classmethod
    def wait_for_scrapes(cls, number):
        def count():
            """Of the node that has been scraped less often."""
            result = cls.server.query(f"min(count_over_time(up{{{JOB}}}[10m])) and count(up{{{JOB}}}) == 2")
            return int(result[0]["value"][1]) if result else 0

        wanted = count() + number
        cls.server.wait_until(lambda: count() >= wanted)

    @classmethod
    def alerts_so_far(cls):
        """Since the first scrapes: before them there were no metrics, and that alert is right."""
        return {series["metric"]["alertname"] for series in cls.server.query('ALERTS{alertstate="firing"}[10m]')
                if float(series["values"][-1][0]) > cls.began}

    @classmethod
    def load(cls, *arguments):
        """A run of `switchyard load` against the node, as a process."""
        return subprocess.Popen([CLIENT, "load", "--node", cls.node.grpc_address, *arguments],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    @classmethod
    def calm_load(cls):
        """Three users, for whom four rows are enough however slow the machine is. Some leave, some ask
        for nonsense."""
        run = cls.load("--concurrency", "3", "--think-ms", "50", "--duration", "6", "--prompt-tokens", "uniform:5:60",
                       "--answer-tokens", "40", "--cancel", "0.1", "--cancel-after-tokens", "3", "--malformed", "0.05")
        _, errors = run.communicate(timeout=60)
        # 2 is a wrong command line. A client that was late, as on a busy machine, says so with another
        # code: here that is no fault.
        assert run.returncode in (0, 1, 3), errors
        cls.node.wait_until_idle()

    @classmethod
    def overload(cls):
        """More long answers than there is room for, and a reader that does not read. Until it shows."""
        narrow = grpc.insecure_channel(cls.node.grpc_address, options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)])
        wordy = endless()
        wordy.logprobs.top = 20
        unread = Stub(narrow, "switchyard.v1.GenerationService").GenerateStream(wordy)
        next(unread)
        cls.server.wait_until(lambda: cls.node.metric("switchyard_stream_coalesced_total") > 0, 40)
        # Four prompts fit into the cache and their answers do not.
        run = cls.load("--rate", "60", "--duration", "60", "--prompt-tokens", "400", "--answer-tokens", "500")
        try:
            cls.server.wait_until(lambda: {"SwitchyardRefusing", "SwitchyardCredentialsNotRead"} <= cls.alerts_so_far()
                                  and cls.node.metric("switchyard_preemptions_total") > 0
                                  and cls.node.metric("switchyard_recomputed_tokens_total") > 0, 50)
        finally:
            run.kill()
            run.communicate()
        unread.cancel()
        narrow.close()
        cls.node.wait_until_idle()
        cls.wait_for_scrapes(2)

    def test_the_target_is_up_at_every_scrape(self):
        values = [value for series in self.seen if series["metric"]["__name__"] == "up"
                  for _, value in series["values"]]
        self.assertGreaterEqual(len(values), 16)
        self.assertEqual(set(values), {"1"})

    def test_pages_are_as_promtool_wants_them(self):
        for page in self.pages:
            # vLLM's names are vLLM's own; promtool dislikes their colon, which is for recording rules.
            ours = [line for line in page.splitlines() if "vllm:" not in line]
            promtool("check", "metrics", text="\n".join(ours) + "\n")

    def test_whatever_rules_and_dashboards_read_is_there(self):
        for selector, readers in read_by_rules_and_dashboards().items():
            with self.subTest(str(selector)):
                self.assertTrue(self.server.query(f"last_over_time({selector}[10m])"),
                                f"{', '.join(sorted(readers))} would show nothing")

    def test_what_they_read_moves_under_load(self):
        moved, still = set(), {}
        for series in self.seen:
            name = series["metric"]["__name__"]
            if len({value for _, value in series["values"]}) > 1:
                moved.add(name)
            else:
                still.setdefault(name, series["metric"])
        names = {selector.name for selector in read_by_rules_and_dashboards()
                 if selector.name.startswith("switchyard_")}
        self.assertEqual(names - moved - set(STILL), set())
        self.assertEqual(set(STILL) & moved, set())

    def test_a_calm_load_raises_no_alert(self):
        self.assertEqual(self.alerts_in_calm, CALM_ALERTS)

    def test_overload_raises_the_alert_that_says_so_and_a_broken_file_its_own(self):
        expected = CALM_ALERTS | {"SwitchyardRefusing", "SwitchyardCredentialsNotRead"}
        self.assertLessEqual(expected, self.alerts_in_overload)
        self.assertLessEqual(self.alerts_in_overload, expected | OVERLOAD_ALERTS)

    def test_the_end_of_the_nodes_is_noticed(self):
        # DrainingForLong waits a quarter of an hour where it is deployed.
        self.assertLessEqual(self.alerts_at_the_end - self.alerts_in_overload - OVERLOAD_ALERTS, {
            "SwitchyardMetricsAbsent", "SwitchyardNodeUnreachable", "SwitchyardNoReadyNode",
            "SwitchyardDrainingForLong"})

    def test_every_rule_was_evaluated_without_an_error(self):
        rules = [rule for group in self.server.get("rules")["groups"] for rule in group["rules"]]
        self.assertGreater(len(rules), 30)
        self.assertEqual([(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")], [])
        self.assertEqual({rule["health"] for rule in rules}, {"ok"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
