"""The node's API from Python: messages and calls built from a compiled set of our .proto files.

No generated modules: the packages `google.rpc` and `grpc.health` of our protos would hide behind
the installed `google` and `grpc`. Knows no policy: it neither retries nor interprets.
"""
import os
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SOURCE_DIR = Path(__file__).resolve().parents[2]
BUILD_DIR = Path(os.environ.get("SWITCHYARD_BUILD_DIR", SOURCE_DIR / "build/release"))
LARGE_MESSAGE_BYTES = 256 << 20


def _load_pool():
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString((BUILD_DIR / "tests/end_to_end/protos.bin").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


_POOL = _load_pool()
_class_of = getattr(message_factory, "GetMessageClass", None)
if _class_of is None:  # protobuf before 4.22
    _class_of = message_factory.MessageFactory(_POOL).GetPrototype


def message(full_name, **fields):
    """A new message: message("switchyard.v1.GenerateRequest", text="hello")."""
    return _class_of(_POOL.FindMessageTypeByName(full_name))(**fields)


def v1(name, **fields):
    return message("switchyard.v1." + name, **fields)


def open_channel(address):
    # Each channel has connections of its own, as another process would.
    return grpc.insecure_channel(address, options=[
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", LARGE_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", LARGE_MESSAGE_BYTES),
        ("grpc.enable_retries", 0),
    ])


class Stub:
    """Every method of one service as an attribute: Stub(channel, "switchyard.v1.ChatService").Complete."""

    def __init__(self, channel, service_name):
        for method in _POOL.FindServiceByName(service_name).methods:
            description = descriptor_pb2.MethodDescriptorProto()
            method.CopyToProto(description)
            kind = (("stream" if description.client_streaming else "unary") + "_" +
                    ("stream" if description.server_streaming else "unary"))
            call = getattr(channel, kind)(
                f"/{service_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=_class_of(method.output_type).FromString)
            setattr(self, method.name, call)


def violations(error):
    """field -> description, of the google.rpc.BadRequest in a grpc.RpcError."""
    return {violation.field: violation.description
            for detail in details(error, "google.rpc.BadRequest") for violation in detail.field_violations}


def details(error, full_name):
    """The details of that type which a failed call brought with it."""
    packed = message("google.rpc.Status")
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            packed.ParseFromString(value)
    found = []
    for any_detail in packed.details:
        if any_detail.type_url.endswith("/" + full_name):
            detail = message(full_name)
            detail.ParseFromString(any_detail.value)
            found.append(detail)
    return found
