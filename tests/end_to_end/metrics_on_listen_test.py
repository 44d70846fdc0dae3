"""The gRPC port with --metrics-on-listen: the metrics page over HTTP/1 beside gRPC, and neither gets in the other's
way, whoever connects."""
import http.client
import os
import random
import shutil
import socket
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from api import SOURCE_DIR, Stub, message, open_channel
from node_process import NodeProcess, collect, greedy

sys.path.append(str(SOURCE_DIR / "tests/support"))
from prometheus_tools import promtool  # noqa: E402

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
SERVING = 1
SILENT = 400  # more than may be undecided


def fetch(address, method="GET", path="/metrics", **headers):
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def without_exposer(page):
    """Without what the metrics port's own server counts of itself."""
    return [line for line in page.splitlines() if not line.removeprefix("# HELP ").removeprefix("# TYPE ")
            .startswith("exposer_")]


def names(page):
    return {line.rsplit(" ", 1)[0] for line in without_exposer(page) if not line.startswith("#")}


class MetricsOnListenTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess("--metrics-on-listen", "on"))
        cls.address = cls.node.grpc_address

    def tearDown(self):
        self.assertTrue(self.node.answers())
        self.assertEqual(fetch(self.address)[0].status, 200)
        channel = open_channel(self.address)  # a newcomer gets in too
        health = Stub(channel, "grpc.health.v1.Health")
        self.assertEqual(health.Check(message("grpc.health.v1.HealthCheckRequest"), timeout=10).status, SERVING)
        channel.close()

    def connect(self):
        host, port = self.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=20)
        self.addCleanup(connection.close)
        return connection

    def hear(self, connection):
        """Everything up to the end of a connection."""
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            pass
        return received

    def test_its_page_is_that_of_the_metrics_port(self):
        self.node.wait_until_idle()
        for _ in range(20):  # until the last call, too, is counted
            answer, here = fetch(self.address)
            there = without_exposer(fetch(self.node.metrics_address)[1])
            if here.splitlines() == there:
                break
        self.assertEqual(here.splitlines(), there)
        self.assertGreater(len(names(here)), 100)
        self.assertTrue(answer.getheader("Content-Type").startswith("text/plain; version=0.0.4"))
        self.assertEqual(int(answer.getheader("Content-Length")), len(here))
        self.assertEqual(answer.getheader("Connection"), "close")

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_takes_it(self):
        # vLLM's names are vLLM's own; promtool dislikes their colon, which is for recording rules.
        ours = [line for line in fetch(self.address)[1].splitlines() if "vllm:" not in line]
        promtool("check", "metrics", text="\n".join(ours) + "\n")

    def test_a_picker_scrapes_it_while_streams_run(self):
        tokens, streams = 400, 8
        health = Stub(self.node.channel, "grpc.health.v1.Health")

        def ask(seed):
            channel = open_channel(self.address)
            try:
                stub = Stub(channel, "switchyard.v1.GenerationService")
                request = greedy(f"a story of {seed}", tokens, ignore_eos=True)
                return len(collect(stub.GenerateStream(request, timeout=60))[2])
            finally:
                channel.close()

        pages, running = [], 0
        with ThreadPoolExecutor(streams) as pool:
            asked = [pool.submit(ask, i) for i in range(streams)]
            while not all(future.done() for future in asked):
                pages.append(fetch(self.address)[1])
                status = health.Check(message("grpc.health.v1.HealthCheckRequest"), timeout=10).status
                self.assertEqual(status, SERVING)
                time.sleep(0.05)
            self.assertEqual([future.result() for future in asked], [tokens] * streams)
        there = names(fetch(self.node.metrics_address)[1])
        for page in pages:
            self.assertEqual(names(page), there)
            for line in page.splitlines():
                if line.startswith("vllm:num_requests_running"):
                    running = max(running, float(line.rsplit(" ", 1)[1]))
        self.assertGreater(len(pages), 1)
        self.assertGreater(running, 1)

    def test_there_is_nothing_else(self):
        answer, page = fetch(self.address, "HEAD")
        self.assertEqual((answer.status, page), (200, ""))
        self.assertGreater(int(answer.getheader("Content-Length")), 1000)
        for path in ("/", "/metrics/", "/switchyard.v1.GenerationService/Generate", "//metrics"):
            self.assertEqual(fetch(self.address, path=path)[0].status, 404, path)
        self.assertEqual(fetch(self.address, path="/metrics?name=x")[0].status, 200)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
            answer, _ = fetch(self.address, method)
            self.assertEqual((answer.status, answer.getheader("Allow")), (405, "GET, HEAD"), method)

    def test_one_answer_for_each_connection(self):
        connection = self.connect()
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        self.assertEqual(self.hear(connection).count(b"HTTP/1.1 200 OK"), 1)

    def test_a_greeting_of_grpc_that_comes_byte_by_byte(self):
        connection = self.connect()
        for byte in PREFACE[:4]:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
        connection.sendall(PREFACE[4:] + SETTINGS)
        self.assertEqual(connection.recv(9)[3], 4)  # the node's settings

    def test_a_greeting_of_grpc_after_a_long_silence(self):
        connection = self.connect()
        time.sleep(2.5)
        connection.sendall(PREFACE + SETTINGS)
        self.assertEqual(connection.recv(9)[3], 4)

    def test_a_slow_head_is_ended_and_holds_up_nobody(self):
        slow = [self.connect() for _ in range(60)]
        for connection in slow:
            connection.sendall(b"GET /met")
        self.assertEqual(fetch(self.address)[0].status, 200)
        self.assertTrue(self.node.answers())
        began = time.monotonic()
        for connection in slow:
            self.assertEqual(self.hear(connection), b"")
        self.assertLess(time.monotonic() - began, 5)

    def test_a_huge_head_is_refused(self):
        for head in (b"GET /" + b"a" * 1_000_000, b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 100_000):
            connection = self.connect()
            connection.sendall(head)
            connection.shutdown(socket.SHUT_WR)
            self.assertEqual(self.hear(connection)[:12], b"HTTP/1.1 431")

    def test_silence_holds_up_nobody(self):
        silent = [self.connect() for _ in range(SILENT)]
        began = time.monotonic()
        self.assertEqual(fetch(self.address)[0].status, 200)
        self.assertTrue(self.node.answers())
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(len(silent), SILENT)

    def test_garbage(self):
        seed = int.from_bytes(os.urandom(4), "big")
        print(f"garbage of seed {seed}")
        dice = random.Random(seed)
        for start in (b"", b"GET ", b"GET /metrics HTTP/1.1\r\n", b"HEAD /\r\n\r\n", b"PUT", b"PRI", b"\x16\x03\x01"):
            for length in (0, 1, 100, 20_000):
                connection = self.connect()
                connection.settimeout(0.2)
                try:
                    connection.sendall(start + dice.randbytes(length))
                    self.assertFalse(self.hear(connection).startswith(b"HTTP/1.1 200"))
                except OSError:  # closed on us, or silent: both are fine
                    pass
                connection.close()

    def test_a_page_that_nobody_reads(self):
        lazy = [self.connect() for _ in range(30)]
        for connection in lazy:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        self.assertEqual(fetch(self.address)[0].status, 200)

    def test_without_being_asked_the_port_has_no_page(self):
        with NodeProcess() as node:
            host, port = node.grpc_address.rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertNotIn(b"switchyard_", self.hear(connection))


if __name__ == "__main__":
    unittest.main(verbosity=2)
