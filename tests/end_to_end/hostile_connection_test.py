"""Connections that are no client: garbage, silence, and messages far too large. The node goes on serving."""
import contextlib
import os
import random
import resource
import socket
import threading
import time
import unittest

import grpc

from api import Stub, open_channel, v1
from node_process import NodeProcess, code_of, greedy

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING, GOAWAY = 6, 7
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def kinds_of(received):
    """The kinds of the frames that are whole."""
    kinds, start = [], 0
    while len(received) - start >= 9:
        length = int.from_bytes(received[start:start + 3], "big")
        kinds.append(received[start + 3])
        start += 9 + length
    return kinds


class HostileConnectionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess())

    def tearDown(self):
        self.assertTrue(self.node.answers())
        channel = open_channel(self.node.grpc_address)  # a newcomer gets in too
        answer = Stub(channel, "switchyard.v1.GenerationService").Generate(greedy("x", 2), timeout=20)
        channel.close()
        self.assertGreater(answer.usage.completion_tokens, 0)
        self.assertGreater(len(self.node.metrics()), 0)
        self.node.wait_until_idle()

    def addresses(self):
        return (self.node.grpc_address, self.node.admin_address, self.node.metrics_address)

    def connect(self, address):
        host, port = address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=5)
        self.addCleanup(connection.close)
        return connection

    def send(self, address, data):
        connection = self.connect(address)
        try:
            connection.sendall(data)
            connection.settimeout(0.2)
            while connection.recv(65536):
                pass
        except OSError:  # closed on us, or silent: both are fine
            pass

    def test_garbage(self):
        seed = int.from_bytes(os.urandom(4), "big")
        print(f"garbage of seed {seed}")
        dice = random.Random(seed)
        for address in self.addresses():
            for length in (1, 10, 1000, 200_000):
                self.send(address, dice.randbytes(length))
            self.send(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500))  # TLS hello
            self.send(address, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")
            self.send(address, b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n")

    def test_garbage_frames_after_a_correct_greeting(self):
        dice = random.Random(7)
        for address in (self.node.grpc_address, self.node.admin_address):
            for kind in range(12):
                self.send(address, PREFACE + SETTINGS + frame(kind, 0xFF, 1, dice.randbytes(100)))
                self.send(address, PREFACE + SETTINGS + frame(kind, 0, 0, b""))
            self.send(address, PREFACE + SETTINGS + b"\xff\xff\xff" + dice.randbytes(1000))  # a frame of 16 MiB
            self.send(address, PREFACE + SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 100)  # windows overflow
            self.send(address, PREFACE + frame(4, 0, 0, b"\0\x05\xff\xff\xff\xff") * 50)  # impossible settings

    def kinds_that_come_back(self, address, pings, seconds_between):
        """The kinds of all frames that answer so many pings on a connection without calls."""
        connection = self.connect(address)
        connection.settimeout(20)
        connection.sendall(PREFACE + SETTINGS)
        received = bytearray()

        def receive():
            with contextlib.suppress(OSError):  # hung up on us
                while kinds_of(received).count(PING) < pings and (data := connection.recv(65536)):
                    received.extend(data)

        receiver = threading.Thread(target=receive)
        receiver.start()
        with contextlib.suppress(OSError):
            for number in range(pings):
                connection.sendall(frame(PING, 0, 0, number.to_bytes(8, "big")))
                time.sleep(seconds_between(number))
        receiver.join()
        return kinds_of(received)

    def test_a_client_that_pings_ten_times_a_second_keeps_its_connection(self):
        kinds = self.kinds_that_come_back(self.node.grpc_address, pings=40, seconds_between=lambda number: 0.1)
        self.assertEqual(kinds.count(PING), 40)
        self.assertNotIn(GOAWAY, kinds)

    def test_pings_that_the_network_hands_over_in_bunches_keep_their_connection(self):
        kinds = self.kinds_that_come_back(self.node.grpc_address, pings=40,
                                          seconds_between=lambda number: 0.4 if number % 4 == 3 else 0)
        self.assertEqual(kinds.count(PING), 40)
        self.assertNotIn(GOAWAY, kinds)

    def test_a_flood_of_pings_is_told_to_go_away(self):
        kinds = self.kinds_that_come_back(self.node.grpc_address, pings=1000, seconds_between=lambda number: 0.001)
        self.assertIn(GOAWAY, kinds)

    def test_a_hundred_connections_that_say_nothing(self):
        quiet = [self.connect(address) for _ in range(100) for address in self.addresses()[:1]]
        half = [self.connect(self.node.grpc_address) for _ in range(20)]
        for connection in half:
            connection.sendall(PREFACE[:10])
        self.connect(self.node.metrics_address).sendall(b"GET /met")
        self.assertTrue(self.node.answers())
        self.assertEqual(len(quiet), 100)

    def test_more_connections_than_the_node_began_with_descriptors(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            node = NodeProcess()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with node:
            quiet = [self.connect(node.grpc_address) for _ in range(300)]
            time.sleep(0.5)  # all are accepted
            channel = open_channel(node.grpc_address)
            Stub(channel, "switchyard.v1.GenerationService").Generate(greedy("x", 2), timeout=20)
            channel.close()
            self.assertEqual(len(quiet), 300)

    def test_a_message_of_100_mebibytes(self):
        request = v1("GenerateRequest", text="x" * (100 << 20))
        code, _ = code_of(lambda: self.node.generation.Generate(request, timeout=60))
        self.assertEqual(code, grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_a_large_message_within_the_limit_is_judged_by_its_content(self):
        request = v1("GenerateRequest", text="x y " * (2 << 20))
        code, _ = code_of(lambda: self.node.generation.Generate(request, timeout=60))
        self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT)

    def test_a_call_whose_request_never_comes(self):
        release = threading.Event()

        def nothing():
            release.wait(10)
            yield from ()

        call = self.node.channel.stream_unary("/switchyard.v1.GenerationService/Generate")
        pending = call.future(nothing(), timeout=1)
        self.assertTrue(self.node.answers())
        self.assertEqual(code_of(pending.result)[0], grpc.StatusCode.DEADLINE_EXCEEDED)
        release.set()


if __name__ == "__main__":
    unittest.main(verbosity=2)
