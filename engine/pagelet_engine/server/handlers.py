"""The service's RPCs as gRPC's handlers, which take bytes: each message is parsed here, within its bound.

Made from the service's descriptor, as the generated registration is. Knows no engine.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pagelet_api import inference_pb2 as pb

from pagelet_engine.server.messages import InvalidMessage, parse

SERVICE = pb.DESCRIPTOR.services_by_name["Engine"]

Behavior = Callable[[Any, Any], Any]
MaxBytes = Callable[[str], int]


def rpc_handlers(service: object, max_bytes: MaxBytes) -> grpc.GenericRpcHandler:
    """`max_bytes` gives the bound on a message of an RPC, by the RPC's name. What `service` iterates over in an RPC
    with a stream of requests raises InvalidMessage where one is none."""
    handlers = {name: _handler(method, getattr(service, name), max_bytes) for name, method in _methods()}
    return grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)


def _methods() -> list[tuple[str, MethodDescriptor]]:
    return list(SERVICE.methods_by_name.items())


def _handler(method: MethodDescriptor, behavior: Behavior, max_bytes: MaxBytes) -> grpc.RpcMethodHandler:
    kind, name = GetMessageClass(method.input_type), method.name
    serializer = GetMessageClass(method.output_type).SerializeToString

    async def one(data: bytes, context: grpc.aio.ServicerContext) -> Any:
        try:
            request = parse(kind, data, max_bytes(name))
        except InvalidMessage as invalid:
            return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(invalid))
        return await behavior(request, context)

    async def many(pieces: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> Any:
        async def requests() -> AsyncIterator[Message]:
            async for data in pieces:
                yield parse(kind, data, max_bytes(name))

        return await behavior(requests(), context)

    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(many, response_serializer=serializer)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(one, response_serializer=serializer)
    return grpc.unary_unary_rpc_method_handler(one, response_serializer=serializer)
