"""`switchyard load` against a real node: what is asked is what the node counts."""
import json
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from api import Stub, v1
from node_process import CLIENT, NodeProcess

SMALL = ("--prompt-tokens", "uniform:8:24", "--answer-tokens", "uniform:4:12")


class LoadProgramTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess())

    def command(self, *flags):
        return [CLIENT, "load", "--node", self.node.grpc_address, *flags]

    def load(self, *flags):
        return subprocess.run(self.command(*flags), capture_output=True, text=True, timeout=60, check=False)

    def counts(self, *flags, says=""):
        """(requests, failed, answer tokens) of a load, by what it wrote of each request."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "requests"
            run = self.load(*flags, "--requests-file", path)
            # 3: this machine is busy with other tests and the client was late, which it then says.
            self.assertIn(run.returncode, (0, 3), run.stderr)
            self.assertIn(says, run.stdout)
            requests = [json.loads(line) for line in path.read_text().splitlines()]
        failed = sum(one["fault"] == "none" and (one["code"] != "OK" or one["broken"]) for one in requests)
        return len(requests), failed, sum(tokens for one in requests for _, tokens in one["arrivals"])

    def prompt_tokens(self):
        return self.node.metric("switchyard_prompt_tokens_total")

    def test_the_node_counts_the_tokens_that_the_client_counts(self):
        before = self.node.metric("switchyard_generation_tokens_total")
        requests, failed, tokens = self.counts("--rate", "40", "--requests", "40", *SMALL)
        self.assertEqual((requests, failed), (40, 0))
        self.assertEqual(tokens, self.node.metric("switchyard_generation_tokens_total") - before)

    def test_each_turn_of_a_conversation_brings_all_before_it(self):
        before = self.prompt_tokens()
        self.assertEqual(self.counts("--concurrency", "1", "--requests", "8", "--turns", "4", "--prompt-tokens", "100",
                                     "--answer-tokens", "8"), (8, 0, 64))
        self.assertEqual(self.prompt_tokens() - before, 2 * (100 + 208 + 316 + 424))

    def test_faults_on_purpose_are_no_failures_and_leave_nothing_behind(self):
        requests, failed, _ = self.counts(
            "--rate", "60", "--requests", "60", "--prompt-tokens", "16", "--answer-tokens", "40",
            "--cancel", "0.25", "--cancel-after-tokens", "3", "--deadline", "0.25", "--deadline-ms", "20",
            "--slow-readers", "0.25", "--pause-ms", "5", "--malformed", "0.25")
        self.assertEqual((requests, failed), (60, 0))
        self.node.wait_until_idle()

    def test_answers_under_load_are_the_answers_alone(self):
        self.counts("--concurrency", "8", "--requests", "40", "--check-greedy", "6", *SMALL,
                    says="0 of 6 answers differ from those asked alone")

    def test_a_saved_workload_is_the_same_each_time_and_can_be_asked_again(self):
        with tempfile.TemporaryDirectory() as folder:
            first, second, third = (Path(folder) / name for name in ("1", "2", "3"))
            flags = ("--rate", "50", "--requests", "20", "--turns", "2", "--conversations", "4", "--seed", "5", *SMALL)
            for path in (first, second):
                self.assertEqual(self.load(*flags, "--save-workload", path).returncode, 0)
            self.assertEqual(first.read_bytes(), second.read_bytes())
            self.assertEqual(self.load("--replay", first, "--save-workload", third).returncode, 0)
            self.assertEqual(first.read_bytes(), third.read_bytes())
            self.assertEqual(self.counts("--replay", first)[:2], (20, 0))

    def test_answers_have_the_lengths_of_those_that_sharegpt_recorded(self):
        answer = "Once upon a time there was a railway yard. " * 2
        conversation = [{"from": "human", "value": "Tell me a story"}, {"from": "gpt", "value": answer},
                        {"from": "human", "value": "Go on"}, {"from": "gpt", "value": "The end."}]
        stub = Stub(self.node.channel, "switchyard.v1.GenerationService")
        lengths = [len(stub.Tokenize(v1("TokenizeRequest", text=text, add_special_tokens=False)).token_ids)
                   for text in (answer, "The end.")]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "sharegpt.json"
            file.write_text(json.dumps([{"id": str(i), "conversations": conversation} for i in range(3)], indent=1))
            self.assertEqual(self.counts("--rate", "50", "--requests", "6", "--prompts", file),
                             (6, 0, 3 * sum(lengths)))

    def test_prompts_and_traces_come_from_files(self):
        with tempfile.TemporaryDirectory() as folder:
            prompts = Path(folder) / "prompts"
            prompts.write_text('{"text": "Once upon a time", "answer_tokens": 5}\n'
                               '{"messages": [{"role": "user", "content": "Hi"}], "session": "a"}\n'
                               '{"messages": [{"role": "user", "content": "And?"}], "session": "a"}\n')
            self.assertEqual(self.counts("--prompts", prompts, "--rate", "50", "--requests", "6", "--answer-tokens", "7"),
                             (6, 0, 2 * (5 + 7 + 7)))
            trace = Path(folder) / "trace"
            trace.write_text("".join(f'{{"timestamp": {100 * i}, "input_length": 700, "output_length": 3, '
                                     f'"hash_ids": [7, {i}]}}\n' for i in range(5)))
            before = self.prompt_tokens()
            self.assertEqual(self.counts("--trace", trace, "--speed", "0.5"), (5, 0, 15))
            self.assertEqual(self.prompt_tokens() - before, 5 * 700)

    def test_ctrl_c_ends_it_with_what_there_is(self):
        load = subprocess.Popen(self.command("--rate", "30", "--duration", "600", "--answer-tokens", "6"),
                                stdout=subprocess.PIPE, text=True)
        self.addCleanup(load.kill)
        self.node.wait_until(lambda _: self.node.metric("switchyard_generation_tokens_total") > self.tokens_before + 30)
        load.send_signal(signal.SIGINT)
        output, _ = load.communicate(timeout=20)
        self.assertIn("interrupted", output)
        self.node.wait_until_idle()

    def setUp(self):
        self.tokens_before = self.node.metric("switchyard_generation_tokens_total")

    def test_what_is_wrong_is_named(self):
        run = self.load("--rate", "0", "--requests", "5")
        self.assertEqual(run.returncode, 2)
        self.assertIn("arrival.rate: is 0, must be in [0.0001, 1e+06]", run.stderr)
        run = self.load("--rate", "5")
        self.assertEqual(run.returncode, 2)
        self.assertIn("duration_seconds: is missing", run.stderr)
        run = subprocess.run([CLIENT, "load", "--node", "127.0.0.1:1", "--rate", "5", "--requests", "5",
                              "--wait-ready", "0.3"], capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn("127.0.0.1:1", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
