"""deploy/systemd: the unit is one that systemd takes, stays hardened, stops as the node drains, and starts
the node with what a bundle has."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
BUILD_DIR = Path(os.environ["SWITCHYARD_BUILD_DIR"])
UNIT = SOURCE_DIR / "deploy/systemd/switchyard-node.service"
DROP_IN = SOURCE_DIR / "deploy/systemd/switchyard-node.service.d/gpu.conf"
ANALYZE = shutil.which("systemd-analyze")
# systemd-analyze's exposure, 0 (safe) to 10. Where it grows somebody decided so, and says it here.
MOST_EXPOSED = {"plain": 2.0, "gpu": 2.5}


def settings(path):
    """Key -> its values, in their order."""
    found = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(encoding="utf-8"), re.M):
        found.setdefault(key, []).append(value)
    return found


class UnitTest(unittest.TestCase):
    def setUp(self):
        self.unit = settings(UNIT)

    def test_it_waits_for_the_drain_before_it_kills(self):
        text = subprocess.run([BUILD_DIR / "node/switchyard-node", "serve", "--help"], capture_output=True, text=True,
                              check=True, timeout=20).stdout
        drain = int(re.search(r"--drain-limit TEXT=(\d+)s", text).group(1))
        self.assertEqual(self.unit["TimeoutStopSec"], [str(drain + 15)])
        self.assertEqual(self.unit["KillSignal"], ["SIGTERM"])

    def test_a_wrong_configuration_is_not_tried_again(self):
        run = subprocess.run([BUILD_DIR / "node/switchyard-node", "serve"], capture_output=True, check=False, timeout=20)
        self.assertEqual(self.unit["RestartPreventExitStatus"], [str(run.returncode)])
        self.assertEqual(self.unit["Restart"], ["on-failure"])

    def test_it_starts_what_a_bundle_has_with_a_configuration(self):
        (command,) = self.unit["ExecStart"]
        self.assertEqual(command, "/opt/switchyard/bin/switchyard-node serve --config /etc/switchyard/node.toml")
        self.assertTrue((SOURCE_DIR / "deploy/configs/node.toml").exists())


@unittest.skipUnless(ANALYZE, "no systemd-analyze here")
class AnalyzeTest(unittest.TestCase):
    def setUp(self):
        """A root with the unit, and with the program where the unit says."""
        folder = tempfile.TemporaryDirectory(prefix="switchyard-unit-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.unit = self.folder / UNIT.name
        program = self.folder / "switchyard-node"
        program.write_bytes(b"")
        program.chmod(0o755)
        # The path of a bundle is not there on the machine that tests.
        self.unit.write_text(UNIT.read_text().replace("/opt/switchyard/bin/switchyard-node", str(program)))

    def run_analyze(self, *arguments):
        return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False, timeout=60)

    def add_drop_in(self):
        target = self.folder / f"{UNIT.name}.d"
        target.mkdir()
        (target / "gpu.conf").write_text(DROP_IN.read_text())

    def test_systemd_takes_it_without_a_word(self):
        for with_gpu in (False, True):
            if with_gpu:
                self.add_drop_in()
            run = self.run_analyze("verify", "--man=no", self.unit)
            ours = [line for line in run.stderr.splitlines() if UNIT.name in line or "gpu.conf" in line]
            self.assertEqual((run.returncode, ours), (0, []), run.stderr)

    def test_it_stays_hardened(self):
        for kind, limit in MOST_EXPOSED.items():
            if kind == "gpu":
                self.add_drop_in()
            run = self.run_analyze("security", "--offline=yes", "--no-pager", self.unit)
            exposed = float(re.search(r"exposure level for \S+: ([\d.]+)", run.stdout).group(1))
            print(f"{kind}: exposure {exposed}")
            self.assertLessEqual(exposed, limit, run.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
