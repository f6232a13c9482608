"""
The objects with the methods that run functions.
"""

from __future__ import annotations

from fal_server.grpc.function_calls import FunctionCalls
from fal_server.grpc.interactive_methods import InteractiveMethods
from fal_server.grpc.map_methods import MapMethods
from fal_server.grpc.run_methods import RunMethods
from fal_server.limits import Limits
from fal_server.listeners.urls import Urls


def make_run_methods(calls: FunctionCalls, urls: Urls, limits: Limits) -> tuple[object, ...]:
    """
    Return the objects with the methods that run functions.
    """
    runs = RunMethods(calls, urls)
    return runs, MapMethods(calls, limits.most_inputs), InteractiveMethods(runs)
