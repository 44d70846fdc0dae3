"""annotate_run.py marks a load run where dashboards look for marks, and says why if it cannot.

Grafana is a stub here: one HTTP server that keeps what it is sent.
"""
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
sys.path.append(str(SOURCE / "tests/support"))
from grafana_dashboards import dashboards  # noqa: E402

REPORT = {
    "schema": "switchyard-load/1",
    "environment": {"command_line": "switchyard load --rate 5", "start_unix_seconds": 1700000000.25,
                    "end_unix_seconds": 1700000060.5},
    "refused": None,
    "summary": {"outcomes": {"asked": 300, "completed": 298},
                "rates": {"requests_per_second": {"value": 4.9876}, "output_tokens_per_second": {"value": 640.04}}},
}


class Grafana(http.server.BaseHTTPRequestHandler):
    asked, answer = [], (200, {"message": "Annotation added", "id": 17})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Grafana.asked.append((self.path, self.headers.get("Authorization"), json.loads(body)))
        code, answer = Grafana.answer
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


class AnnotateRunTest(unittest.TestCase):
    def setUp(self):
        Grafana.asked, Grafana.answer = [], (200, {"id": 17})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Grafana)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def mark(self, report, token="secret"):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(report if isinstance(report, str) else json.dumps(report))
            file.flush()
            return subprocess.run(
                [sys.executable, SOURCE / "deploy/grafana/annotate_run.py", file.name, "--grafana",
                 f"http://127.0.0.1:{self.server.server_port}"], capture_output=True, text=True, timeout=30,
                env={"PATH": os.environ["PATH"], "GRAFANA_TOKEN": token})

    def test_a_run_is_marked_from_its_start_to_its_end(self):
        done = self.mark(REPORT)
        self.assertEqual((done.returncode, done.stdout), (0, "17\n"), done.stderr)
        self.assertEqual(Grafana.asked, [("/api/annotations", "Bearer secret", {
            "time": 1700000000250, "timeEnd": 1700000060500, "tags": ["switchyard-load"],
            "text": "switchyard load --rate 5\n"
                    "298 of 300 requests completed, 4.988 per second, 640 tokens per second"})])

    def test_dashboards_show_what_has_that_tag(self):
        self.mark(REPORT)
        for dashboard in dashboards():
            tags = [entry["target"]["tags"] for entry in dashboard["annotations"]["list"] if "target" in entry]
            self.assertEqual(tags, [Grafana.asked[0][2]["tags"]])

    def test_a_report_without_figures_is_marked_with_the_reason(self):
        self.mark({**REPORT, "refused": "the client was late", "summary": None})
        self.assertTrue(Grafana.asked[0][2]["text"].endswith("No figures: the client was late"))

    def test_a_rate_that_is_unknown_is_called_so(self):
        report = json.loads(json.dumps(REPORT))
        report["summary"]["rates"]["requests_per_second"]["value"] = None
        self.mark(report)
        self.assertIn("completed, unknown per second", Grafana.asked[0][2]["text"])

    def test_without_a_token_none_is_sent(self):
        self.mark(REPORT, token="")
        self.assertIsNone(Grafana.asked[0][1])

    def test_what_is_no_report_is_refused_and_nothing_sent(self):
        without_end = {**REPORT, "environment": {"command_line": "x", "start_unix_seconds": 1}}
        for report, why in (("{", "Expecting"), ([], "switchyard-load/1"), ({"schema": "other"}, "switchyard-load/1"),
                            (without_end, "the report has no environment.end_unix_seconds")):
            done = self.mark(report)
            self.assertEqual(done.returncode, 1)
            self.assertIn(why, done.stderr)
        self.assertEqual(Grafana.asked, [])

    def test_grafanas_refusal_is_told(self):
        Grafana.answer = (403, {"message": "Permission denied"})
        done = self.mark(REPORT)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Grafana answered 403", done.stderr)
        self.assertIn("Permission denied", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
