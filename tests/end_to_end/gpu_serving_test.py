"""A node on a GPU under a full load: long prompts in chunks beside answers in the making, callers that
leave in the middle, a SIGTERM. Nobody waits for a stranger's prompt, gets other tokens or loses any.
"""
import json
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc

from api import v1
from node_process import DEMO_MODEL, NodeProcess, collect, endless, greedy

# 21 answers that are cancelled, 22 askers of questions, 21 long prompts: as many rows as there are.
CANCELLED, ASKERS, LONG = 21, 22, 21
ROWS = CANCELLED + ASKERS + LONG
# What 43 rows that decode leave of a step: a long prompt takes some fifty steps.
STEP_TOKENS = 96
FLAGS = ("--max-batch-rows", str(ROWS), "--max-batch-tokens", str(STEP_TOKENS))


def start_node():
    node = NodeProcess(*FLAGS)
    backend = node.backend()
    if backend != "cuda":
        log = node.log_text()
        node.stop()
        raise AssertionError(f"the node computes with '{backend}', not on a GPU; its log:\n{log}")
    return node


def questions(count):
    """Some that the demo model was trained to answer: what rounds differently in a batch is no matter there."""
    parts = json.loads((DEMO_MODEL / "eval_prompts.json").read_text(encoding="utf-8"))
    items = [item for part in parts.values() for item in part]
    return [v1("GenerateRequest", sampling=v1("SamplingParameters", temperature=0),
               chat=v1("ChatInput", messages=[v1("ChatMessage", **message) for message in item["messages"]]),
               stop=v1("StopCondition", max_new_tokens=64))
            for item in items[::len(items) // count][:count]]


def long_prompt(index, tokens, answer):
    request = greedy("", answer, ignore_eos=True)
    request.token_ids.ids.extend(5 + (7 * i + index) % 900 for i in range(tokens + 10 * index))
    return request


class Watch:
    """Looks again and again at how far each labelled answer is, and at what step and prompt tokens remain."""

    def __init__(self, node):
        self.node = node
        self.looks = []  # (a step before, a step after, prompt tokens left, {label: tokens of the answer})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.is_set():
            before = self.node.load()
            listed = self.node.admin.ListInFlight(v1("ListInFlightRequest"), timeout=10).requests
            after = self.node.load()
            tokens = {request.request_id: request.completion_tokens for request in listed if request.request_id}
            self.looks.append((before.steps, after.steps, after.queued_prompt_tokens, tokens))


class GpuServingTest(unittest.TestCase):
    def test_long_prompts_and_leaving_callers_change_nobodys_answer(self):
        node = self.enterContext(start_node())
        asked = questions(ASKERS)
        alone = [collect(node.generation.GenerateStream(request, timeout=30))[1:3] for request in asked]
        self.assertGreater(len({text for text, _ in alone}), ASKERS // 2)

        decoding = threading.Barrier(CANCELLED + 1, timeout=60)
        half, done, all_done = threading.Event(), [], threading.Event()

        def leave(index):
            request = endless(seed=index)
            request.request_id = f"leaves {index}"
            stream = node.generation.GenerateStream(request, timeout=110)
            tokens = 0
            try:
                for message in stream:
                    if tokens == 0 and message.delta.token_count > 0:
                        decoding.wait()
                    tokens += message.delta.token_count
                    if half.is_set():
                        stream.cancel()
            except grpc.RpcError as error:
                return error.code(), tokens
            return grpc.StatusCode.OK, tokens

        def keep_asking(index):
            answers = []
            while not answers or not all_done.is_set():
                answers.append(collect(node.generation.GenerateStream(asked[index], timeout=60))[1:3])
            return answers

        def ask_long(index):
            request = long_prompt(index, 2000, 40)
            answer = collect(node.generation.GenerateStream(request, timeout=110))
            done.append(index)
            if len(done) > LONG // 2:
                half.set()
            return len(request.token_ids.ids), answer

        with ThreadPoolExecutor(ROWS) as pool:
            try:
                leaving = [pool.submit(leave, i) for i in range(CANCELLED)]
                decoding.wait()
                asking = [pool.submit(keep_asking, i) for i in range(ASKERS)]
                with Watch(node) as watch:
                    long = [pool.submit(ask_long, i) for i in range(LONG)]
                    answers = [future.result() for future in long]
            finally:  # also when something failed: the others are to end
                half.set()
                all_done.set()

        for prompt_tokens, (_, _, tokens, _, usage) in answers:
            self.assertEqual((len(tokens), usage.prompt_tokens), (40, prompt_tokens))
        for index, future in enumerate(asking):
            for answer in future.result():
                self.assertEqual(answer, alone[index], f"question {index}")
        for future in leaving:
            code, tokens = future.result()
            self.assertEqual(code, grpc.StatusCode.CANCELLED)
            self.assertGreater(tokens, 40)
        self.check_that_answers_went_on_beside_prompts(watch.looks)
        node.wait_until_idle()
        self.assertEqual(node.metric("switchyard_cancelled_total", phase="decode"), CANCELLED)
        self.assertTrue(node.answers())

    def check_that_answers_went_on_beside_prompts(self, looks):
        seen = 0
        for (_, step, _, tokens), (later, _, prompt_left, later_tokens) in zip(looks, looks[1:]):
            both = [label for label in tokens if label.startswith("leaves") and label in later_tokens]
            # A whole prompt is left, so one was computed at each of these steps.
            if prompt_left < 2000 or len(both) < CANCELLED:
                continue
            seen += later - step
            for label in both:
                grown = later_tokens[label] - tokens[label]
                self.assertGreaterEqual(grown, (later - step) / 2 - 2, f"{label}, {later - step} steps")
        self.assertGreater(seen, 100, "too few steps with a prompt beside answers were seen")

    def test_sigterm_under_load_loses_no_stream(self):
        node = self.enterContext(start_node())
        short = ROWS - LONG
        begun = threading.Barrier(short + 1, timeout=60)
        wanted = [1500] * short + [100 + i for i in range(LONG)]

        def ask(index):
            stream = node.generation.GenerateStream(
                greedy(f"Story {index}:", wanted[index], ignore_eos=True), timeout=110)
            first = next(stream)
            begun.wait()
            return collect(iter([first, *stream]))

        def ask_long(index):
            request = long_prompt(index, 2500, wanted[index])
            return collect(node.generation.GenerateStream(request, timeout=110))

        with ThreadPoolExecutor(ROWS) as pool:
            asked = [pool.submit(ask, i) for i in range(short)]
            begun.wait()
            asked += [pool.submit(ask_long, i) for i in range(short, ROWS)]
            load = node.wait_until(lambda load: load.in_flight == ROWS)
            node.signal()
            answers = [future.result() for future in asked]
        self.assertGreater(load.queued_prompt_tokens, 2500, "every prompt was computed before the signal")
        self.assertEqual([len(tokens) for _, _, tokens, _, _ in answers], wanted)
        self.assertEqual(node.wait(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
