"""What standard tools expect of a gRPC server (health probes, reflection), and what the node says of itself."""
import unittest

import grpc
from google.protobuf import descriptor_pb2

from api import Stub, message, open_channel, v1
from node_process import NodeProcess, code_of

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
