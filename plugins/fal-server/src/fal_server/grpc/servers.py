"""
The gRPC server, which answers the methods of the service.
"""

from __future__ import annotations

import grpc
import grpc.aio
from isolate_proto.configuration import GRPC_OPTIONS

from fal_server.grpc.function_calls import FunctionCalls
from fal_server.grpc.interactive_methods import InteractiveMethods
from fal_server.grpc.map_methods import MapMethods
from fal_server.grpc.run_methods import RunMethods
from fal_server.limits import Limits
from fal_server.listeners.urls import Urls


def make_server(limits: Limits) -> grpc.aio.Server:
    """
    Return a server that has no methods yet.
    """
    largest = ("grpc.max_receive_message_length", limits.largest_message)
    options = [*(each for each in GRPC_OPTIONS if each[0] != largest[0]), largest]
    return grpc.aio.server(options=options, maximum_concurrent_rpcs=limits.most_calls)


def make_run_methods(calls: FunctionCalls, urls: Urls, limits: Limits) -> tuple[object, ...]:
    """
    Return the objects with the methods that run functions.
    """
    runs = RunMethods(calls, urls)
    return runs, MapMethods(calls, limits.most_inputs), InteractiveMethods(runs)
