"""
The gRPC server, which answers the methods of the service.
"""

from __future__ import annotations

import grpc
import grpc.aio
from isolate_proto.configuration import GRPC_OPTIONS

from fal_server.limits import Limits


def make_server(limits: Limits) -> grpc.aio.Server:
    """
    Return a server that has no methods yet.
    """
    largest = ("grpc.max_receive_message_length", limits.largest_message)
    options = [*(each for each in GRPC_OPTIONS if each[0] != largest[0]), largest]
    return grpc.aio.server(options=options, maximum_concurrent_rpcs=limits.most_calls)
