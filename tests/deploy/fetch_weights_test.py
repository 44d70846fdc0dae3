"""deploy/fetch_weights.sh against a server of files that can be told to misbehave."""
import hashlib
import http.server
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
SCRIPT = SOURCE_DIR / "deploy/fetch_weights.sh"
FILES = {"config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 4000}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; counts requests and the bytes it sent, and remembers tokens."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.sent, self.tokens = dict(files), [], 0, set()
        self.ranges = True
        self.cut_after = None  # end a connection after so many bytes
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        server.requests.append(name)
        server.tokens.add(self.headers.get("Authorization"))
        body = server.files.get(name)
        if body is None:
            return self.send_error(404)
        start = 0
        if server.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        piece = body[start:] if server.cut_after is None else body[start:start + server.cut_after]
        self.wfile.write(piece)
        server.sent += len(piece)
        self.close_connection = True

    def log_message(self, *_):
        pass


class FetchWeightsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="switchyard-weights-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.to = self.folder / "model"
        self.sums = self.folder / "SHA256SUMS"
        self.write_sums(FILES)
        self.server = Server(FILES)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def write_sums(self, files):
        lines = [f"{hashlib.sha256(body).hexdigest()}  {name}" for name, body in files.items()]
        self.sums.write_text("# a model\n\n" + "\n".join(lines) + "\n")

    def run_script(self, *arguments):
        return subprocess.run([SCRIPT, "--sums", self.sums, "--to", self.to, *arguments], capture_output=True,
                              text=True, timeout=60, check=False)

    def fetch(self, *arguments):
        return self.run_script("--url", self.server.url, *arguments)

    def assert_complete(self, run):
        self.assertEqual(run.returncode, 0, run.stderr)
        for name, body in FILES.items():
            self.assertEqual((self.to / name).read_bytes(), body)
        self.assertEqual(sorted(path.name for path in self.to.iterdir()), sorted([".complete", *FILES]))

    def test_it_fetches_all_and_then_needs_no_network(self):
        self.assert_complete(self.fetch())
        requests = len(self.server.requests)
        self.assert_complete(self.fetch())
        self.assertEqual(len(self.server.requests), requests)

    def test_an_interrupted_download_goes_on_where_it_was(self):
        self.to.mkdir()
        whole = FILES["model.safetensors"]
        (self.to / "model.safetensors.part").write_bytes(whole[:1_000_000])
        self.assert_complete(self.fetch())
        self.assertEqual(self.server.sent, len(whole) - 1_000_000 + len(FILES["config.json"]))

    def test_a_connection_that_breaks_costs_no_more_than_what_is_missing(self):
        self.server.cut_after = 300_000
        for _ in range(10):
            run = self.fetch()
            if run.returncode == 0:
                break
            self.assertFalse((self.to / ".complete").exists())
        self.assert_complete(run)
        self.assertEqual(self.server.sent, sum(len(body) for body in FILES.values()))

    def test_a_server_that_cannot_continue_is_asked_for_the_whole(self):
        self.to.mkdir()
        (self.to / "model.safetensors.part").write_bytes(FILES["model.safetensors"][:1000])
        self.server.ranges = False
        self.assert_complete(self.fetch())

    def test_a_rest_that_is_no_beginning_of_the_file_is_thrown_away(self):
        self.to.mkdir()
        for rest in (b"x" * 1000, b"x" * 2_000_000):
            (self.to / "model.safetensors.part").write_bytes(rest)
            (self.to / ".complete").unlink(missing_ok=True)
            (self.to / "model.safetensors").unlink(missing_ok=True)
            self.assert_complete(self.fetch())

    def test_wrong_bytes_are_not_accepted(self):
        self.server.files["model.safetensors"] = b"y" + FILES["model.safetensors"][1:]
        run = self.fetch()
        self.assertEqual(run.returncode, 1)
        self.assertIn("model.safetensors", run.stderr)
        self.assertIn("SHA-256", run.stderr)
        self.assertEqual([path.name for path in self.to.iterdir()], ["config.json"])

    def test_a_damaged_file_is_fetched_again_when_the_list_changes(self):
        self.assert_complete(self.fetch())
        self.write_sums(dict(reversed(FILES.items())))
        (self.to / "config.json").write_bytes(b"{}")
        self.assert_complete(self.fetch())
        self.assertEqual(self.server.requests.count("config.json"), 2)
        self.assertEqual(self.server.requests.count("model.safetensors"), 1)

    def test_waiting_ends_with_the_stamp_and_only_with_that_of_the_same_list(self):
        run = self.run_script("--wait", "--wait-limit", "1")
        self.assertEqual(run.returncode, 1)
        self.assert_complete(self.fetch())
        self.assertEqual(self.run_script("--wait", "--wait-limit", "1").returncode, 0)
        self.write_sums({"config.json": FILES["config.json"]})
        self.assertEqual(self.run_script("--wait", "--wait-limit", "1").returncode, 1)

    def test_a_missing_file_fails(self):
        del self.server.files["config.json"]
        run = self.fetch()
        self.assertEqual(run.returncode, 1)
        self.assertIn("404", run.stderr)

    def test_a_token_is_sent_and_never_in_the_clear(self):
        token = self.folder / "token"
        token.write_text("hf_secret\n")
        self.assert_complete(self.fetch("--token", token))
        self.assertEqual(self.server.tokens, {"Bearer hf_secret"})
        run = self.run_script("--url", "http://weights.example.com", "--token", token)
        self.assertEqual(run.returncode, 2)
        self.assertIn("https", run.stderr)

    def test_names_that_leave_the_folder_are_refused(self):
        for name in ("../evil", "/etc/passwd", ".hidden", "a/b", "a b", "-o"):
            with self.subTest(name):
                self.sums.write_text(f"{'0' * 64}  {name}\n")
                run = self.fetch()
                self.assertEqual((run.returncode, self.server.requests), (2, []), run.stderr)

    def test_a_list_that_is_none_is_refused(self):
        for text in ("", "# nothing\n", "abc  config.json\n"):
            with self.subTest(text):
                self.sums.write_text(text)
                self.assertEqual(self.fetch().returncode, 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
