"""Twice the load that a node can serve: its queue stays bounded, who is refused learns when to come
back, what it serves does not shrink, its memory does not grow.

    overload_test.py [--seconds 60]      CI runs it for ten
"""
import argparse
import os
import statistics
import sys
import threading
import time
import unittest

import grpc

from api import details, v1
from node_process import NodeProcess, greedy

ROWS, QUEUE = 8, 16
TOKENS = 200  # enough that this process, on the same cores, costs little beside the answers
SECONDS = 10
LEAST_SHARE = 0.9


class Asker:
    """Unary calls that run side by side; what became of them is counted as they end."""

    def __init__(self, node):
        self.node = node
        self.lock = threading.Lock()
        self.open = 0
        self.done, self.refusals, self.others = 0, [], []
        self.ended = threading.Condition(self.lock)

    def ask(self):
        with self.lock:
            self.open += 1
        self.node.generation.Generate.future(greedy("a story of", TOKENS, ignore_eos=True),
                                             timeout=60).add_done_callback(self.on_end)

    def on_end(self, call):
        with self.lock:
            self.open -= 1
            if call.code() == grpc.StatusCode.OK:
                self.done += 1
            elif call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                self.refusals.append(call)
            else:
                self.others.append(call.code())
            self.ended.notify_all()

    def wait_until_open_below(self, limit):
        with self.lock:
            if not self.ended.wait_for(lambda: self.open < limit, timeout=60):
                raise AssertionError("calls do not end")


def resident_bytes(node):
    with open(f"/proc/{node.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096


class Rates:
    """How many answers a node gives per second, and per second of its own processor time: the second does not
    change with what else the machine does."""

    def __init__(self, node, asker):
        self.node, self.asker = node, asker
        self.began, self.processor_began = time.monotonic(), self.processor_seconds()

    def processor_seconds(self):
        with open(f"/proc/{self.node.process.pid}/stat", encoding="ascii") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def so_far(self):
        return (self.asker.done / (time.monotonic() - self.began),
                self.asker.done / (self.processor_seconds() - self.processor_began))


def capacity(node, seconds):
    """The rates when there is always an answer to begin and none is refused."""
    asker = Asker(node)
    rates = Rates(node, asker)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        asker.wait_until_open_below(ROWS + QUEUE // 2)
        asker.ask()
    reached = rates.so_far()
    asker.wait_until_open_below(1)
    return reached


class OverloadTest(unittest.TestCase):
    def test_twice_the_load_it_can_serve(self):
        with NodeProcess("--max-batch-rows", str(ROWS), "--max-queue", str(QUEUE), "--threads", "1",
                         "--log-level", "warn") as node:
            capacity(node, 1)
            before = capacity(node, 3)
            asker = Asker(node)
            rates = Rates(node, asker)
            memory, waiting = [], []
            step = 0.25
            next_look, began, asked = 0, time.monotonic(), 0
            while (passed := time.monotonic() - began) < SECONDS:
                # Twice what it gave before, and if it gives more now, twice that.
                while asked < max(2 * before[0] * passed, 2 * (asker.done + ROWS + QUEUE)):
                    asker.ask()
                    asked += 1
                if passed >= next_look:
                    next_look += step
                    waiting.append(node.load().waiting)
                    memory.append(resident_bytes(node))
                time.sleep(0.002)
            goodput = rates.so_far()
            asker.wait_until_open_below(1)
            after = capacity(node, 3)
            node.wait_until_idle()

        peaks = [statistics.mean(rate) for rate in zip(before, after)]
        shares = [rate / peak for rate, peak in zip(goodput, peaks)]
        settled = memory[len(memory) // 5:]  # allocators fill their pools first
        growth = settled[-1] - settled[0]
        print(f"peak {peaks[0]:.1f}/s ({before[0]:.1f} before, {after[0]:.1f} after), asked {asked / SECONDS:.1f}/s for "
              f"{SECONDS} s: goodput {goodput[0]:.1f}/s = {shares[0]:.0%} of it, {shares[1]:.0%} per second of processor "
              f"time; {len(asker.refusals)} refused, queue at most {max(waiting)} of {QUEUE}, "
              f"memory {settled[0] >> 20} -> {settled[-1] >> 20} MiB")
        self.assertEqual(asker.others, [])
        self.assertLessEqual(max(waiting), QUEUE)
        self.assertGreater(len(asker.refusals), 0.1 * asked)
        for call in asker.refusals[:: max(1, len(asker.refusals) // 50)]:
            self.assertEqual(details(call, "google.rpc.ErrorInfo")[0].reason, "QUEUE_FULL")
            delay = details(call, "google.rpc.RetryInfo")[0].retry_delay.ToMilliseconds()
            self.assertGreater(delay, 0)
            self.assertIn(("grpc-retry-pushback-ms", str(delay)), list(call.trailing_metadata()))
        self.assertLess(growth, 16 << 20)
        self.assertGreaterEqual(shares[1], LEAST_SHARE)
        if SECONDS >= 60:
            self.assertGreaterEqual(shares[0], LEAST_SHARE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=SECONDS)
    known, rest = parser.parse_known_args()
    SECONDS = min(known.seconds, 60)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
