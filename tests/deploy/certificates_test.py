"""deploy/make_certificates.sh: a set that openssl accepts for each of its names, and for nothing else."""
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
SCRIPT = SOURCE_DIR / "deploy/make_certificates.sh"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@unittest.skipUnless(shutil.which("openssl"), "no openssl here")
class CertificatesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="switchyard-certificates-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "certificates"

    def make(self, *names):
        made = run(SCRIPT, self.folder, *names)
        self.assertEqual(made.returncode, 0, made.stderr)

    def verify(self, stem, *options):
        return run("openssl", "verify", "-x509_strict", "-CAfile", self.folder / "ca.crt", *options,
                   self.folder / f"{stem}.crt").returncode == 0

    def test_nodes_are_accepted_under_the_names_of_their_services(self):
        self.make()
        for name in ("localhost", "switchyard.switchyard.svc", "switchyard-node",
                     "switchyard-node-0.switchyard-node-pods.switchyard.svc"):
            self.assertTrue(self.verify("node", "-purpose", "sslserver", "-verify_hostname", name), name)
        self.assertTrue(self.verify("node", "-verify_ip", "127.0.0.1"))
        self.assertFalse(self.verify("node", "-verify_hostname", "example.com"))

    def test_each_certificate_is_good_for_its_own_side(self):
        self.make("node.example.com")
        self.assertTrue(self.verify("client", "-purpose", "sslclient"))
        self.assertFalse(self.verify("client", "-purpose", "sslserver"))
        self.assertFalse(self.verify("node", "-purpose", "sslclient"))

    def test_keys_are_their_owners_alone_and_nothing_is_overwritten(self):
        self.make()
        for key in self.folder.glob("*.key"):
            self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        before = (self.folder / "ca.key").read_bytes()
        self.assertEqual(run(SCRIPT, self.folder).returncode, 2)
        self.assertEqual((self.folder / "ca.key").read_bytes(), before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
