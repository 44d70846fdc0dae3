"""Who asks for nothing costs nothing: idle streams, connections that stop halfway and readers that
do not read leave the time between other callers' tokens as it is.

    bystanders_test.py [--idle 5000] [--rounds 20]     CI runs it with fewer
"""
import argparse
import contextlib
import resource
import socket
import statistics
import sys
import threading
import unittest

import grpc

from api import Stub, message, open_channel
from node_process import NodeProcess, endless, greedy

IDLE, ROUNDS = 600, 8
STREAMS_OF_A_CHANNEL = 1250  # HTTP/2 connections are limited to 4,096 by the node
HALF_OPEN = 200
MOST_SLOWER = 0.10
# Of few rounds on a machine that does other things.
MOST_SLOWER_OF_A_SHORT_RUN = 0.25
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def allow_many_files(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))  # the node inherits it


def milliseconds_per_token(node):
    """Of one answer, as the node measured it: this process's own load does not count."""
    usage = node.generation.Generate(greedy("a story of", 200, ignore_eos=True), timeout=60).usage
    return usage.timings.decode.ToNanoseconds() / 1e6 / (usage.completion_tokens - 1)


@contextlib.contextmanager
def idle_streams(node):
    """Watches of health: open calls that hear something once and then nothing."""
    channels = [open_channel(node.grpc_address) for _ in range(-(-IDLE // STREAMS_OF_A_CHANNEL))]
    stubs = [Stub(channel, "grpc.health.v1.Health") for channel in channels]
    watches = [stubs[i % len(stubs)].Watch(message("grpc.health.v1.HealthCheckRequest")) for i in range(IDLE)]
    for watch in watches:
        next(watch)
    yield
    for watch in watches:
        watch.cancel()
    for channel in channels:
        channel.close()


@contextlib.contextmanager
def half_open_connections(node):
    host, port = node.grpc_address.rsplit(":", 1)
    connections = [socket.create_connection((host, int(port)), timeout=10) for _ in range(HALF_OPEN)]
    for i, connection in enumerate(connections):
        connection.sendall(PREFACE[:i % len(PREFACE)])
    yield
    for connection in connections:
        connection.close()


@contextlib.contextmanager
def readers(node, read):
    """Four answers that outlast a measurement; `read` says whether anybody takes them."""
    channel = open_channel(node.grpc_address)
    stub = Stub(channel, "switchyard.v1.GenerationService")
    streams = [stub.GenerateStream(endless(seed=seed)) for seed in range(4)]
    for stream in streams:
        next(stream)

    def take(stream):
        with contextlib.suppress(grpc.RpcError):  # cancelled
            for _ in stream:
                pass

    threads = [threading.Thread(target=take, args=(stream,)) for stream in streams if read]
    for thread in threads:
        thread.start()
    yield
    for stream in streams:
        stream.cancel()
    for thread in threads:
        thread.join()
    channel.close()


@contextlib.contextmanager
def nobody(_):
    yield


class BystandersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        allow_many_files(4 * IDLE + 4096)
        cls.node = cls.enterClassContext(NodeProcess("--threads", "1", "--log-level", "warn"))

    def expect_no_slower(self, what, bystanders, otherwise=nobody):
        """Rounds with and without in turn, so that what else the machine does meets both."""
        alone, beside = [], []
        for _ in range(ROUNDS):
            for others, times in ((otherwise, alone), (bystanders, beside)):
                with others(self.node):
                    milliseconds_per_token(self.node)  # while they come
                    times.append(milliseconds_per_token(self.node))
        # What else the machine does only ever adds: the lower quartile is what it left alone.
        without, with_them = (statistics.quantiles(sorted(times), n=4)[0] for times in (alone, beside))
        slower = with_them / without - 1
        print(f"{what}: {without:.3f} ms a token without, {with_them:.3f} ms with them ({slower:+.1%}), "
              f"lower quartiles of {ROUNDS}")
        limit = MOST_SLOWER if ROUNDS >= 20 else MOST_SLOWER_OF_A_SHORT_RUN
        self.assertLess(slower, limit)

    def test_idle_streams(self):
        self.expect_no_slower(f"{IDLE} idle streams", idle_streams)
        self.assertEqual(self.node.metric("switchyard_grpc_server_started_total", method="Watch"), IDLE * ROUNDS)

    def test_half_open_connections(self):
        self.expect_no_slower(f"{HALF_OPEN} half-open connections", half_open_connections)

    def test_readers_that_do_not_read(self):
        # Their answers are computed whether or not they read: compared is what not reading adds.
        self.expect_no_slower("4 readers that do not read", lambda node: readers(node, read=False),
                              otherwise=lambda node: readers(node, read=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=IDLE)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    known, rest = parser.parse_known_args()
    IDLE, ROUNDS = known.idle, known.rounds
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
