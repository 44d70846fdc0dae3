"""A node that is told to stop: it finishes what it has, takes nothing new, and says so.

    shutdown_test.py [--repetitions 50]      of the SIGTERM under load; CI does three
"""
import argparse
import random
import signal
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc

from api import Stub, details, message
from node_process import NodeProcess, code_of, collect, endless, greedy, v1

SERVING, NOT_SERVING = 1, 2
REPETITIONS = 3


def refused(node):
    code, error = code_of(lambda: node.generation.Generate(greedy("late", 4), timeout=10))
    return code, error


class NothingIsLostTest(unittest.TestCase):
    FLAGS = ()

    def test_sigterm_under_load_loses_no_stream(self):
        node = NodeProcess(*self.FLAGS)
        tokens, streams = 600, 8
        begun = threading.Barrier(streams + 1, timeout=30)

        def ask(_):
            stream = node.generation.GenerateStream(greedy("a long story", tokens, ignore_eos=True), timeout=60)
            first = next(stream)
            begun.wait()
            return collect(iter([first, *stream]))

        with ThreadPoolExecutor(streams) as pool:
            asked = [pool.submit(ask, i) for i in range(streams)]
            begun.wait()
            node.signal()
            answers = [future.result() for future in asked]
        self.assertEqual([len(answer[2]) for answer in answers], [tokens] * streams)
        self.assertEqual(node.wait(), 0)
        node.stop()

    def test_sigterm_while_answers_come_and_go_loses_none(self):
        begun = whole = refusals = 0
        for repetition in range(REPETITIONS):
            dice = random.Random(repetition)
            node = NodeProcess("--log-level", "warn", *self.FLAGS)
            outcomes = []

            def ask_until_refused(seed, node=node, outcomes=outcomes):
                lengths = random.Random(seed)
                while True:
                    tokens = lengths.randrange(20, 300)
                    received = 0
                    try:
                        stream = node.generation.GenerateStream(greedy("a story", tokens, ignore_eos=True), timeout=60)
                        for event in stream:
                            received += event.delta.token_count if event.HasField("delta") else 0
                        outcomes.append(("whole" if received == tokens else "short", None))
                    except grpc.RpcError as error:
                        outcomes.append(("cut" if received else "refused", error.code()))
                        return

            askers = [threading.Thread(target=ask_until_refused, args=(100 * repetition + i,)) for i in range(12)]
            for asker in askers:
                asker.start()
            time.sleep(dice.uniform(0.05, 0.5))  # whatever they are doing then
            node.signal()
            for asker in askers:
                asker.join(60)
            self.assertEqual(node.wait(), 0)
            node.stop()
            self.assertLessEqual(set(outcomes), {("whole", None), ("refused", grpc.StatusCode.UNAVAILABLE)})
            begun += len(outcomes)
            whole += sum(outcome[0] == "whole" for outcome in outcomes)
            refusals += sum(outcome[0] == "refused" for outcome in outcomes)
        self.assertEqual(refusals, 12 * REPETITIONS)
        print(f"{REPETITIONS} times: {begun} streams, {whole} whole, {refusals} refused before they began, 0 lost")


class NothingIsLostBehindTheMuxTest(NothingIsLostTest):
    FLAGS = ("--metrics-on-listen", "on")


class ShutdownTest(unittest.TestCase):
    def test_while_draining_new_calls_are_told_to_go_elsewhere(self):
        with NodeProcess() as node:
            health = Stub(node.channel, "grpc.health.v1.Health")
            watch = health.Watch(message("grpc.health.v1.HealthCheckRequest"), timeout=30)
            self.assertEqual(next(watch).status, SERVING)
            stream = node.generation.GenerateStream(endless(), timeout=60)
            first = next(stream)
            in_flight = node.admin.Drain(v1("DrainRequest"), timeout=10).in_flight
            self.assertEqual(in_flight, 1)
            self.assertEqual(next(watch).status, NOT_SERVING)
            code, error = refused(node)
            self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(details(error, "google.rpc.ErrorInfo")[0].reason, "DRAINING")
            self.assertEqual(len(details(error, "google.rpc.RetryInfo")), 1)
            collect(iter([first, *stream]))  # what was in flight is finished
            watch.cancel()

    def test_a_second_sigterm_does_not_wait(self):
        node = NodeProcess()
        streams = [node.generation.GenerateStream(endless(seed=i), timeout=60) for i in range(16)]
        for stream in streams:
            next(stream)
        node.signal()
        time.sleep(0.2)
        self.assertIsNone(node.process.poll(), "the first SIGTERM must let streams finish")
        node.signal()
        began = time.monotonic()
        self.assertIsInstance(node.wait(10), int)
        self.assertLess(time.monotonic() - began, 5)
        node.stop()

    def test_a_drain_ends_at_its_limit(self):
        node = NodeProcess("--drain-limit", "100ms")
        stream = node.generation.GenerateStream(endless(), timeout=60)
        next(stream)
        began = time.monotonic()
        node.signal()
        code, _ = code_of(lambda: list(stream))
        self.assertIn(code, (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED))
        self.assertIsInstance(node.wait(10), int)
        self.assertLess(time.monotonic() - began, 8)
        node.stop()

    def test_an_idle_node_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            node = NodeProcess()
            began = time.monotonic()
            node.signal(number)
            self.assertEqual(node.wait(10), 0)
            self.assertLess(time.monotonic() - began, 3)
            node.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    known, rest = parser.parse_known_args()
    REPETITIONS = known.repetitions
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
