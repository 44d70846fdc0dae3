"""What standard tools expect of a gRPC server (health probes, reflection), and what the node says of itself."""
import socket
import time
import unittest

import grpc
from google.protobuf import descriptor_pb2

from api import Stub, message, open_channel, v1
from node_process import NodeProcess, code_of, endless, greedy

SERVING, SERVICE_UNKNOWN = 1, 3
OURS = {f"switchyard.v1.{name}" for name in ("GenerationService", "ChatService", "ModelService", "TelemetryService")}


def check(service=""):
    return message("grpc.health.v1.HealthCheckRequest", service=service)


class ServicesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess())

    def health(self, address):
        channel = open_channel(address)
        self.addCleanup(channel.close)
        return Stub(channel, "grpc.health.v1.Health")

    def reflect(self, *requests):
        ask = [message("grpc.reflection.v1alpha.ServerReflectionRequest", **request) for request in requests]
        reflection = Stub(self.node.channel, "grpc.reflection.v1alpha.ServerReflection")
        return list(reflection.ServerReflectionInfo(iter(ask), timeout=10))

    def test_health_can_be_checked_on_both_listeners(self):
        for address in (self.node.grpc_address, self.node.admin_address):
            health = self.health(address)
            self.assertEqual(health.Check(check(), timeout=5).status, SERVING)
            code, _ = code_of(lambda health=health: health.Check(check("no.such.Service"), timeout=5))
            self.assertEqual(code, grpc.StatusCode.NOT_FOUND)

    def test_health_can_be_watched(self):
        health = self.health(self.node.grpc_address)
        watch = health.Watch(check(), timeout=10)
        self.assertEqual(next(watch).status, SERVING)
        watch.cancel()
        unknown = health.Watch(check("no.such.Service"), timeout=10)
        self.assertEqual(next(unknown).status, SERVICE_UNKNOWN)
        unknown.cancel()

    def test_every_listed_service_can_be_checked(self):
        health = self.health(self.node.grpc_address)
        statuses = health.List(message("grpc.health.v1.HealthListRequest"), timeout=5).statuses
        self.assertIn("", statuses)
        for service, listed in statuses.items():
            self.assertEqual(health.Check(check(service), timeout=5).status, listed.status, service)

    def test_reflection_lists_the_public_services_and_not_the_operators(self):
        [listed] = self.reflect({"list_services": ""})
        names = {service.name for service in listed.list_services_response.service}
        self.assertLessEqual(OURS | {"grpc.health.v1.Health"}, names)
        self.assertNotIn("switchyard.v1.AdminService", names)

    def test_reflection_describes_every_method_that_it_lists(self):
        for service in OURS:
            [answer] = self.reflect({"file_containing_symbol": service})
            files = [descriptor_pb2.FileDescriptorProto.FromString(data)
                     for data in answer.file_descriptor_response.file_descriptor_proto]
            found = [entry for file in files for entry in file.service
                     if f"{file.package}.{entry.name}" == service]
            self.assertEqual(len(found), 1)
            self.assertTrue(found[0].method)

    def test_channelz_is_for_operators_alone(self):
        def servers(channel):
            return channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")(b"", timeout=5)

        self.assertGreater(len(servers(self.node.admin_channel)), 0)
        self.assertEqual(code_of(lambda: servers(self.node.channel))[0], grpc.StatusCode.UNIMPLEMENTED)

    def trailers_of_an_answer(self, node):
        """What comes back for one Generate, as bytes: gRPC keeps load reports from its callers."""
        def header(name, value):
            return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

        def frame(kind, flags, stream, payload):
            return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

        request = greedy("hello", 4).SerializeToString()
        headers = b"".join(header(*pair) for pair in (
            (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"node"), (b"te", b"trailers"),
            (b":path", b"/switchyard.v1.GenerationService/Generate"), (b"content-type", b"application/grpc")))
        host, port = node.grpc_address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers) +
                               frame(0, 1, 1, b"\0" + len(request).to_bytes(4, "big") + request))
            received = b""
            while b"grpc-status" not in received:
                data = connection.recv(65536)
                self.assertTrue(data, received)
                received += data
            return received

    def test_an_answer_brings_a_load_report(self):
        self.assertIn(b"endpoint-load-metrics-bin", self.trailers_of_an_answer(self.node))
        with NodeProcess("--orca", "off") as silent:
            self.assertNotIn(b"endpoint-load-metrics-bin", self.trailers_of_an_answer(silent))

    def test_load_reports_come_as_often_as_asked_and_follow_the_load(self):
        reports = Stub(self.node.channel, "xds.service.orca.v3.OpenRcaService")
        request = message("xds.service.orca.v3.OrcaLoadReportRequest")
        request.report_interval.FromMilliseconds(1)  # more often than it goes
        began = time.monotonic()
        stream = reports.StreamCoreMetrics(request, timeout=30)
        for _ in range(6):
            next(stream)
        self.assertGreater(time.monotonic() - began, 0.45)
        answers = [self.node.generation.GenerateStream(endless(seed=seed)) for seed in range(3)]
        for answer in answers:
            next(answer)
        busy = next(report for report in stream if report.named_metrics["requests_running"] == 3)
        self.assertGreater(busy.application_utilization, 0)
        self.assertGreater(busy.utilization["kv_cache"], 0)
        for answer in answers:
            answer.cancel()
        after = next(report for report in stream if report.application_utilization == 0)
        self.assertGreater(after.rps_fractional, 0)
        stream.cancel()

    def test_operators_calls_are_not_on_the_public_port(self):
        admin = Stub(self.node.channel, "switchyard.v1.AdminService")
        code, _ = code_of(lambda: admin.Drain(v1("DrainRequest"), timeout=5))
        self.assertEqual(code, grpc.StatusCode.UNIMPLEMENTED)
        self.assertTrue(self.node.answers())

    def test_reflection_can_be_turned_off(self):
        with NodeProcess("--reflection", "off") as node:
            reflection = Stub(node.channel, "grpc.reflection.v1alpha.ServerReflection")
            ask = message("grpc.reflection.v1alpha.ServerReflectionRequest", list_services="")
            code, _ = code_of(lambda: list(reflection.ServerReflectionInfo(iter([ask]), timeout=5)))
            self.assertEqual(code, grpc.StatusCode.UNIMPLEMENTED)

    def test_the_model_is_described_alike_everywhere(self):
        [listed] = self.node.model.ListModels(v1("ListModelsRequest"), timeout=5).models
        self.assertEqual(self.node.model.GetModel(v1("GetModelRequest"), timeout=5).model, listed)
        self.assertEqual(self.node.model.GetModel(v1("GetModelRequest", model=listed.name), timeout=5).model, listed)
        self.assertTrue(listed.has_tokenizer and listed.has_chat_template)
        self.assertGreater(listed.weight_bytes, 0)
        self.assertTrue(listed.sampling_defaults.HasField("temperature"))
        info = self.node.telemetry.GetNodeInfo(v1("GetNodeInfoRequest"), timeout=5)
        self.assertEqual(info.model, listed.name)
        self.assertEqual(info.max_context_tokens, listed.context_tokens)
        self.assertGreater(info.kv_blocks, 0)
        self.assertEqual(self.node.load().kv_blocks_total, info.kv_blocks)


if __name__ == "__main__":
    unittest.main(verbosity=2)
