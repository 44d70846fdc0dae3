"""deploy/bundle.sh: its archive, unpacked somewhere else and run with an empty environment, answers, and
takes nothing of this machine but glibc."""
import hashlib
import os
import re
import signal
import subprocess
import tarfile
import tempfile
import threading
import unittest
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
BUILD_DIR = Path(os.environ["SWITCHYARD_BUILD_DIR"])
SCRIPT = SOURCE_DIR / "deploy/bundle.sh"
READY = re.compile(r"switchyard-node ready grpc=(\S+)")
# What belongs to the machine and not to us: glibc, and a GPU's driver.
OF_THE_MACHINE = re.compile(r"(ld-linux.*|lib(c|m|mvec|dl|rt|pthread|resolv|anl|util|nss_.*|cuda|nvidia-.*))\.so.*")


def sanitized():
    return re.search(r"^SWITCHYARD_SANITIZE:STRING=.", (BUILD_DIR / "CMakeCache.txt").read_text(), re.M)


@unittest.skipIf(sanitized(), "programs with sanitizers are not for bundles")
class BundleTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="switchyard-bundle-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.archive = Path(cls.folder.name) / "bundle.tar.gz"
        cls.run_ = subprocess.run([SCRIPT, "--build", BUILD_DIR, "--output", cls.archive], capture_output=True,
                                  text=True, timeout=100, check=False)
        assert cls.run_.returncode == 0, cls.run_.stderr
        elsewhere = Path(cls.folder.name) / "else where"  # a space too
        with tarfile.open(cls.archive) as archive:
            archive.extractall(elsewhere)
        (cls.top,) = elsewhere.iterdir()

    def bare(self, program, *arguments):
        """A command line that starts it with no environment at all."""
        return ["env", "-i", "--chdir=/", self.top / "bin" / program, *arguments]

    def test_it_tells_size_and_sum(self):
        self.assertIn(f"{self.archive.stat().st_size} bytes", self.run_.stderr)
        self.assertIn(hashlib.sha256(self.archive.read_bytes()).hexdigest(), self.run_.stderr)

    def test_it_has_no_glibc_and_names_every_library_and_its_notice(self):
        libraries = sorted(path.name for path in (self.top / "lib").iterdir())
        self.assertGreater(len(libraries), 10)
        self.assertFalse([name for name in libraries if OF_THE_MACHINE.fullmatch(name)])
        lines = [line.split(" ") for line in (self.top / "LIBRARIES").read_text().splitlines()]
        self.assertEqual(sorted(line[0] for line in lines), libraries)
        for name, package, version in lines:
            with self.subTest(name):
                self.assertNotEqual(package, "of")  # "of no package"
                self.assertRegex(version, r"\d")
                self.assertTrue((self.top / "licenses" / package).read_text(errors="replace").strip())

    def test_it_has_what_an_operator_starts_with(self):
        for name in ("node.toml", "LICENSE", "README", "systemd/switchyard-node.service"):
            self.assertTrue((self.top / name).is_file(), name)

    def test_the_glibc_it_asks_for_is_the_one_it_needs(self):
        wanted = re.search(r"needs glibc ([\d.]+)", self.run_.stderr).group(1)
        self.assertIn(f"glibc {wanted} or newer", (self.top / "README").read_text())
        have = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
        as_numbers = lambda version: [int(part) for part in version.split(".")]
        self.assertLessEqual(as_numbers(wanted), as_numbers(have))

    def test_node_and_client_run_on_nothing_but_glibc(self):
        command = self.bare("switchyard-node", "serve", "--config", self.top / "node.toml",
                               "--model", SOURCE_DIR / "deploy/demo-model", "--listen", "127.0.0.1:0",
                               "--admin", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log-level", "error")
        node = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(60, node.kill)
        watchdog.start()
        try:
            ready = READY.match(node.stdout.readline())
            self.assertTrue(ready, "the node did not become ready")
            maps = Path(f"/proc/{node.pid}/maps").read_text(encoding="utf-8")
            mapped = {line.split(maxsplit=5)[5] for line in maps.splitlines() if ".so" in line}
            ours = {path for path in mapped if path.startswith(str(self.top))}
            self.assertGreater(len(ours), 10)
            foreign = {path for path in mapped - ours if not OF_THE_MACHINE.fullmatch(os.path.basename(path))}
            self.assertFalse(foreign)
            command = self.bare("switchyard", "chat", "--node", ready.group(1), "--timeout", "60",
                                   "--temperature", "0")
            chat = subprocess.run(command, input="What is the capital of France?\n", capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual(chat.returncode, 0, chat.stderr)
            self.assertIn("Paris", chat.stdout)
            node.send_signal(signal.SIGTERM)
            self.assertEqual(node.wait(30), 0)
        finally:
            watchdog.cancel()
            node.kill()
            node.wait()
            node.stdout.close()

    def test_the_same_build_gives_the_same_bytes(self):
        again = Path(self.folder.name) / "again.tar.gz"
        subprocess.run([SCRIPT, "--build", BUILD_DIR, "--output", again], capture_output=True, timeout=100, check=True)
        self.assertEqual(again.read_bytes(), self.archive.read_bytes())

    def test_a_folder_without_programs_is_refused_and_says_what_to_build(self):
        run = subprocess.run([SCRIPT, "--build", SOURCE_DIR / "deploy"], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 2)
        self.assertIn("cmake --build", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
