"""deploy/make_certificates.sh: a set that openssl accepts for each of its names and for nothing else, and with
which node and client speak TLS as deploy/kubernetes/README.md says."""
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
SCRIPT = SOURCE_DIR / "deploy/make_certificates.sh"
BUILD_DIR = Path(os.environ["SWITCHYARD_BUILD_DIR"])


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

    def test_node_and_client_speak_tls_with_them(self):
        self.make()
        token = "0123456789abcdef-a-token"
        tokens, sent = self.folder / "tokens", self.folder / "token"
        tokens.write_text(f"# tenant token\nexample sha256:{hashlib.sha256(token.encode()).hexdigest()}\n")
        sent.write_text(token + "\n")
        node = subprocess.Popen(
            [BUILD_DIR / "node/switchyard-node", "serve", "--model", SOURCE_DIR / "deploy/demo-model",
             "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log-level", "error",
             "--tls-cert", self.folder / "node.crt", "--tls-key", self.folder / "node.key",
             "--tls-client-ca", self.folder / "ca.crt", "--tokens-file", tokens],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        watchdog = threading.Timer(60, node.kill)
        watchdog.start()
        try:
            address = re.search(r" grpc=(\S+)", node.stdout.readline()).group(1)
            everything = {"--tls-ca": self.folder / "ca.crt", "--tls-cert": self.folder / "client.crt",
                          "--tls-key": self.folder / "client.key", "--token-file": sent}

            def ask(left_out=()):
                given = [word for flag, file in everything.items() if flag not in left_out for word in (flag, file)]
                return run(BUILD_DIR / "client/switchyard", "generate", "--node", address, "--timeout", "10",
                           "--max-new-tokens", "2", "--tls", *given, "hello")

            answer = ask()
            self.assertEqual(answer.returncode, 0, answer.stderr)
            for left_out in (("--tls-cert", "--tls-key"), ("--token-file",), ("--tls-ca",)):
                with self.subTest(without=left_out):
                    self.assertEqual(ask(left_out).returncode, 1)
        finally:
            watchdog.cancel()
            node.kill()
            node.wait()
            node.stdout.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
