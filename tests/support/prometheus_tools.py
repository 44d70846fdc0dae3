"""Prometheus for tests: where its programs are, and a server of one's own on a free port.

The programs are those that deploy/fetch_prometheus.sh unpacked, else those in PATH.
"""
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

FETCHED = Path(__file__).resolve().parents[2] / "build/tools/prometheus/usr/bin"
LISTENS = re.compile(r'msg="Listening on"(?: \S+)*? address=(\S+)')


def _program(name):
    found = shutil.which(name, path=FETCHED) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is neither in {FETCHED} nor in PATH; deploy/fetch_prometheus.sh gets it")
    return found


def promtool(*arguments, text=""):
    """Runs promtool; what it wrote, or an AssertionError if it found fault."""
    done = subprocess.run([_program("promtool"), *map(str, arguments)], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Prometheus:
    """A running server on a configuration file. A context manager; leaving it ends the server."""

    def __init__(self, config_file):
        self._folder = tempfile.TemporaryDirectory(prefix="switchyard-prometheus-")
        log = Path(self._folder.name) / "log"
        with open(log, "w", encoding="utf-8") as log_file:
            self._process = subprocess.Popen(
                [_program("prometheus"), f"--config.file={config_file}", "--web.listen-address=127.0.0.1:0",
                 f"--storage.tsdb.path={self._folder.name}/data"], stderr=log_file)
        try:
            self.wait_until(lambda: "Server is ready" in log.read_text() or self._process.poll() is not None, 30)
            assert self._process.poll() is None, "prometheus did not start; its log:\n" + log.read_text()
        except AssertionError:
            self.__exit__()
            raise
        self.url = f"http://{LISTENS.search(log.read_text())[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(30)
        self._folder.cleanup()

    def get(self, path, **parameters):
        """`data` of an answer of the HTTP API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def query(self, expression, **parameters):
        """The series of an instant query, each with `metric` and `value` or `values`."""
        return self.get("query", query=expression, **parameters)["result"]

    def now(self):
        """Its clock, in seconds."""
        return float(self.get("query", query="time()")["result"][0])

    @staticmethod
    def wait_until(holds, seconds=20):
        """Polls until holds() is true; returns what it returned."""
        deadline = time.monotonic() + seconds
        while not (result := holds()):
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.05)
        return result
