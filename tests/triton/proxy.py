"""A proxy in front of a Triton server, which changes its answers, or gives an error instead."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc

Edit = Callable[[str, bytes], bytes | None]
"""Told (method, answer), gives the answer to pass on; None: an error."""

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Proxy(grpc.GenericRpcHandler):
    """Use it as a context; `url` is where it listens."""

    def __init__(self, target: str, edit: Edit) -> None:
        self._edit = edit
        self._channel = grpc.insecure_channel(target, options=UNLIMITED)
        self._server = grpc.server(ThreadPoolExecutor(8), [self], options=UNLIMITED)
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Forward any call of one message and one answer, as bytes."""

        def forward(request: bytes, context: Any) -> bytes:
            try:
                answer = self._channel.unary_unary(details.method)(request)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            edited = self._edit(details.method.rpartition("/")[2], answer)
            if edited is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")
            return edited

        return grpc.unary_unary_rpc_method_handler(forward)
