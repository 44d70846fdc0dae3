"""deploy/configs/node.toml against the node itself: it lists every flag, with the default that the node has."""
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
NODE = Path(os.environ["SWITCHYARD_BUILD_DIR"]) / "node/switchyard-node"
CONFIG_FILE = SOURCE_DIR / "deploy/configs/node.toml"
KEY = re.compile(r"^(# )?([a-z][a-z0-9-]*) = ", re.M)
LEFT_OUT = {"help", "config"}  # a file cannot say them


def flags_of_help():
    text = subprocess.run([NODE, "serve", "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    return set(re.findall(r"^ +(?:-\w,)?--([a-z][a-z0-9-]*)", text, re.M)) - LEFT_OUT


def settings(*arguments):
    """flag -> value as the node logs them at its start. The model is none, so that it goes no further."""
    run = subprocess.run([NODE, "serve", "--model", "/nonexistent", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                          "--metrics", "127.0.0.1:0", "--node-id", "n", *arguments],
                         capture_output=True, text=True, check=False, timeout=30)
    return dict(re.findall(r"config flag=(\S+) value=(.*)$", run.stderr, re.M)), run


class ConfigFileTest(unittest.TestCase):
    def setUp(self):
        self.text = CONFIG_FILE.read_text(encoding="utf-8")

    def test_it_lists_every_flag_once_and_nothing_else(self):
        keys = [name for _, name in KEY.findall(self.text)]
        self.assertEqual(sorted(keys), sorted(flags_of_help()))

    def test_every_line_says_what_it_is_for(self):
        for line in self.text.splitlines():
            if KEY.match(line):
                self.assertRegex(line, r"\S  +# \w", line)

    def test_its_values_are_the_defaults_of_the_node(self):
        plain, run = settings()
        self.assertGreater(len(plain), 20, run.stderr)
        with_file, run = settings("--config", CONFIG_FILE)
        self.assertEqual(with_file, plain, run.stderr)

    def run_with(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            return settings("--config", file.name)

    def test_its_examples_are_accepted(self):
        """The lines without a default too, when somebody takes their # away."""
        examples = re.findall(r"^# ([a-z][a-z0-9-]* = \S+)", self.text, re.M)
        examples = [line for line in examples if ' = "/etc/' not in line]  # the node reads those files
        self.assertGreater(len(examples), 2)
        told, run = self.run_with("\n".join(examples) + "\n")
        self.assertEqual(told.get("model-name"), "lfm2.5-8b-a1b", run.stderr)

    def test_a_misspelt_line_is_refused_by_name(self):
        _, run = self.run_with("max-quue = 3\n")
        self.assertEqual(run.returncode, 2)
        self.assertIn("max-quue", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
