"""/metrics tells the truth: what it counted over a while is what the callers were told."""
import re
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc

from api import v1
from node_process import NodeProcess, collect, endless, greedy

SERIES = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_]\w*="[^"\n]*",?)*\})? \S+$')


class MetricsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess())

    def test_counters_grow_by_what_the_answers_reported(self):
        requests = [greedy("word " * (3 + i), 5 + i, ignore_eos=True) for i in range(12)]
        before = self.node.metrics()
        with ThreadPoolExecutor(6) as pool:
            usages = list(pool.map(
                lambda request: collect(self.node.generation.GenerateStream(request, timeout=30))[4], requests))
        unary = self.node.generation.Generate(requests[0], timeout=30).usage
        usages.append(unary)
        self.node.wait_until_idle()
        after = self.node.metrics()

        def grown(name, *labels):
            return sum(value - before.get(series, 0) for series, value in after.items()
                       if series.split("{")[0] == name and all(label in series for label in labels))

        answer_tokens = sum(usage.completion_tokens for usage in usages)
        prompt_tokens = sum(usage.prompt_tokens for usage in usages)
        self.assertEqual(grown("switchyard_generation_tokens_total"), answer_tokens)
        self.assertEqual(grown("switchyard_prompt_tokens_total"), prompt_tokens)
        self.assertEqual(grown("switchyard_prompt_tokens_total", 'source="cached"'),
                         sum(usage.cached_tokens for usage in usages))
        self.assertEqual(grown("switchyard_requests_total"), 13)
        self.assertEqual(grown("switchyard_requests_total", 'method="GenerateStream"', 'code="OK"',
                               'finish_reason="max_tokens"'), 12)
        self.assertEqual(grown("switchyard_requests_total", 'method="Generate"', 'code="OK"'), 1)
        self.assertEqual(grown("switchyard_time_to_first_token_seconds_count"), 13)
        self.assertEqual(grown("switchyard_e2e_request_latency_seconds_count"), 13)
        self.assertEqual(grown("switchyard_inter_token_latency_seconds_count"), answer_tokens - 13)
        self.assertEqual(grown("switchyard_request_generation_tokens_sum"), answer_tokens)
        self.assertEqual(grown("vllm:generation_tokens_total"), answer_tokens)
        self.assertEqual(grown("vllm:request_success_total", 'finished_reason="length"'), 13)
        self.assertGreater(grown("switchyard_engine_steps_total"), 0)

    def test_gauges_follow_the_load(self):
        stream = self.node.generation.GenerateStream(endless())
        next(stream)
        self.assertEqual(self.node.metric("switchyard_requests_running"), 1)
        self.assertEqual(self.node.metric("vllm:num_requests_running"), 1)
        self.assertGreater(self.node.metric("switchyard_kv_cache_usage_ratio", pool="full"), 0)
        stream.cancel()
        load = self.node.wait_until_idle()
        self.assertEqual(self.node.metric("switchyard_requests_running"), 0)
        self.assertEqual(self.node.metric("switchyard_kv_cache_usage_ratio", pool="full"), 0)
        self.assertEqual(self.node.metric("switchyard_kv_blocks", pool="full", state="free"), load.kv_blocks_total)

    def test_a_refusal_is_counted_as_one_and_computes_nothing(self):
        tokens = self.node.metric("switchyard_prompt_tokens_total")
        rejected = self.node.metric("switchyard_rejected_total", reason="invalid")
        with self.assertRaises(grpc.RpcError):
            self.node.generation.Generate(v1("GenerateRequest"), timeout=10)
        self.assertEqual(self.node.metric("switchyard_rejected_total", reason="invalid"), rejected + 1)
        self.assertEqual(self.node.metric("switchyard_prompt_tokens_total"), tokens)

    def test_every_series_is_well_formed_and_names_the_model(self):
        model = self.node.model.GetModel(v1("GetModelRequest"), timeout=5).model.name
        series = self.node.metrics()
        self.assertGreater(len(series), 100)
        for name, value in series.items():
            self.assertRegex(f"{name} {value}", SERIES)
            if name.startswith("switchyard_"):
                self.assertIn(f'model_name="{model}"', name)

    def test_vllms_names_can_be_turned_off(self):
        with NodeProcess("--vllm-metrics", "off") as node:
            self.assertFalse([name for name in node.metrics() if name.startswith("vllm:")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
