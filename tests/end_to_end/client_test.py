"""The program `switchyard` against a real node: what a person or a script sees."""
import json
import os
import pty
import select
import signal
import subprocess
import time
import unittest

from node_process import CLIENT, NodeProcess, greedy


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess())

    def client(self, *arguments, node=None, **options):
        return subprocess.run([CLIENT, *arguments, "--node", node or self.node.grpc_address],
                              capture_output=True, text=True, timeout=30, check=False, **options)

    def test_a_scripted_conversation_remembers_its_turns(self):
        run = self.client("chat", "--temperature", "0", "--stats", input="My name is Ada.\nWhat is my name?\n")
        self.assertEqual(run.returncode, 0, run.stderr)
        first, second = run.stdout.strip().split("\n\n")
        self.assertTrue(first.startswith("> My name is Ada.\n"), first)
        self.assertTrue(second.startswith("> What is my name?\n"), second)
        self.assertIn("Ada", second.split("\n", 1)[1])
        self.assertEqual(run.stderr.count("answer tokens; first token after"), 2)

    def test_forgetting_the_conversation_forgets_the_name(self):
        run = self.client("chat", "--temperature", "0", input="My name is Ada.\n/reset\nWhat is my name?\n")
        self.assertNotIn("Ada", run.stdout.rsplit("> What is my name?\n", 1)[1])

    def test_generate_prints_what_the_node_says(self):
        expected = self.node.generation.Generate(greedy("Once upon a time", 20), timeout=20)
        flags = ("--temperature", "0", "--max-new-tokens", "20")
        streamed = self.client("generate", "Once upon a time", *flags)
        self.assertEqual((streamed.returncode, streamed.stdout), (0, expected.text + "\n"))
        piped = self.client("generate", *flags, input="Once upon a time")
        self.assertEqual(piped.stdout, streamed.stdout)
        whole = json.loads(self.client("generate", "Once upon a time", "--json", *flags).stdout)
        self.assertEqual(whole["text"], expected.text)
        self.assertEqual(whole["token_ids"], list(expected.token_ids))
        self.assertEqual(whole["usage"]["completion_tokens"], expected.usage.completion_tokens)
        self.assertIn("total", whole["usage"]["timings"])
        self.assertTrue(whole["finished"]["reason"].startswith("FINISH_REASON_"))

    def test_models_shows_what_is_served(self):
        table = self.client("models").stdout
        listed = json.loads(self.client("models", "--json").stdout)["models"]
        self.assertIn(listed[0]["name"], table)
        one = self.client("models", listed[0]["name"])
        self.assertIn("sampling defaults", one.stdout)
        self.assertEqual(self.client("models", "no-such-model").returncode, 1)

    def test_a_refusal_names_the_field_and_exits_with_1(self):
        run = self.client("generate", "x", "--temperature", "-1")
        self.assertEqual(run.returncode, 1)
        self.assertIn("sampling.temperature", run.stderr)
        self.assertEqual(run.stdout, "")

    def test_a_wrong_command_line_exits_with_2(self):
        for arguments in (["chat", "--no-such-flag"], ["generate", "--top-k", "many"]):
            self.assertEqual(self.client(*arguments).returncode, 2)
        self.assertEqual(subprocess.run([CLIENT], capture_output=True, check=False).returncode, 2)

    def test_no_node_is_said_plainly(self):
        run = self.client("generate", "x", node="127.0.0.1:1")
        self.assertEqual(run.returncode, 1)
        self.assertIn("no answer from the node at 127.0.0.1:1", run.stderr)

    def test_a_time_limit_ends_an_answer(self):
        run = self.client("generate", "x", "--timeout", "0.001")
        self.assertEqual(run.returncode, 1)
        self.assertIn("time limit", run.stderr)
        self.node.wait_until_idle()

    def test_help_names_every_flag(self):
        for subcommand, flags in (("chat", ("--system", "--seed", "--stats")), ("generate", ("--json", "--stop")),
                                  ("models", ("--json",))):
            text = self.client(subcommand, "--help").stdout
            for flag in ("--node", "--timeout", *flags):
                self.assertIn(flag, text)

    def test_ctrl_c_ends_the_answer_and_not_the_conversation(self):
        keyboard, terminal = pty.openpty()
        self.addCleanup(os.close, keyboard)
        chat = subprocess.Popen([CLIENT, "chat", "--node", self.node.grpc_address, "--temperature", "2"],
                                stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.close(terminal)
        self.addCleanup(chat.kill)
        shown = self.read_until(chat.stdout, b"> ")

        chat.send_signal(signal.SIGINT)  # at the prompt: a hint
        shown += self.read_until(chat.stdout, b"leaves)\n> ")
        for attempt in range(20):
            os.write(keyboard, b"Write a few lines like Shakespeare.\n")
            shown += os.read(chat.stdout.fileno(), 1)
            chat.send_signal(signal.SIGINT)  # during the answer: its end
            shown += self.read_until(chat.stdout, b"> ")
            if b"(interrupted)" in shown:
                break
        self.assertIn(b"(interrupted)", shown, f"no answer of {attempt + 1} was long enough to interrupt")
        self.node.wait_until_idle(seconds=5)

        self.assertIsNone(chat.poll())
        os.write(keyboard, b"/exit\n")
        chat.communicate(timeout=10)
        self.assertEqual(chat.returncode, 0)

    def read_until(self, pipe, end, seconds=20):
        """Everything up to `end`, from a program that keeps its pipe open."""
        data, deadline = b"", time.monotonic() + seconds
        while not data.endswith(end):
            readable, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(readable, data)
            piece = os.read(pipe.fileno(), 1)
            self.assertTrue(piece, data)
            data += piece
        return data


if __name__ == "__main__":
    unittest.main(verbosity=2)
