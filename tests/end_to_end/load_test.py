"""Many answers at once: none is lost, mixed up or changed by the others, and too many are refused."""
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc

from api import Stub, details, open_channel, v1
from node_process import NodeProcess, collect, endless

STREAMS = 64


def sampled(seed):
    return v1("GenerateRequest", text=f"Tell me about number {seed}.", request_id="the same label for all",
              sampling=v1("SamplingParameters", temperature=1, seed=seed),
              stop=v1("StopCondition", max_new_tokens=24 + seed % 9, ignore_eos=True))


class LoadTest(unittest.TestCase):
    def test_sixty_four_streams_each_get_the_answer_they_get_alone(self):
        with NodeProcess() as node:
            with ThreadPoolExecutor(STREAMS) as pool:
                together = list(pool.map(
                    lambda seed: collect(node.generation.GenerateStream(sampled(seed), timeout=60)), range(STREAMS)))
            for seed, (_, text, tokens, _, usage) in enumerate(together):
                self.assertEqual(len(tokens), 24 + seed % 9)
                self.assertEqual(usage.completion_tokens, len(tokens))
            # On a GPU batches of other sizes round differently, and a draw may be a close call:
            # gpu_serving_test.py asks there what has a clear answer.
            for seed in range(0, STREAMS if node.backend() == "cpu" else 0, 5):
                _, text, tokens, _, _ = collect(node.generation.GenerateStream(sampled(seed), timeout=30))
                self.assertEqual((text, tokens), together[seed][1:3], f"seed {seed}")
            numbers = {started.id for started, *_ in together}
            self.assertEqual(len(numbers), STREAMS)
            node.wait_until_idle()

    def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(self):
        with NodeProcess("--max-batch-rows", "1", "--max-queue", "2") as node:
            began = time.monotonic()
            streams = [node.generation.GenerateStream(endless()) for _ in range(12)]
            refused = []
            while not refused and time.monotonic() - began < 20:
                refused = [stream for stream in streams if stream.done()
                           and stream.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
            self.assertTrue(refused)
            self.assertLess(time.monotonic() - began, 1)
            error = refused[0]
            self.assertEqual(details(error, "google.rpc.ErrorInfo")[0].reason, "QUEUE_FULL")
            self.assertGreater(details(error, "google.rpc.RetryInfo")[0].retry_delay.ToNanoseconds(), 0)
            self.assertGreater(node.metric("switchyard_rejected_total", reason="queue_full"), 0)
            for stream in streams:
                stream.cancel()
            node.wait_until_idle()
            self.assertTrue(node.answers())

    def test_a_reader_that_takes_nothing_does_not_hold_up_the_others(self):
        with NodeProcess() as node:
            lazy_channel = open_channel(node.grpc_address)
            lazy = Stub(lazy_channel, "switchyard.v1.GenerationService").GenerateStream(endless())
            next(lazy)
            for seed in range(5):
                collect(node.generation.GenerateStream(sampled(seed), timeout=20))
            lazy.cancel()
            lazy_channel.close()
            node.wait_until_idle()

    def test_a_higher_priority_is_served_first(self):
        with NodeProcess("--max-batch-rows", "1") as node:
            running = node.generation.GenerateStream(endless())
            next(running)
            ended = []

            def ask(priority):
                request = sampled(priority + 10)
                request.stop.max_new_tokens = 300  # longer than this thread may wait for its turn
                request.priority = priority
                collect(node.generation.GenerateStream(request, timeout=60))
                ended.append(priority)

            with ThreadPoolExecutor(3) as pool:
                for waiting, priority in enumerate((-5, 0, 5), 1):
                    pool.submit(ask, priority)
                    node.wait_until(lambda load, waiting=waiting: load.waiting == waiting)
                running.cancel()
            self.assertEqual(ended, [5, 0, -5])


if __name__ == "__main__":
    unittest.main(verbosity=2)
