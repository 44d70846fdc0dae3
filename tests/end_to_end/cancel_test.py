"""Whoever ends an answer early, in whatever phase: the node stops at once and every block comes back."""
import time
import unittest

import grpc

from api import Stub, open_channel, v1
from node_process import NodeProcess, code_of, endless

QUEUED, PREFILL, DECODE = 1, 2, 3


class CancelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Steps of two tokens make a long prompt last; two rows make a third request wait.
        cls.node = cls.enterClassContext(NodeProcess("--max-batch-tokens", "2", "--max-batch-rows", "2"))

    def tearDown(self):
        self.node.wait_until_idle()
        self.assertTrue(self.node.answers())

    def wait_for_phase(self, phase, label):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            listed = self.node.admin.ListInFlight(v1("ListInFlightRequest"), timeout=10).requests
            if any(request.phase == phase and request.request_id == label for request in listed):
                return
            time.sleep(0.002)
        self.fail(f"{label} did not reach phase {phase}")

    def long_prompt(self, label):
        request = endless()
        request.token_ids.ids.extend([5, 6, 7, 8] * 900)
        request.request_id = label
        return request

    def long_answer(self, label):
        request = endless()
        request.request_id = label
        return request

    def cancelled(self, phase):
        return self.node.metric("switchyard_cancelled_total", phase=phase)

    def test_during_the_prompt(self):
        before = self.cancelled("prefill")
        stream = self.node.generation.GenerateStream(self.long_prompt("in prompt"))
        self.wait_for_phase(PREFILL, "in prompt")
        stream.cancel()
        self.node.wait_until_idle(seconds=5)
        self.assertEqual(self.cancelled("prefill"), before + 1)

    def test_during_the_answer(self):
        before = self.cancelled("decode")
        stream = self.node.generation.GenerateStream(self.long_answer("in answer"))
        for _, message in zip(range(10), stream):
            self.assertIsNotNone(message.WhichOneof("event"))
        self.wait_for_phase(DECODE, "in answer")
        stream.cancel()
        self.node.wait_until_idle(seconds=5)
        self.assertEqual(self.cancelled("decode"), before + 1)

    def test_while_it_waits(self):
        before = self.cancelled("queued")
        running = [self.node.generation.GenerateStream(self.long_answer(f"busy {i}")) for i in range(2)]
        for stream in running:
            next(stream)
        waiting = self.node.generation.GenerateStream(self.long_answer("waits"))
        self.wait_for_phase(QUEUED, "waits")
        waiting.cancel()
        self.node.wait_until(lambda load: load.waiting == 0 and load.in_flight == 2, seconds=5)
        self.assertEqual(self.cancelled("queued"), before + 1)
        for stream in running:
            stream.cancel()

    def test_of_a_unary_call(self):
        call = self.node.generation.Generate.future(self.long_answer("unary"))
        self.wait_for_phase(DECODE, "unary")
        call.cancel()
        self.node.wait_until_idle(seconds=5)

    def test_by_the_deadline_during_the_prompt(self):
        stream = self.node.generation.GenerateStream(self.long_prompt("late"), timeout=0.15)
        code, _ = code_of(lambda: list(stream))
        self.assertEqual(code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.node.wait_until_idle(seconds=5)

    def test_by_the_deadline_during_the_answer(self):
        stream = self.node.generation.GenerateStream(self.long_answer("late"), timeout=0.3)
        code, _ = code_of(lambda: list(stream))
        self.assertEqual(code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.node.wait_until_idle(seconds=5)

    def test_by_a_client_that_vanishes(self):
        channel = open_channel(self.node.grpc_address)
        stream = Stub(channel, "switchyard.v1.GenerationService").GenerateStream(self.long_answer("vanishes"))
        next(stream)
        channel.close()
        self.node.wait_until_idle(seconds=5)

    def test_by_the_operator(self):
        by_id = self.node.generation.GenerateStream(self.long_answer("by id"))
        by_label = self.node.generation.GenerateStream(self.long_answer("by label"))
        number = next(by_id).started.id
        next(by_label)
        told = self.node.admin.Abort(v1("AbortRequest", ids=[number, 1 << 60], request_ids=["by label"]), timeout=10)
        self.assertEqual(told.aborted, 2)
        for stream in (by_id, by_label):
            code, _ = code_of(lambda stream=stream: list(stream))
            self.assertEqual(code, grpc.StatusCode.ABORTED)

    def test_fifty_times_at_random_moments(self):
        for i in range(50):
            stream = self.node.generation.GenerateStream(
                self.long_prompt(f"{i}") if i % 2 else self.long_answer(f"{i}"))
            time.sleep(i * 7 % 23 / 1000)
            stream.cancel()
        self.node.wait_until_idle(seconds=10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
