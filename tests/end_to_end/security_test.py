"""TLS, client certificates and tokens, as an operator sets them up: files made by openssl, the node and the
client as programs."""
import contextlib
import os
import socket
import subprocess
import tempfile
import unittest
import urllib.request
from pathlib import Path

import grpc

from api import Stub, message, v1
from node_process import CLIENT, NODE, DEMO_MODEL, NodeProcess, code_of

TOKEN = "anna-token-0123456789"
DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of abc


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                     "-subj", f"/CN={name}", "-keyout", self.path("key"), "-out", self.path("pem"))

    def path(self, kind):
        return self.folder / f"{self.name}.{kind}"

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)

    def sign(self, name):
        """The files of a certificate for `name` and 127.0.0.1."""
        key, request, certificate, names = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem", "ext"))
        names.write_text(f"subjectAltName=IP:127.0.0.1,DNS:{name}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                     "-keyout", key, "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.path("pem"), "-CAkey", self.path("key"),
                     "-CAcreateserial", "-days", "1", "-extfile", names, "-out", certificate)
        return certificate, key


class SecurityTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.authority = Authority(cls.folder, "authority")
        cls.certificate, cls.key = cls.authority.sign("node.test")
        cls.clients = Authority(cls.folder, "clients")
        cls.client_certificate, cls.client_key = cls.clients.sign("client.test")
        cls.tokens = cls.folder / "tokens"
        cls.tokens.write_text(f"# who may call\nanna {TOKEN}\nbert sha256:{DIGEST}\n")
        cls.token_file = cls.folder / "token"
        cls.token_file.write_text(TOKEN + "\n")

    def client(self, node, *flags, token=None):
        environment = {key: value for key, value in os.environ.items() if key != "SWITCHYARD_TOKEN"}
        if token is not None:
            environment["SWITCHYARD_TOKEN"] = token
        return subprocess.run([CLIENT, "models", "--node", node, *flags], capture_output=True, text=True, timeout=30,
                              check=False, env=environment)

    def secure_node(self, *flags):
        return NodeProcess("--tls-cert", self.certificate, "--tls-key", self.key, *flags)

    def test_the_client_speaks_mutual_tls_and_sends_its_token(self):
        with self.secure_node("--tls-client-ca", self.clients.path("pem"), "--tokens-file", self.tokens) as node:
            tls = ("--tls", "--tls-ca", self.authority.path("pem"), "--tls-cert", self.client_certificate,
                   "--tls-key", self.client_key)
            for run in (self.client(node.grpc_address, *tls, token=TOKEN),
                        self.client(node.grpc_address, *tls, "--token-file", self.token_file),
                        self.client(node.grpc_address, *tls, "--tls-server-name", "node.test", token=TOKEN)):
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertIn("demo-model", run.stdout)
            for words, run in (("asks for a token", self.client(node.grpc_address, *tls)),
                              ("is not one of this node's", self.client(node.grpc_address, *tls, token="x" * 20)),
                              ("no answer from", self.client(node.grpc_address, *tls[:3], token=TOKEN)),
                              ("no answer from", self.client(node.grpc_address, token=TOKEN))):
                self.assertEqual(run.returncode, 1)
                self.assertIn(words, run.stderr)
            # Probes and metrics need neither.
            health = Stub(node.admin_channel, "grpc.health.v1.Health")
            self.assertEqual(health.List(message("grpc.health.v1.HealthListRequest"), timeout=5).statuses["readiness"].status, 1)
            self.assertGreater(node.metric("switchyard_tls_certificate_not_after_timestamp_seconds"), 1.7e9)
            self.assertEqual(node.metric("switchyard_credential_reloads_total", outcome="failed"), 0)
            self.assertEqual(node.metric("switchyard_grpc_server_handled_total", method="ListModels", code="OK"), 3)
            log = node.log_text()
            self.assertNotIn(TOKEN, log)
            self.assertIn("certificate subject=", log)

    def test_tokens_alone_protect_every_service_of_the_public_port(self):
        with NodeProcess("--tokens-file", self.tokens) as node:
            for service, methods in (("GenerationService", ("Generate", "GenerateStream", "Tokenize", "Detokenize",
                                                            "RenderChat")),
                                     ("ChatService", ("Complete", "CompleteStream")),
                                     ("ModelService", ("ListModels", "GetModel")),
                                     ("TelemetryService", ("GetNodeInfo", "GetLoad"))):
                for method in methods:
                    call = node.channel.unary_unary(f"/switchyard.v1.{service}/{method}")
                    self.assertEqual(code_of(lambda: call(b"", timeout=10))[0], grpc.StatusCode.UNAUTHENTICATED, method)
                    wrong = [("authorization", "Bearer " + "x" * 20)]
                    self.assertEqual(code_of(lambda: call(b"", timeout=10, metadata=wrong))[0],
                                     grpc.StatusCode.PERMISSION_DENIED, method)
                    two = [("authorization", "Bearer " + TOKEN)] * 2
                    self.assertEqual(code_of(lambda: call(b"", timeout=10, metadata=two))[0],
                                     grpc.StatusCode.UNAUTHENTICATED, method)
            by_digest = [("authorization", "bearer abc")]
            self.assertEqual(len(node.model.ListModels(v1("ListModelsRequest"), timeout=5, metadata=by_digest).models), 1)
            self.assertEqual(node.metric("switchyard_rejected_total", reason="unauthenticated"), 8)
            self.assertEqual(node.metric("switchyard_rejected_total", reason="permission_denied"), 4)
            # This machine may have the token in the clear, another one only when told so.
            self.assertEqual(self.client(node.grpc_address, token=TOKEN).returncode, 0)

    def test_metrics_on_the_public_port_ask_for_no_token_and_are_never_beside_tls(self):
        with NodeProcess("--tokens-file", self.tokens, "--metrics-on-listen", "on") as node:
            with urllib.request.urlopen(f"http://{node.grpc_address}/metrics", timeout=10) as page:
                text = page.read().decode()
            self.assertIn("switchyard_requests_running", text)
            for secret in (TOKEN, DIGEST, "anna", "bert"):
                self.assertNotIn(secret, text)
            code, _ = code_of(lambda: node.model.ListModels(v1("ListModelsRequest"), timeout=10))
            self.assertEqual(code, grpc.StatusCode.UNAUTHENTICATED)
        with self.secure_node() as node:
            host, port = node.grpc_address.rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                received = b""
                with contextlib.suppress(ConnectionResetError):
                    while data := connection.recv(65536):
                        received += data
                self.assertNotIn(b"switchyard_", received)
                self.assertNotIn(b"HTTP/1.1 200", received)

    def test_the_client_keeps_a_token_to_itself(self):
        run = self.client("192.0.2.1:50051", token=TOKEN)
        self.assertEqual(run.returncode, 2)
        self.assertIn("--send-token-in-the-clear", run.stderr)
        self.assertNotIn(TOKEN, run.stderr)

    def test_the_client_says_which_file_is_wrong(self):
        empty = self.folder / "empty"
        empty.write_text("")
        for flags, word in ((("--tls", "--tls-ca", self.folder / "none"), "cannot read"),
                            (("--tls", "--tls-ca", self.folder), "cannot read"),
                            (("--tls-ca", self.authority.path("pem")), "--tls"),
                            (("--tls", "--tls-cert", self.client_certificate), "--tls-key"),
                            (("--token-file", empty), "is empty"),
                            (("--token-file", self.tokens), "more than one word")):
            run = self.client("127.0.0.1:1", *flags)
            self.assertEqual(run.returncode, 2, flags)
            self.assertIn(word, run.stderr)

    def test_the_node_does_not_start_with_files_that_are_wrong(self):
        _, another_key = self.authority.sign("another.test")
        for flags, why in ((("--tls-cert", self.certificate, "--tls-key", another_key), "--tls-key: is not the key"),
                           (("--tls-cert", self.folder / "none", "--tls-key", self.key), "--tls-cert: cannot open"),
                           (("--tls-cert", self.certificate), "--tls-key: is missing"),
                           (("--tls-cert", self.certificate, "--tls-key", self.key, "--metrics-on-listen", "on"),
                            "--metrics-on-listen: is on"),
                           (("--tokens-file", self.token_file), "--tokens-file: line 1: is not a tenant")):
            run = subprocess.run([NODE, "serve", "--model", DEMO_MODEL, "--listen", "127.0.0.1:0", "--admin",
                                  "127.0.0.1:0", "--metrics", "127.0.0.1:0", *flags],
                                 capture_output=True, text=True, timeout=30, check=False)
            self.assertNotEqual(run.returncode, 0)
            self.assertIn(why, run.stderr)
            self.assertNotIn(TOKEN, run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
