"""Whole reports of a load as others read them: the page as a browser does, JSON, lines and CSV as scripts do."""
import csv
import io
import json
import os
import re
import subprocess
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "img", "link", "input", "hr"}
NUMBER = (int, float)
ESTIMATE = {"value": NUMBER, "low": NUMBER, "high": (*NUMBER, type(None))}
MAYBE = (*NUMBER, type(None))


class Page(HTMLParser):
    """Fails on what a browser would have to guess; collects what a page could load or run."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.scripts, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        if self.open:
            raise AssertionError(f"never closed: {self.open}")

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            raise AssertionError(f"<{tag}> has an attribute twice: {names}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes nothing at {self.getpos()}")

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] in ("script", "style") else self.words).append(data)


def conforms(value, shape, path="$"):
    """Yields where `value` does not have `shape`: types, {name: shape}, or [shape of each]."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        for name, inner in shape.items():
            if name not in value:
                yield f"{path}.{name} is missing"
            else:
                yield from conforms(value[name], inner, f"{path}.{name}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path} is no array"
            return
        for i, item in enumerate(value):
            yield from conforms(item, shape[0], f"{path}[{i}]")
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        yield f"{path} is {value!r}"


OUTCOMES = {name: int for name in ("asked", "completed", "failed", "broken", "cut", "refused_with_retry_info",
                                   "refused_without_retry_info", "more_attempts", "lost", "retried",
                                   "retried_completed", "moved")} | {"error_share": NUMBER}
DISTRIBUTION = {"count": int, "groups": int, "min": NUMBER, "max": NUMBER, "deviation": NUMBER} | {
    name: ESTIMATE for name in ("mean", "p50", "p90", "p95", "p99", "p99_9")}
LATENCIES = {name: DISTRIBUTION for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms")}
GOODPUT = {"good": int, "share": NUMBER, "requests_per_second": ESTIMATE, "output_tokens_per_second": ESTIMATE}
SERVER_LATENCY = {"count": int, "mean": NUMBER, "p50": ESTIMATE, "p99_9": ESTIMATE}
GPU_FIGURE = {"mean": NUMBER, "peak": NUMBER}
GPU_GAUGES = ("utilisation", "engine_active", "sm_active", "tensor_active", "dram_active", "memory_used_mib",
              "power_watts", "temperature_celsius", "sm_clock_mhz")
SUMMARY = {
    "outcomes": OUTCOMES,
    "latencies": LATENCIES | {name: DISTRIBUTION for name in ("queue_ms", "node_ttft_ms", "outside_ttft_ms",
                                                               "send_delay_ms")},
    "rates": {"from_seconds": NUMBER, "to_seconds": NUMBER, "requests_per_second": ESTIMATE,
              "output_tokens_per_second": ESTIMATE, "input_tokens_per_second": ESTIMATE},
    "goodput": GOODPUT,
    "tokens": {name: int for name in ("output", "output_by_usage", "disagreeing_requests", "requests_without_usage",
                                      "prompt", "cached", "preemptions")} | {"cached_share": MAYBE},
    "sessions": {"sessions": int, "turns": int, "stickiness": MAYBE, "jain_fairness": NUMBER},
    "errors": [{"code": str, "reason": str, "count": int, "with_retry_info": int, "example": str}],
    "faults": [{"fault": str, "asked": int, "ended": dict}],
    "nodes": [{"node": str, "outcomes": OUTCOMES, "output_tokens": int, "cached_share": NUMBER,
               "ttft_p50_ms": NUMBER, "ttft_p99_ms": NUMBER}],
    "events": [{"what": str, "planned_seconds": NUMBER, "began_seconds": MAYBE, "ended_seconds": MAYBE,
                "succeeded": bool, "outcome": str, "from_then_on": OUTCOMES}],
    "classes": [{"class": str, "outcomes": OUTCOMES, "latencies": LATENCIES, "goodput": GOODPUT}],
}
HEAD = {
    "schema": str, "seed": int, "workload": dict, "warnings": [str],
    "environment": {"version": str, "commit": str, "host": str, "system": str, "processor": str, "cores": int, "command_line": str,
                    "start_unix_seconds": NUMBER, "end_unix_seconds": NUMBER},
    "objectives": {"all": dict, "classes": dict, "good_share": NUMBER},
    "run": {"model": str, "targets": [str], "channels_per_target": int, "balance": str, "warmup_seconds": NUMBER,
            "measured_from_seconds": NUMBER, "measured_to_seconds": NUMBER, "wall_seconds": NUMBER,
            "client_cpu_seconds": NUMBER, "max_in_flight": int, "peak_in_flight": int, "held_back": int,
            "unsent_turns": int, "stop_reason": str, "stop_detail": str, "greedy": (list, type(None))},
    "lateness": {"sends": int, "late_sends": int, "late_above_ms": NUMBER, "tolerable_share": NUMBER,
                 "tolerable": bool, "p50_ms": NUMBER, "p99_ms": NUMBER, "max_ms": NUMBER},
}
REPORT = HEAD | {
    "summary": SUMMARY,
    "timeline": {"width_seconds": NUMBER, "windows": [
        {"from_seconds": NUMBER, "ttft_p50_ms": MAYBE, "ttft_p99_ms": MAYBE, "itl_p50_ms": MAYBE, "itl_p99_ms": MAYBE}
        | {name: int for name in ("intended", "sent", "completed", "failed", "refused", "output_tokens", "in_flight",
                                  "held_back")}]},
    "servers": [{"target": str, "version": str, "scrapes": int, "failures": int, "first_failure": str,
                 "restarted": bool, "from_seconds": NUMBER, "to_seconds": NUMBER, "ttft_ms": SERVER_LATENCY,
                 "itl_ms": SERVER_LATENCY, "queue_ms": SERVER_LATENCY, "e2e_ms": {"count": int},
                 "generation_tokens": MAYBE, "computed_prompt_tokens": MAYBE, "cached_prompt_tokens": MAYBE,
                 "preemptions": MAYBE, "rejected": MAYBE, "peak_running": MAYBE, "peak_waiting": MAYBE,
                 "peak_cache_usage": MAYBE,
                 "samples": [{"at_seconds": NUMBER, "running": MAYBE, "waiting": MAYBE, "cache_usage": MAYBE,
                              "generation_tokens": MAYBE, "preemptions": MAYBE}]}],
    "gpus": {"from_seconds": NUMBER, "to_seconds": NUMBER,
             "pages": [{"target": str, "scrapes": int, "failures": int, "first_failure": str, "measured": int,
                        "renewed": int, "longest_gap_seconds": NUMBER}],
             "devices": [{name: str for name in ("target", "gpu", "instance", "uuid", "model", "host", "pod")}
                         | {name: GPU_FIGURE for name in GPU_GAUGES if name != "sm_active"}
                         | {"from_seconds": NUMBER, "to_seconds": NUMBER, "sm_active": type(None),
                            "memory_total_mib": MAYBE, "joules": MAYBE, "xid_errors": [int],
                            "samples": [{"at_seconds": NUMBER} | {name: MAYBE for name in GPU_GAUGES}]}],
             "energy": {"from_seconds": NUMBER, "to_seconds": NUMBER, "gpus": int, "joules": NUMBER,
                        "output_tokens": int, "tokens_per_joule": NUMBER}},
    "sweep": {"best_rate": NUMBER, "at_the_limit": bool,
              "points": [{"rate": NUMBER, "met": bool, "why": str, "client_late": bool, "summary": SUMMARY}]},
}
REQUEST = {
    "number": int, "class": str, "session": (int, type(None)), "turn": int, "priority": int, "fault": str,
    "measured": bool, "held_back": bool, "cut": bool, "intended_seconds": MAYBE, "sent_seconds": MAYBE,
    "end_seconds": MAYBE, "ttft_ms": MAYBE, "tpot_ms": MAYBE, "e2e_ms": MAYBE, "target": str, "first_target": str, "node": str,
    "code": str,
    "reason": str, "message": str, "retry_info": bool, "more_attempts": int, "broken": bool, "prompt_tokens": MAYBE,
    "cached_tokens": MAYBE, "completion_tokens": MAYBE, "preemptions": MAYBE, "node_queue_ms": MAYBE,
    "node_ttft_ms": MAYBE, "node_total_ms": MAYBE, "arrivals": [[NUMBER]],
}


class ReportFilesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folders = {}
        for kind in ("", "--hostile", "--late"):
            folder = cls.enterClassContext(tempfile.TemporaryDirectory())
            run = subprocess.run([os.environ["LOAD_SAMPLE_REPORT"], folder, *([kind] if kind else [])],
                                 capture_output=True, timeout=30, check=True)
            cls.folders[kind] = Path(folder)
            (cls.folders[kind] / "table.txt").write_bytes(run.stdout)

    def text(self, kind, name):
        return (self.folders[kind] / name).read_bytes().decode("utf-8", errors="strict")

    def test_every_page_is_well_formed(self):
        for kind in self.folders:
            page = Page(self.text(kind, "report.html"))
            self.assertEqual(page.tags[:2], ["html", "head"])
            self.assertIn(("meta", "charset", "utf-8"), page.attributes)

    def test_no_page_names_anything_to_load(self):
        for kind in self.folders:
            page = Page(self.text(kind, "report.html"))
            self.assertFalse({"link", "img", "iframe", "object", "embed", "base", "form", "a"} & set(page.tags))
            for tag, name, value in page.attributes:
                self.assertNotIn(name, ("src", "href", "srcset", "action", "xlink:href", "data"), (tag, value))
                self.assertFalse(name.startswith("on"), (tag, name))
            for code in page.scripts:
                self.assertIsNone(re.search(r"@import|url\(|fetch|XMLHttp|import\(|innerHTML|eval", code))

    def test_hostile_names_are_only_words_of_the_page(self):
        page = Page(self.text("--hostile", "report.html"))
        self.assertEqual(page.tags.count("script"), 1)
        self.assertIn("</script><script>alert(1)</script>", "".join(page.words))
        self.assertFalse(any("alert" in code for code in page.scripts))
        self.assertNotIn("\x1b", self.text("--hostile", "report.html"))
        self.assertNotIn("\x1b", self.text("--hostile", "table.txt"))

    def test_charts_carry_the_values_that_the_pointer_shows(self):
        page = Page(self.text("", "report.html"))
        plots = [json.loads(value) for tag, name, value in page.attributes if name == "data-plot"]
        self.assertEqual(len(plots), 13)  # 2 of the sweep, 2 of latency, 7 over time, 2 of GPUs
        for points in plots:
            places = [point[0] for point in points]
            self.assertEqual(places, sorted(places))
            self.assertEqual(len({len(point) for point in points}), 1)
        self.assertEqual(page.tags.count("svg"), len(plots))
        self.assertIn("prefers-color-scheme:dark", "".join(page.scripts))

    def test_a_stall_shows_in_the_chart_of_first_tokens(self):
        windows = json.loads(self.text("", "report.json"))["timeline"]["windows"]
        slowest = max(windows, key=lambda window: window["ttft_p99_ms"] or 0)
        self.assertEqual(slowest["from_seconds"], 70)
        self.assertGreater(slowest["ttft_p99_ms"], 900)

    def test_json_has_the_documented_shape(self):
        self.assertEqual(list(conforms(json.loads(self.text("", "report.json")), REPORT)), [])
        hostile = json.loads(self.text("--hostile", "report.json"))
        self.assertEqual(list(conforms(hostile, {k: v for k, v in REPORT.items() if k != "sweep"})), [])

    def test_energy_is_the_power_of_all_gpus_over_the_measured_time(self):
        gpus = json.loads(self.text("", "report.json"))["gpus"]
        energy = gpus["energy"]
        by_hand = 0
        for device in gpus["devices"]:
            points = [(s["at_seconds"], s["power_watts"]) for s in device["samples"]]
            # A hundred to each second, between the readings around it.
            steps = 100 * int(energy["to_seconds"] - energy["from_seconds"])
            for step in range(steps):
                at = energy["from_seconds"] + (step + 0.5) / 100
                i = next(i for i, point in enumerate(points) if point[0] > at)
                (a, first), (b, last) = points[i - 1], points[i]
                by_hand += (first + (last - first) * (at - a) / (b - a)) / 100
        self.assertAlmostEqual(energy["joules"], by_hand, delta=0.001 * by_hand)
        self.assertAlmostEqual(sum(d["joules"] for d in gpus["devices"]), energy["joules"], delta=1)
        requests = [json.loads(line) for line in self.text("", "requests.jsonl").splitlines()]
        tokens = sum(n for r in requests for at, n in r["arrivals"]
                     if energy["from_seconds"] <= at < energy["to_seconds"])
        self.assertEqual(tokens, energy["output_tokens"])
        self.assertAlmostEqual(energy["tokens_per_joule"], tokens / by_hand, delta=0.001 * tokens / by_hand)

    def test_gpus_are_shown_with_what_went_wrong(self):
        page = "".join(Page(self.text("", "report.html")).words)
        table = self.text("", "table.txt")
        for text in (page, table):
            self.assertIn("5 of 124 pages of 127.0.0.1:9410 could not be had; the first: connecting", text)
            self.assertIn("GPU 1 had XID error 94", text)
            self.assertIn("output tokens/J", text)
        for head in ("utilisation", "tensor cores", "memory, GiB", "power, W"):
            self.assertIn(head, page)
        self.assertNotIn("SMs", page)
        gpus = [line.split() for line in table.splitlines() if line.startswith("GPU ")]
        self.assertEqual([row[:2] for row in gpus], [["GPU", "util"], ["GPU", "0"], ["GPU", "1"]])
        self.assertEqual(json.loads(self.text("", "report.json"))["gpus"]["devices"][1]["xid_errors"], [94])
        rows = list(csv.reader(io.StringIO(self.text("", "report.csv"))))
        values = {(row[0], row[1], row[2]): float(row[3]) for row in rows[1:]}
        self.assertGreater(values["gpu GPU 0", "power_watts", "mean"], 400)
        self.assertEqual(values["gpu pages 127.0.0.1:9410", "pages", "failures"], 5)
        self.assertNotIn(("gpu GPU 0", "sm_active", "mean"), values)
        self.assertIn(("all gpus", "energy", "tokens_per_joule"), values)

    def test_json_of_a_late_client_has_no_figures(self):
        report = json.loads(self.text("--late", "report.json"))
        self.assertEqual(list(conforms(report, HEAD)), [])
        self.assertEqual(set(report), set(HEAD) | {"refused"})
        self.assertFalse(report["lateness"]["tolerable"])
        self.assertIn("the client itself was late", report["refused"])
        self.assertNotIn("TTFT", self.text("--late", "table.txt"))
        self.assertNotIn("<svg", self.text("--late", "report.html"))

    def test_requests_are_one_object_a_line_and_add_up_to_the_summary(self):
        requests = [json.loads(line) for line in self.text("", "requests.jsonl").splitlines()]
        self.assertEqual([problem for request in requests for problem in conforms(request, REQUEST)], [])
        counted = [r for r in requests if r["measured"] and r["fault"] == "none"]
        outcomes = json.loads(self.text("", "report.json"))["summary"]["outcomes"]
        self.assertEqual(len(counted), outcomes["asked"])
        self.assertEqual(sum(r["code"] == "OK" for r in counted), outcomes["completed"])
        ttft = sorted(r["ttft_ms"] for r in counted if r["ttft_ms"] is not None)
        summary = json.loads(self.text("", "report.json"))["summary"]["latencies"]["ttft_ms"]
        self.assertAlmostEqual(summary["max"], ttft[-1], delta=0.001 * ttft[-1])
        self.assertAlmostEqual(summary["p50"]["value"], ttft[len(ttft) // 2], delta=0.5)
        self.assertEqual(len(self.text("--hostile", "requests.jsonl").splitlines()), len(requests))

    def test_csv_reads_as_a_table_and_holds_no_formula(self):
        for kind in self.folders:
            rows = list(csv.reader(io.StringIO(self.text(kind, "report.csv"))))
            self.assertEqual(rows[0], ["scope", "figure", "statistic", "value", "low", "high"])
            self.assertEqual({len(row) for row in rows}, {6})
            for row in rows[1:]:
                float(row[3])
                self.assertFalse(any(cell[:1] in "=+-@" for cell in row[:3] if cell))
        scopes = {row[0] for row in csv.reader(io.StringIO(self.text("", "report.csv")))}
        self.assertLessEqual({"client", "all", "class chat", "rate 15"}, scopes)


if __name__ == "__main__":
    unittest.main()
