"""deploy/quickstart.sh, run as a newcomer runs it, when everything is installed and built."""
import os
import re
import subprocess
import time
import unittest

from api import BUILD_DIR, SOURCE_DIR

SCRIPT = SOURCE_DIR / "deploy/quickstart.sh"


# It builds and starts the programs of build/release; another build has nothing to say about them.
@unittest.skipUnless(BUILD_DIR == SOURCE_DIR / "build/release", "this is not the build that quickstart.sh uses")
class QuickstartTest(unittest.TestCase):
    def run_script(self, *arguments):
        return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def test_it_answers_three_questions_shows_metrics_and_leaves_nothing_behind(self):
        began = time.monotonic()
        run = self.run_script()
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertLess(time.monotonic() - began, 10)
        for question in ("What is the capital of France?", "My name is Ada.", "What is my name?"):
            self.assertIn(f"> {question}\n", run.stdout)
        self.assertIn("Paris", run.stdout)
        self.assertIn("Ada", run.stdout.rsplit("> What is my name?\n", 1)[1].split("\n")[0])
        self.assertEqual(len(re.findall(r"^switchyard_\S+ \S+$", run.stdout, re.M)), 4, run.stdout)
        address = re.search(r"node at (\S+);", run.stdout).group(1)
        self.assertNotEqual(subprocess.run([BUILD_DIR / "client/switchyard", "models", "--node", address],
                                           capture_output=True, check=False).returncode, 0)

    def test_keep_leaves_a_node_that_can_be_talked_to_and_stopped(self):
        run = self.run_script("--keep")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        pid = int(re.search(r"kill (\d+)", run.stdout).group(1))
        try:
            address = re.search(r"--node (\S+)", run.stdout).group(1)
            listed = subprocess.run([BUILD_DIR / "client/switchyard", "models", "--node", address],
                                    capture_output=True, text=True, check=False)
            self.assertEqual(listed.returncode, 0, listed.stderr)
        finally:
            os.kill(pid, 15)

    def test_a_wrong_flag_is_refused(self):
        self.assertEqual(self.run_script("--nonsense").returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
